#!/bin/bash
# sge-up.sh: Grid Engine 8.1.9 (Debian's gridengine-*) with its master on this machine and an execution daemon in each
# namespace of netns-up.sh, 32 slots each, in the queue main.q with the parallel environments smp and mpi.
#   SGE_NETNS=1        0: no namespaces, this machine is the one execution host, with all slots
#   SGE_SLOTS=32       per host (128 where there is only one)
#   SGE_NOTIFY=5       seconds from SIGUSR2 to SIGKILL for jobs with -notify (Grid Engine's default is 60)
#   SGE_SHELL_MODE=posix_compliant   Grid Engine's own default, which ignores the #! line
. "$(dirname "$0")/common.sh"
NETNS=${SGE_NETNS:-1}
HOST=$(hostname)
if [ "$NETNS" = 1 ]; then
    "$(dirname "$0")/netns-up.sh"
    MASTER=hpc0
    SLOTS=${SGE_SLOTS:-32}
    HOSTS=()
    for i in $(seq 1 "$BED_NODES"); do HOSTS+=("hpc$i"); done
else
    MASTER=$HOST
    SLOTS=${SGE_SLOTS:-128}
    HOSTS=("$HOST")
fi
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
COMMON=$SGE_ROOT/$SGE_CELL/common
SPOOL=/var/spool/gridengine
RUN=/run/gridengine

answers() {
    local package
    for package in common client master; do
        echo "gridengine-$package shared/gridengineconfig boolean true"
        echo "gridengine-$package shared/gridenginecell string default"
        echo "gridengine-$package shared/gridenginemaster string $MASTER"
    done
}
if command -v debconf-set-selections >/dev/null; then answers | debconf-set-selections; fi
apt_need gridengine-master gridengine-exec gridengine-client gridengine-drmaa1.0
ensure_user
install -d -o sgeadmin -g sgeadmin -m 755 $RUN

# Names that are one host: without this file "127.0.0.1 is localhost" and the host's own name quarrel.
aliases() {
    if [ "$NETNS" = 1 ]; then
        echo "hpc0 $HOST localhost"
    else
        echo "$HOST localhost"
    fi
}

master_up() {
    echo "$MASTER" >$COMMON/act_qmaster
    aliases >$COMMON/host_aliases
    chown sgeadmin:sgeadmin $COMMON/act_qmaster $COMMON/host_aliases
    if [ ! -e $SPOOL/spooldb/sge ]; then
        su -s /bin/sh -c "/usr/share/gridengine/scripts/init_cluster $SGE_ROOT $SGE_CELL $SPOOL/spooldb sgeadmin" \
            sgeadmin >/dev/null
    fi
    # Debian's script sets another variable than the one which the daemon reads.
    start_clean env SGE_QMASTER_PIDFILE=$RUN/qmaster.pid /usr/sbin/sge_qmaster
}
if pid_alive $RUN/qmaster.pid sge_qmaster && [ "$(cat $COMMON/act_qmaster)" != "$MASTER" ]; then
    log "running with another master: restarting"
    "$(dirname "$0")/sge-down.sh" --only-sge
fi
pid_alive $RUN/qmaster.pid sge_qmaster || master_up

as_admin() { runuser -u sgeadmin -- env SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL qconf "$@"; }

# It talks on stderr even when all is well.
change() {
    local said
    said=$(as_admin "$@" 2>&1) || die "qconf $*: $said"
}

wait_for 30 as_admin -sh || {
    tail -5 $SPOOL/qmaster/messages >&2
    die "the master does not answer after 30 s"
}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
chmod 755 "$WORK"

# put "SHOW NAME" ADD MODIFY: make the object of the description on stdin, or change it
put() {
    local show
    read -ra show <<<"$1"
    cat >"$WORK/object"
    chmod 644 "$WORK/object"
    if as_admin "${show[@]}" >/dev/null 2>&1; then change "$3" "$WORK/object"; else change "$2" "$WORK/object"; fi
}

for host in "${HOSTS[@]}"; do as_admin -ah "$host" >/dev/null 2>&1 || true; done
for host in "$MASTER" "${HOSTS[@]}"; do as_admin -as "$host" >/dev/null 2>&1 || true; done
for host in "${HOSTS[@]}"; do
    as_admin -se "$host" >/dev/null 2>&1 && continue
    {
        echo "hostname $host"
        for key in load_scaling complex_values user_lists xuser_lists projects xprojects usage_scaling \
            report_variables; do echo "$key NONE"; done
    } | put "-se $host" -Ae -Me
done
printf 'group_name @allhosts\nhostlist %s\n' "${HOSTS[*]}" | put "-shgrp @allhosts" -Ahgrp -Mhgrp
# shellcheck disable=SC2016 # Grid Engine's own words
for environment in 'smp $pe_slots' 'mpi $fill_up'; do
    read -r name rule <<<"$environment"
    put "-sp $name" -Ap -Mp <<P
pe_name $name
slots 9999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $rule
control_slaves TRUE
job_is_first_task FALSE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
P
done

queue() {
    local key
    cat <<Q
qname main.q
hostlist @allhosts
seq_no 0
load_thresholds NONE
suspend_thresholds NONE
nsuspend 1
suspend_interval 00:05:00
priority 0
min_cpu_interval 00:05:00
processors UNDEFINED
qtype BATCH INTERACTIVE
ckpt_list NONE
pe_list smp mpi
rerun FALSE
slots $SLOTS
tmpdir /tmp
shell /bin/csh
shell_start_mode ${SGE_SHELL_MODE:-posix_compliant}
notify 00:00:$(printf %02d "${SGE_NOTIFY:-5}")
initial_state default
Q
    for key in prolog epilog starter_method suspend_method resume_method terminate_method owner_list user_lists \
        xuser_lists subordinate_list complex_values projects xprojects calendar; do echo "$key NONE"; done
    for key in rt cpu fsize data stack core rss vmem; do printf 's_%s INFINITY\nh_%s INFINITY\n' $key $key; done
}
queue | put "-sq main.q" -Aq -Mq

# Schedule at once instead of every 15 s, and write the accounting at once.
as_admin -ssconf | sed -E 's/^schedule_interval .*/schedule_interval 0:0:1/; s/^flush_(submit|finish)_sec .*/flush_\1_sec 1/
    s/^job_load_adjustments .*/job_load_adjustments NONE/; s/^load_adjustment_decay_time .*/load_adjustment_decay_time 0:0:0/' \
    >"$WORK/scheduler"
as_admin -sconf global | sed '/^#/d; s/flush_time=00:00:15/flush_time=00:00:01 accounting_flush_time=00:00:01/' \
    >"$WORK/global"
chmod 644 "$WORK"/*
change -Msconf "$WORK/scheduler"
change -Mconf "$WORK/global"

# Grid Engine knows the processes of a job by a group id.  The hosts share one table of processes here: with the same
# ids on all of them it would end a job on one host together with another one elsewhere.
number=20000
for host in "${HOSTS[@]}"; do
    printf 'gid_range %d-%d\n' $number $((number + 999)) >"$WORK/$host"
    chmod 644 "$WORK/$host"
    number=$((number + 1000))
    if as_admin -sconf "$host" >/dev/null 2>&1; then change -Mconf "$WORK/$host"; else change -Aconf "$WORK/$host"; fi
done

for host in "${HOSTS[@]}"; do
    place=()
    [ "$NETNS" = 0 ] || place=(hpc-exec "$host")
    pid_alive "$RUN/execd-$host.pid" sge_execd ||
        start_clean "${place[@]}" env SGE_EXECD_PIDFILE="$RUN/execd-$host.pid" /usr/sbin/sge_execd
done
all_up() { [ "$(qstat -f -q main.q | awk '/^main.q@/ && NF == 5' | wc -l)" = ${#HOSTS[@]} ]; }
wait_for 60 all_up || {
    qstat -f >&2
    die "the hosts are not up after 60 s"
}
log "up: $(qstat -g c | awk '$1 == "main.q" { print $6 }') slots on ${HOSTS[*]}"
