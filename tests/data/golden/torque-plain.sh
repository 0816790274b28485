#!/bin/bash
#PBS -N default
#PBS -t 1-1
#PBS -l nodes=1:ppn=1
#PBS -j oe
#PBS -o /home/ada/.dlaunch/default/logs/default.torque
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

# Torque hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAYID:?submit this script as an array: qsub -t 1-N}"
exec >>"/home/ada/.dlaunch/default/logs/default.${PBS_JOBID}.log" 2>&1 || exit 1

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/default/cluster.json \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
