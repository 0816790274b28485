#!/bin/bash
# as-user.sh [NAME=VALUE...] CMD...: run CMD as the beds' normal user, in its home, with a clean environment
# (no /etc/profile.d) whose PATH starts with the project's programs.
. "$(dirname "$0")/common.sh"
home=$(getent passwd "$BED_USER" | cut -d: -f6)
[ -n "$home" ] || die "there is no user $BED_USER: bring a bed up first"
cd "$home"
exec setpriv --reuid="$BED_USER" --regid="$BED_USER" --init-groups -- env -i \
    HOME="$home" USER="$BED_USER" LOGNAME="$BED_USER" SHELL=/bin/bash LANG=C.UTF-8 \
    PATH="$BED_DIR/venv/bin:/usr/bin:/bin" "$@"
