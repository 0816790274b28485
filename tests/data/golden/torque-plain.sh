#!/bin/bash
#PBS -N torque-0001
#PBS -t 1-1
#PBS -l nodes=1:ppn=1
#PBS -j oe
#PBS -o /home/ada/.dlaunch/torque/logs/torque.torque
#
# One element of the cluster torque: one worker, named torque.INDEX with INDEX from 1 to 1.

# Torque hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAYID:?submit this script as an array: qsub -t 1-N}"
exec >>"/home/ada/.dlaunch/torque/logs/torque.${DLAUNCH_ARRAY_INDEX}.log" 2>&1 || exit 1

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/torque/cluster.json \
    --name "torque.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
