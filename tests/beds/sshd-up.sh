#!/bin/bash
# sshd-up.sh: an sshd on port 2222 of each of six namespaces of netns-up.sh (hpc1, hpc2 ...), and of
# 127.0.0.1 to 127.0.0.6 (all this one machine).  The beds' user may log in by key as itself and as its guest, an
# account with another home folder, which cannot read its files.
#   SSH_NETNS=0      only the loopback addresses; no namespaces are made
#   SSH_PORT=2222
. "$(dirname "$0")/common.sh"
PORT=${SSH_PORT:-2222}
GUEST=$BED_USER-guest
DIR=$BED_DIR/ssh
RUN=/run/dlaunch-sshd
[ "${SSH_NETNS:-1}" = 0 ] || BED_NODES=6 "$(dirname "$0")/netns-up.sh"
apt_need openssh-server openssh-client tcsh fish
ensure_user
id "$GUEST" >/dev/null 2>&1 || useradd -m -s /bin/bash -c "dlaunch test bed" "$GUEST"
# Accounts whose login shell is none of Bourne's.
for shell in tcsh fish; do
    id "$BED_USER-$shell" >/dev/null 2>&1 || useradd -m -s "/usr/bin/$shell" -c "dlaunch test bed" "$BED_USER-$shell"
done
# A locked account ("!") is refused even with a key, where there is no PAM.
for user in "$BED_USER" "$GUEST" "$BED_USER-tcsh" "$BED_USER-fish"; do
    case $(getent shadow "$user" | cut -d: -f2) in "!"*) usermod -p "*" "$user" ;; esac
done

mkdir -p "$DIR" /run/sshd "$RUN"
chmod 755 "$BED_DIR" "$DIR" /run/sshd
for key in host user; do
    [ -e "$DIR/$key" ] || ssh-keygen -q -t ed25519 -N '' -C "dlaunch-$key" -f "$DIR/$key"
done
install -m 644 "$DIR/user.pub" "$DIR/authorized_keys"
HOME_DIR=$(getent passwd "$BED_USER" | cut -d: -f6)
install -d -o "$BED_USER" -g "$BED_USER" -m 700 "$HOME_DIR/.ssh"
install -o "$BED_USER" -g "$BED_USER" -m 600 "$DIR/user" "$HOME_DIR/.ssh/dlaunch_bed"

configure() { # NAME ADDRESS...
    local name=$1 address
    shift
    {
        for address in "$@"; do echo "ListenAddress $address:$PORT"; done
        cat <<C
HostKey $DIR/host
PidFile $RUN/$name.pid
AuthorizedKeysFile $DIR/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UseDNS no
PrintMotd no
LogLevel INFO
C
    } >"$DIR/sshd-$name.conf"
}

start() { # NAME [hpc-exec HOST]
    local name=$1
    shift
    pid_alive "$RUN/$name.pid" sshd && return 0
    start_clean "$@" /usr/sbin/sshd -f "$DIR/sshd-$name.conf" -E "$RUN/$name.log"
    wait_for 10 pid_alive "$RUN/$name.pid" sshd || { cat "$RUN/$name.log" >&2; die "sshd of $name does not start"; }
}

loopback=(127.0.0.{1..6})
known=("${loopback[@]}" localhost)
configure lo "${loopback[@]}"
start lo
if [ "${SSH_NETNS:-1}" != 0 ]; then
    for file in /run/netns/hpc[0-9]*; do
        [ -e "$file" ] || continue
        host=${file##*/}
        configure "$host" 0.0.0.0
        start "$host" hpc-exec "$host"
        known+=("$host" "$(getent hosts "$host" | awk '{print $1}')")
    done
fi

for name in "${known[@]}"; do echo "[$name]:$PORT $(cut -d' ' -f1,2 "$DIR/host.pub")"; done >"$DIR/known_hosts"
chmod 644 "$DIR/known_hosts"
cat >"$HOME_DIR/.ssh/config" <<C
Host 127.0.0.* localhost hpc* 10.77.0.*
    Port $PORT
    IdentityFile ~/.ssh/dlaunch_bed
    IdentitiesOnly yes
    UserKnownHostsFile $DIR/known_hosts
C
chown "$BED_USER:$BED_USER" "$HOME_DIR/.ssh/config"
chmod 600 "$HOME_DIR/.ssh/config"
for name in 127.0.0.2 "${known[-1]}" "$GUEST@127.0.0.3"; do
    "$(dirname "$0")/as-user.sh" ssh -o BatchMode=yes "$name" true || die "cannot log in at $name"
done
log "up: ${known[*]} on port $PORT, as $BED_USER or $GUEST"
