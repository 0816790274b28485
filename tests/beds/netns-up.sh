#!/bin/bash
# netns-up.sh: BED_NODES (4) separate hosts hpc1, hpc2 ... on this machine, each with its own network (address
# 10.77.0.N, own loopback) and host name; files are shared.  This machine is the head: hpc0, 10.77.0.254.
# 127.0.0.1 on a node is that node, so a scheduler that is bound to 127.0.0.1 cannot be reached, as in real life.
. "$(dirname "$0")/common.sh"
apt_need iproute2 util-linux
ip link show br-hpc >/dev/null 2>&1 || ip link add br-hpc type bridge
ip addr replace "$BED_HEAD/24" dev br-hpc
ip link set br-hpc up
mkdir -p /run/hpc-uts

host_up() {
    local host=hpc$1
    [ -e "/run/netns/$host" ] || ip netns add "$host"
    if ! ip link show "v-$host" >/dev/null 2>&1; then
        ip link add "v-$host" type veth peer name eth0 netns "$host"
        ip link set "v-$host" master br-hpc
    fi
    ip link set "v-$host" up
    ip -n "$host" link set lo up
    ip -n "$host" addr replace "10.77.0.$1/24" dev eth0
    ip -n "$host" link set eth0 up
    if ! mountpoint -q "/run/hpc-uts/$host"; then
        touch "/run/hpc-uts/$host"
        unshare --uts="/run/hpc-uts/$host" hostname "$host"
    fi
}

for i in $(seq 1 "$BED_NODES"); do host_up "$i"; done
# Those of another bed, which wanted more of them, too.
{
    echo "$BED_HEAD hpc0"
    for file in /run/netns/hpc[0-9]*; do echo "10.77.0.${file##*/hpc} ${file##*/}"; done
} | hosts_block hpc-netns

cat >/usr/local/bin/hpc-exec <<'X'
#!/bin/sh
# hpc-exec HOST CMD...: run CMD as if on HOST (root only)
host=$1
shift
exec nsenter --net="/run/netns/$host" --uts="/run/hpc-uts/$host" "$@"
X
chmod 755 /usr/local/bin/hpc-exec
for i in $(seq 1 "$BED_NODES"); do
    [ "$(hpc-exec "hpc$i" hostname)" = "hpc$i" ] || die "the host name of hpc$i is wrong"
done
log "hosts hpc1..hpc$BED_NODES are up on 10.77.0.0/24, the head is hpc0"
