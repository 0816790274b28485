#!/bin/bash
# slurm-up.sh: SLURM (Debian's slurm-wlm) with its controller on this machine and a slurmd in each namespace of
# netns-up.sh, 32 made-up CPUs each.  A bed that runs with another configuration is restarted.
#   SLURM_CPUS=32      per node
#   SLURM_KILLWAIT=5   seconds from TERM to KILL at cancel and timeout (SLURM's default is 30)
#   SLURM_DELAY=1      batch_sched_delay; SLURM's default 3 means 3 s from sbatch to start
#   SLURM_EXTRA=''     lines (joined by \n) appended to slurm.conf
. "$(dirname "$0")/common.sh"
"$(dirname "$0")/netns-up.sh"
apt_need munge slurm-wlm slurm-client
ensure_user

grep -qs '^ClusterName=' /etc/slurm/slurm.conf && ! grep -qs '^ClusterName=hpc$' /etc/slurm/slurm.conf &&
    die "/etc/slurm/slurm.conf belongs to a real cluster: the bed would overwrite it"

# Only cgroups end the background children of a job whose script has gone; SLURM without systemd knows version 1.
PROCTRACK=linuxproc
if grep -q ' /sys/fs/cgroup/freezer cgroup ' /proc/mounts; then PROCTRACK=cgroup; fi

configuration() {
    local i
    cat <<C
ClusterName=hpc
SlurmctldHost=$(hostname)($BED_HEAD)
SlurmctldPort=6817
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=slurm
SlurmdUser=root
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd/%n
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd-%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd-%n.log
ProctrackType=proctrack/$PROCTRACK
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=/var/log/slurm/jobcomp.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=${SLURM_KILLWAIT:-5}
MinJobAge=600
InactiveLimit=0
MaxArraySize=1001
SchedulerParameters=batch_sched_delay=${SLURM_DELAY:-1},sched_interval=5,bf_interval=5
C
    [ -z "${SLURM_EXTRA:-}" ] || printf '%b\n' "$SLURM_EXTRA"
    for i in $(seq 1 "$BED_NODES"); do
        echo "NodeName=hpc$i NodeHostname=hpc$i NodeAddr=10.77.0.$i Port=6818 CPUs=${SLURM_CPUS:-32} State=UNKNOWN"
    done
    echo "PartitionName=main Nodes=hpc[1-$BED_NODES] Default=YES DefaultTime=01:00:00 MaxTime=INFINITE State=UP"
    echo "PartitionName=short Nodes=hpc[1-$BED_NODES] Default=NO DefaultTime=00:01:00 MaxTime=00:01:00 State=UP"
}

munge_up() {
    install -d -o munge -g munge -m 755 /run/munge
    install -d -o munge -g munge -m 700 /var/log/munge /var/lib/munge
    [ -s /etc/munge/munge.key ] ||
        runuser -u munge -- /usr/sbin/mungekey --create --keyfile=/etc/munge/munge.key
    if ! pid_alive /run/munge/munged.pid munged; then
        rm -f /run/munge/munge.socket*
        start_clean runuser -u munge -- /usr/sbin/munged
    fi
    wait_for 10 sh -c 'munge -n | unmunge' || die "munge does not answer"
}

configure() {
    local new
    printf 'CgroupPlugin=autodetect\nCgroupMountpoint=/sys/fs/cgroup\n' >/etc/slurm/cgroup.conf
    install -d -o slurm -g slurm -m 755 /var/lib/slurm/slurmctld /var/log/slurm /run/slurm
    install -d -m 755 /var/lib/slurm/slurmd
    new=$(mktemp)
    configuration >"$new"
    if ! cmp -s "$new" /etc/slurm/slurm.conf; then
        if pid_alive /run/slurm/slurmctld.pid slurmctld; then
            log "running with another configuration: restarting"
            "$(dirname "$0")/slurm-down.sh" --only-slurm
        fi
        install -m 644 "$new" /etc/slurm/slurm.conf
    fi
    rm -f "$new"
    [ -e /var/log/slurm/jobcomp.log ] ||
        install -o slurm -g slurm -m 644 /dev/null /var/log/slurm/jobcomp.log
}

all_idle() { [ "$(sinfo -h -N -p main -t idle,mix,alloc -o %N | wc -l)" = "$BED_NODES" ]; }

munge_up
configure
pid_alive /run/slurm/slurmctld.pid slurmctld || start_clean slurmctld
for i in $(seq 1 "$BED_NODES"); do
    pid_alive "/run/slurm/slurmd-hpc$i.pid" slurmd || start_clean hpc-exec "hpc$i" slurmd -N "hpc$i"
done
wait_for 60 all_idle || {
    sinfo -N -l >&2
    tail -5 /var/log/slurm/slurmctld.log /var/log/slurm/slurmd-*.log >&2
    die "the nodes are not up after 60 s"
}
log "up: $(sinfo -h -p main -o '%D nodes %N, %C CPUs A/I/O/T')"
