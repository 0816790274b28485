#!/bin/bash
# netns-down.sh [--if-unused]: remove what netns-up.sh made.  Take the batch systems in the namespaces down first;
# with --if-unused nothing happens while a process of one is left.
. "$(dirname "$0")/common.sh"
if [ "${1:-}" = --if-unused ]; then
    for file in /run/netns/hpc[0-9]*; do
        if [ -e "$file" ] && [ -n "$(ip netns pids "${file##*/}" 2>/dev/null)" ]; then
            log "${file##*/} is in use: the namespaces stay"
            exit 0
        fi
    done
fi
for file in /run/netns/hpc[0-9]*; do
    [ -e "$file" ] || continue
    host=${file##*/}
    left=$(ip netns pids "$host" 2>/dev/null | tr '\n' ' ')
    [ -z "$left" ] || die "$host still runs the processes $left: end them first"
    ip link del "v-$host" 2>/dev/null || true
    ip netns del "$host"
    umount "/run/hpc-uts/$host" 2>/dev/null || true
    rm -f "/run/hpc-uts/$host"
done
ip link del br-hpc 2>/dev/null || true
hosts_block hpc-netns remove </dev/null
rm -f /usr/local/bin/hpc-exec
log "down"
