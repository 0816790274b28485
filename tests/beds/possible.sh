#!/bin/bash
# possible.sh: exit 0 if the beds can be brought up here; else print the reason in one line and exit 1.
set -euo pipefail
no() {
    echo "$*"
    exit 1
}
[ "$(uname -s)" = Linux ] || no "needs Linux, this is $(uname -s)"
. /etc/os-release 2>/dev/null || no "needs Debian, this system does not say what it is"
[ "${ID:-}" = debian ] || no "needs Debian, this is ${PRETTY_NAME:-another system}"
[ "$(id -u)" = 0 ] || no "needs root, this is the user $(id -un)"
unshare --net --uts true 2>/dev/null || no "needs the permission to make network namespaces"
