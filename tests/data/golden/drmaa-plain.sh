#!/bin/bash
#DRMAA jobName=default
#DRMAA joinFiles=y
#DRMAA outputPath=:/home/ada/.dlaunch/default/logs/default.$drmaa_incr_ph$.log
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

# DRMAA does not tell a job which one it is: batch systems do, each by a variable of its own.
DLAUNCH_ARRAY_INDEX="${SGE_TASK_ID:-${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${LSB_JOBINDEX:-}}}}}"
case "${DLAUNCH_ARRAY_INDEX}" in
    "" | 0 | *[!0-9]*) # Or else the name of the log does.
        DLAUNCH_ARRAY_INDEX="$(readlink "/proc/$$/fd/1")"
        DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX%.log}"
        DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX##*.}"
        ;;
esac

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
case "${DLAUNCH_ARRAY_INDEX}" in
    "" | 0 | *[!0-9]*) echo "this batch system does not tell a job its index in the array" >&2; exit 1 ;;
esac
DLAUNCH_JOB_ID="${JOB_ID:-${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-job}}}}}.${DLAUNCH_ARRAY_INDEX}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/default/cluster.json \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
