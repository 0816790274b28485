#!/bin/bash
# sge-down.sh [--only-sge] [--purge]: delete all jobs, stop the execution daemons and sge_qmaster, and remove the
# namespaces if nothing else uses them.  --only-sge leaves these; --purge forgets jobs and accounting (the next id is 1).
. "$(dirname "$0")/common.sh"
shopt -s nullglob
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
SPOOL=/var/spool/gridengine
RUN=/run/gridengine

as_admin() { runuser -u sgeadmin -- env SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL "$@"; }

queue_is_empty() { [ -z "$(timeout 10 qstat -u '*' 2>/dev/null)" ]; }

if pid_alive $RUN/qmaster.pid sge_qmaster; then
    as_admin timeout 20 qdel -u '*' >/dev/null 2>&1 || true
    if ! wait_for 30 queue_is_empty; then
        as_admin timeout 20 qdel -f -u '*' >/dev/null 2>&1 || true
        wait_for 10 queue_is_empty || log "jobs left: $(qstat -u '*' | tail -n +3 | wc -l)"
    fi
fi
for file in "$RUN"/execd-*.pid; do end_pidfile "$file" sge_execd 15; done
end_pidfile $RUN/qmaster.pid sge_qmaster 30
case " $* " in
*" --purge "*)
    rm -rf $SPOOL/spooldb/* $SPOOL/qmaster/jobseqnum $SPOOL/qmaster/messages $SPOOL/qmaster/job_scripts/* \
        $SPOOL/execd/* $SGE_ROOT/$SGE_CELL/common/accounting
    ;;
esac
case " $* " in
*" --only-sge "*) ;;
*) [ "${SGE_NETNS:-1}" = 0 ] || "$(dirname "$0")/netns-down.sh" --if-unused ;;
esac
log "down"
