# shellcheck shell=bash
# Sourced by the scripts of the test beds: real batch systems on one Debian machine, as root, without systemd.
# Everything here may be run again at any time; a daemon is ended by its pid file and its program's name.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The normal user of the beds: nobody else's account, so what runs under it is ours to end.
BED_USER=${BED_USER:-beduser}
BED_NODES=${BED_NODES:-4}
export BED_HEAD=10.77.0.254
export BED_DIR=${BED_DIR:-/opt/dlaunch-bed}

log() { printf '[%s] %s\n' "${0##*/}" "$*" >&2; }

die() {
    log "FAILED: $*"
    exit 1
}

[ "$(id -u)" = 0 ] || die "run as root"

is_installed() {
    dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'
}

# apt_need PACKAGE...: install what is missing; waits for another apt's lock
apt_need() {
    local package missing=() report
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    log "installing: ${missing[*]}"
    report=$(mktemp)
    # A fresh machine has no lists, an old one has lists of packages that are no longer served.
    apt-cache show "${missing[@]}" >/dev/null 2>&1 || apt-get update -q >"$report" 2>&1 || true
    apt_install "${missing[@]}" >"$report" 2>&1 ||
        { apt-get update -q && apt_install "${missing[@]}"; } >"$report" 2>&1 ||
        { tail -20 "$report" >&2; die "apt-get install ${missing[*]}"; }
    rm -f "$report"
}

apt_install() {
    # No daemon is started by a package: there is no init here, and a bed starts its own.
    local policy=/usr/sbin/policy-rc.d made=0 code=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=1
    fi
    apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "$@" || code=$?
    [ $made = 0 ] || rm -f "$policy"
    return $code
}

program_of() { cat /proc/"$1"/comm 2>/dev/null || true; }

# pid_alive PIDFILE PROGRAM: the process in the file is alive and really is that program
pid_alive() {
    local pid
    [ -r "$1" ] || return 1
    pid=$(tr -dc 0-9 <"$1")
    [ -n "$pid" ] && [ "$(program_of "$pid")" = "$2" ]
}

# end_pidfile PIDFILE PROGRAM [SECONDS]: TERM, wait, KILL for this one process
end_pidfile() {
    local file=$1 program=$2 left=$((${3:-10} * 10)) pid
    if pid_alive "$file" "$program"; then
        pid=$(tr -dc 0-9 <"$file")
        kill -TERM "$pid" 2>/dev/null || true
        while [ "$left" -gt 0 ] && [ "$(program_of "$pid")" = "$program" ]; do
            sleep 0.1
            left=$((left - 1))
        done
        if [ "$(program_of "$pid")" = "$program" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    fi
    rm -f "$file"
}

# start_clean CMD...: a daemon gets an init-like environment (jobs may inherit it) and no terminal
start_clean() { env -i PATH="$PATH" LANG=C.UTF-8 "$@" </dev/null; }

# wait_for SECONDS CMD...: try five times a second until CMD succeeds
wait_for() {
    local left=$(($1 * 5))
    shift
    while ! "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.2
    done
}

ensure_user() {
    id "$BED_USER" >/dev/null 2>&1 || useradd -m -s /bin/bash -c "dlaunch test bed" "$BED_USER"
}

# hosts_block NAME [remove]: write stdin between markers into /etc/hosts, replacing the earlier block
hosts_block() {
    local name=$1 new
    new=$(mktemp)
    {
        sed "/^# BEGIN $name\$/,/^# END $name\$/d" /etc/hosts
        if [ "${2:-}" != remove ]; then
            echo "# BEGIN $name"
            cat
            echo "# END $name"
        fi
    } >"$new"
    # In place: the file may be a bind mount.
    cat "$new" >/etc/hosts
    rm -f "$new"
}
