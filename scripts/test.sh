#!/usr/bin/env bash
# Installs what the tests need, where that is possible, and runs all of them.
#
#   ./scripts/test.sh              everything
#   ./scripts/test.sh engine::     arguments go to `cargo test`
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# program=Debian package
needed=(bash=bash cc=build-essential chromium=chromium curl=curl git=git openssl=openssl pgbouncer=pgbouncer psql=postgresql
  python3=python3 redis-cli=redis-tools redis-server=redis-server setsid=util-linux)

# Debian keeps servers out of the users' way.
PATH="$PATH:/usr/sbin"

missing=() packages=()
for entry in "${needed[@]}"; do
  if ! command -v "${entry%%=*}" >/dev/null; then
    missing+=("${entry%%=*}")
    packages+=("${entry#*=}")
  fi
done
# Debian keeps the installer of virtual environments in a package of its own.
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=("python3 -m venv")
  packages+=(python3-venv)
fi

if (( ${#missing[@]} > 0 )); then
  echo "The tests need these programs, which are missing: ${missing[*]}"
  if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    echo "Install them and start again. On Debian and Ubuntu: sudo apt-get install ${packages[*]}" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends "${packages[@]}"
fi

if ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust with rustup; rust-toolchain.toml names the version." >&2
  exit 1
fi

./scripts/python.sh

exec cargo test --locked "$@"
