#!/usr/bin/env bash
# A PostgreSQL server of its own for measurements, from the machine's packages, on a free port.
#
#   ./scripts/postgres.sh start DIR     makes the server in DIR and starts it; its URL is in DIR/url
#   ./scripts/postgres.sh stop DIR      stops it and removes what start has made
#
# Everything is at PostgreSQL's defaults (fsync and synchronous_commit on), but for what docs/postgres.md recommends.
# It listens on 127.0.0.1 alone, with a password that only DIR/url has. PostgreSQL refuses to run as root; then it runs
# as the user `postgres`, who must be able to reach DIR. POSTGRES_BIN names the folder of its programs.
set -euo pipefail

usage() {
  echo "usage: $0 start|stop DIR" >&2
  exit 2
}

(($# == 2)) || usage
mkdir -p -- "$2"
dir=$(cd -- "$2" && pwd)
data=$dir/data
bin=${POSTGRES_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
if [[ -z $bin ]]; then
  bin=$(dirname -- "$(command -v postgres || true)")
fi
if [[ ! -x $bin/initdb ]]; then
  echo "$0: no PostgreSQL is installed; on Debian: apt-get install postgresql" >&2
  exit 3
fi

# as_owner COMMAND…: not as root.
as_owner() {
  if ((EUID == 0)); then
    setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME="$dir" "$@"
  else
    "$@"
  fi
}

# Between here and the start somebody else may take it: then the start fails and says so.
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A quarter of the memory up to 1 GiB: more brings nothing for what is measured here.
shared_buffers() {
  awk '/^MemTotal:/ { mib = $2 / 1024 / 4; print int(mib > 1024 ? 1024 : mib) "MB" }' /proc/meminfo
}

start() {
  local port password
  if [[ -e $data ]]; then
    echo "$0: $data is there already; stop it first" >&2
    exit 2
  fi
  if ((EUID == 0)); then
    chown postgres: "$dir"
  fi
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  (umask 077 && printf '%s\n' "$password" >"$dir/password")
  if ((EUID == 0)); then
    chown postgres: "$dir/password"
  fi
  (cd / && as_owner "$bin/initdb" --pgdata="$data" --username=opsroom --pwfile="$dir/password" --auth=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 >"$dir/initdb.log")
  port=$(free_port)
  as_owner tee -a "$data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = ''
# As docs/postgres.md recommends:
shared_buffers = $(shared_buffers)
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = on
track_io_timing = on
CONF
  (cd / && as_owner "$bin/pg_ctl" --pgdata="$data" --log="$dir/postgres.log" --wait --timeout=60 start >/dev/null) || {
    tail -20 -- "$dir/postgres.log" >&2
    exit 3
  }
  (umask 077 && printf 'postgres://opsroom:%s@127.0.0.1:%s/postgres\n' "$password" "$port" >"$dir/url")
  echo "PostgreSQL listens on 127.0.0.1:$port; its URL is in $dir/url"
}

stop() {
  if [[ -e $data/postmaster.pid ]]; then
    (cd / && as_owner "$bin/pg_ctl" --pgdata="$data" --mode=fast --wait --timeout=120 stop >/dev/null)
  fi
  rm -rf -- "$data" "$dir/url" "$dir/password" "$dir/initdb.log" "$dir/postgres.log"
  rmdir --ignore-fail-on-non-empty -- "$dir"
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
