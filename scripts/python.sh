#!/usr/bin/env bash
# Makes target/python, the environment with the Python clients of the tests, unless it is there already.
#
#   ./scripts/python.sh && target/python/bin/schemathesis --version
#
# It is made anew when tests/clients/requirements.txt or the interpreter changes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folder=target/python
requirements=tests/clients/requirements.txt
# Written last: an installation that was interrupted counts as none.
stamp=$folder/.made
wanted=$(python3 -c 'import sys; print(sys.executable, sys.version)'; pwd -P; cat -- "$requirements")

if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
  exit 0
fi

echo "Installing the Python clients of the tests into $folder"
rm -rf -- "$folder"
mkdir -p target
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
"$folder/bin/python" -m pip check
printf '%s\n' "$wanted" > "$stamp"
