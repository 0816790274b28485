#!/bin/bash
# netns-down.sh: remove what netns-up.sh made.  Take the batch systems in the namespaces down first.
. "$(dirname "$0")/common.sh"
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
