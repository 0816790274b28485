#!/bin/bash
# slurm-down.sh [--only-slurm] [--purge]: cancel all jobs, stop slurmd, slurmctld and munged and remove the
# namespaces if nothing else uses them.  --only-slurm leaves munged and the namespaces; --purge forgets jobs and logs (the next id is 1).
. "$(dirname "$0")/common.sh"
shopt -s nullglob

queue_is_empty() { [ -z "$(squeue -h 2>/dev/null)" ]; }

cancel_jobs() {
    local user
    timeout 20 squeue -h -o %u 2>/dev/null | sort -u | while read -r user; do
        timeout 20 scancel -u "$user" || true
    done
    wait_for 45 queue_is_empty || log "jobs left: $(squeue -h | wc -l)"
}

if pid_alive /run/slurm/slurmctld.pid slurmctld; then cancel_jobs; fi
for file in /run/slurm/slurmd-*.pid; do end_pidfile "$file" slurmd; done
end_pidfile /run/slurm/slurmctld.pid slurmctld 20
case " $* " in
*" --purge "*) rm -rf /var/lib/slurm/slurmctld/* /var/lib/slurm/slurmd/* /var/log/slurm/*.log ;;
esac
case " $* " in
*" --only-slurm "*) ;;
*)
    end_pidfile /run/munge/munged.pid munged
    "$(dirname "$0")/netns-down.sh" --if-unused
    ;;
esac
log "down"
