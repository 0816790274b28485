#!/bin/bash
# venv-up.sh [DIR]: a virtual environment with the project as a wheel built from this checkout, which the beds' normal
# user can run (a checkout or a Python below /root it cannot).  Reused while nothing has changed.
. "$(dirname "$0")/common.sh"
VENV=${1:-$BED_DIR/venv}
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
SHIPPED=(distributed launchers jobscripts pyproject.toml README.md LICENSE)
umask 022
apt_need python3 python3-venv

digest() { (cd "$ROOT" && find "$@" -type f ! -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum) | sha256sum; }

if [ "$(cat "$VENV/stamp-python" 2>/dev/null)" != "$(/usr/bin/python3 -VV)" ]; then
    rm -rf "$VENV"
    mkdir -p "$(dirname "$VENV")"
    /usr/bin/python3 -m venv "$VENV"
    /usr/bin/python3 -VV >"$VENV/stamp-python"
fi
now=$(digest "${SHIPPED[@]}")
if [ "$(cat "$VENV/stamp" 2>/dev/null)" = "$now" ]; then
    log "$VENV is up to date"
    exit 0
fi
# Built from a copy: setuptools leaves its folders beside the sources.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$ROOT" && tar -c --exclude=__pycache__ "${SHIPPED[@]}") | tar -x -C "$copy"
"$VENV/bin/python" -m pip wheel -q --no-deps -w "$copy/wheel" "$copy"
# First what is missing of the dependencies, then always the project: its version may be the same.
# With the optional package: the bed of Grid Engine is asked through DRMAA too.
"$VENV/bin/python" -m pip install -q "$(echo "$copy"/wheel/*.whl)[drmaa]"
"$VENV/bin/python" -m pip install -q --no-deps --force-reinstall "$copy"/wheel/*.whl
echo "$now" >"$VENV/stamp"
log "$VENV holds $(basename "$copy"/wheel/*.whl)"
