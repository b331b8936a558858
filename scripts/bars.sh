#!/usr/bin/env bash
# Measures every bar of the milestone on a release build, and says PASS or FAIL of each.
#
#   ./scripts/bars.sh              everything (about three quarters of an hour)
#   ./scripts/bars.sh bench        only the benchmarks
#   ./scripts/bars.sh room         only the control room: a real `opsroom up`, driven over HTTP
#   ./scripts/bars.sh fleet        only the fleet: a PostgreSQL server of its own, and real servers, workers, schedulers
#   ./scripts/bars.sh faults       only the fault tests, with their full counts
#
# Times are medians of five beside a floor taken in the same run; see `opsroom bench --help`. OPSROOM_BARS_DIR
# names a folder on a real disk for the databases (default: target/bars).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

what=${1:-all}
folder=${OPSROOM_BARS_DIR:-$PWD/target/bars}
failed=0

section() {
  printf '\n==== %s ====\n\n' "$*"
}

# verdict NAME PASSED FIGURES: one line, remembered if it failed.
verdict() {
  if [[ $2 == true ]]; then
    printf 'PASS  %-12s %s\n' "$1" "$3"
  else
    printf 'FAIL  %-12s %s\n' "$1" "$3"
    failed=1
  fi
}

# bench NAME CONDITION ARGUMENTS…: CONDITION is Python over the fields of the report.
bench() {
  local name=$1 condition=$2 report line
  shift 2
  # It has no files.
  [[ $1 == append ]] || set -- "$@" --dir "$folder"
  if ! report=$("$OPSROOM_TEST_BINARY" bench "$@" --output json); then
    verdict "$name" false "bench $* failed: $report"
    return
  fi
  line=$(python3 - "$condition" "$report" <<'PYTHON'
import json, sys
condition, report = sys.argv[1], json.loads(sys.argv[2])
passed = bool(eval(condition, {}, report))
shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in report.items() if value is not None}
print(str(passed).lower(), f"{condition}:", " ".join(f"{name}={value}" for name, value in shown.items()))
PYTHON
  )
  verdict "$name" "${line%% *}" "${line#* }"
}

# median_ms WORKLOAD SIZE
median_ms() {
  "$OPSROOM_TEST_BINARY" bench "$1" --size "$2" --dir "$folder" --output json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["median_ms"])'
}

# Cost per step of 10,000 steps over that of 10.
flat() {
  local before large after line
  before=$(median_ms "$1" 10)
  large=$(median_ms "$1" 10000)
  after=$(median_ms "$1" 10)
  line=$(python3 - "$before" "$large" "$after" <<'PYTHON'
import sys
before, large, after = map(float, sys.argv[1:])
small, large = (before + after) / 2 / 10, large / 10_000
print(str(large <= 2 * small).lower(), f"{small:.3f} ms a step of 10, {large:.3f} ms a step of 10,000: {large / small:.2f} times")
PYTHON
  )
  verdict "flat $1" "${line%% *}" "${line#* }"
}

benches() {
  section "Benchmarks (load average before: $(cut -d" " -f1-3 /proc/loadavg); other work on the machine spoils them)"
  mkdir -p -- "$folder"
  bench chain 'median_ms <= 20 or ratio <= 2.5' chain
  bench fanout 'median_ms <= 80' fanout
  bench throughput 'steps_per_s >= 20000' throughput
  bench pickup 'p50_ms <= 1 and p95_ms <= 2' pickup
  bench spawn 'ratio <= 1.6' spawn
  flat chain
  flat fanout
  rm -rf -- "$folder"
}

room() {
  section "The control room (load average before: $(cut -d" " -f1-3 /proc/loadavg))"
  mkdir -p -- "$folder"
  bench up 'ready_ms <= 300 and resident_mib <= 60' up
  bench http 'steps_per_s >= 20000' http
  bench sse 'p95_ms <= 5' sse
  bench subscribers 'p95_ms <= 100 and kib_each <= 64 and duration_ratio <= 1.05' subscribers
  bench resume 'growth_mib <= 50' resume
  bench history 'live_p95_ms < 50 and archived_p95_ms < 50 and events == 1000' history
  bench queries 'status_p99_ms <= 25 and list_worst_p99_ms <= 50 and list_together_worst_p99_ms <= 100 and executed_steps_per_s >= 1900' queries
  bench slowloris 'ratio < 2' slowloris
  bench soak 'memory_ratio <= 1.2 and end_files <= warm_files + 4 and end_threads <= warm_threads + 2' soak
  rm -rf -- "$folder"
}

fleet() {
  section "The fleet on PostgreSQL (load average before: $(cut -d" " -f1-3 /proc/loadavg))"
  local server=$folder/postgres
  mkdir -p -- "$folder"
  ./scripts/postgres.sh start "$server"
  # shellcheck disable=SC2064
  trap "./scripts/postgres.sh stop '$server'" EXIT
  # Not on the command line: whoever lists processes would see the password.
  DATABASE_URL=$(<"$server/url")
  export DATABASE_URL
  bench chain 'median_ms <= 25 or ratio <= 2.5' chain
  bench fanout 'median_ms <= 100' fanout
  bench throughput 'steps_per_s >= 15000' throughput
  bench pickup 'p50_ms <= 1.8 and p95_ms <= 4' pickup
  bench spawn 'ratio <= 1.6' spawn
  flat chain
  flat fanout
  bench up 'worker_resident_mib <= 40' up
  bench http 'steps_per_s >= 15000' http
  with_redis
  # Last: a server that has just thrown away a million runs writes for a while.
  bench queries 'status_p99_ms <= 25 and list_worst_p99_ms <= 50 and list_together_worst_p99_ms <= 250 and executed_steps_per_s >= 1900' queries
  unset DATABASE_URL
  ./scripts/postgres.sh stop "$server"
  trap - EXIT
  rm -rf -- "$folder"
}

# What goes through Redis between the processes of a fleet.
with_redis() {
  local port server
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly yes --appendfsync everysec --dir "$folder" >/dev/null &
  server=$!
  export REDIS_URL=redis://127.0.0.1:$port
  until redis-cli -p "$port" ping >/dev/null 2>&1; do sleep 0.1; done
  bench 'redis pickup' 'p50_ms <= 1.8 and p95_ms <= 4' pickup
  bench 'redis append' 'p99_ms <= 5 and rate >= 4900' append
  bench 'redis sse' 'p95_ms <= 10' sse
  bench 'redis subs' 'p95_ms <= 100 and kib_each <= 64' subscribers
  bench 'redis history' 'live_p95_ms < 50 and archived_p95_ms < 50 and events == 1000' history
  bench 'redis resume' 'growth_mib <= 50 and plain_lost_chunks == 0' resume
  unset REDIS_URL
  kill "$server"
  wait "$server" || true
}

faults() {
  section "Faults, with full counts"
  local tests output name
  cargo test --locked --test it --no-run
  tests=$(cargo test --locked --test it -- --list faults:: 2>/dev/null | sed -n 's/: test$//p')
  for name in $tests; do
    if output=$(OPSROOM_SOAK=1 cargo test --locked --test it -- --exact --nocapture "$name" 2>&1); then
      verdict "${name#faults::}" true ""
    else
      verdict "${name#faults::}" false ""
      grep -A4 'panicked at' <<<"$output" | cut -c1-2000 | sed 's/^/      /' || true
    fi
    sed -n 's/^bar /      /p' <<<"$output"
  done
}

section "Release build"
cargo build --locked --release
export OPSROOM_TEST_BINARY=$PWD/target/release/opsroom

case $what in
  all) benches; room; fleet; faults ;;
  bench) benches ;;
  room) room ;;
  fleet) fleet ;;
  faults) faults ;;
  *) echo "usage: $0 [bench|room|fleet|faults]" >&2; exit 2 ;;
esac

section "$( ((failed == 0)) && echo "every bar is met" || echo "a bar is not met")"
exit "$failed"
