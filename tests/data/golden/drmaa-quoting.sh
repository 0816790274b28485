#!/bin/bash
#DRMAA jobName=sweep-0001
#DRMAA joinFiles=y
#DRMAA outputPath=:/dev/null
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 2.

# DRMAA does not tell a job which one it is: batch systems do, each by a variable of its own.
DLAUNCH_ARRAY_INDEX="${SGE_TASK_ID:-${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-${PBS_ARRAYID:-${LSB_JOBINDEX:-}}}}}"
# Not every batch system can take the name of this folder, so the shell opens the log.
exec >>'/home/ada/50%j logs/o'"'"'neil "x"'/sweep."${DLAUNCH_ARRAY_INDEX}".log 2>&1

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
case "${DLAUNCH_ARRAY_INDEX}" in
    "" | 0 | *[!0-9]*) echo "this batch system does not tell a job its index in the array" >&2; exit 1 ;;
esac
DLAUNCH_JOB_ID="${JOB_ID:-${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-${PBS_JOBID:-${LSB_JOBID:-job}}}}}.${DLAUNCH_ARRAY_INDEX}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export QUOTED='a '"'"'b'"'"' "c" $HOME `id` $(id) \ * ; & | < > # % {{ d }}
line two

'
export EMPTY=''
export UNICODE='Ωé '

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec '/home/ada/my env/$x/bin/python' -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
