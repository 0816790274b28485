#!/bin/bash
#PBS -N sweep-0001
#PBS -J 1-8
#PBS -l walltime=00:01:00
#PBS -j oe
#PBS -o /dev/null
#PBS -q gpu
#PBS -l select=1:ncpus=4:ngpus=1:mem=8gb
#PBS -W umask=022
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 8.

# PBS hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAY_INDEX:-${DLAUNCH_ARRAY_INDEX:?submit this script as an array: qsub -J 1-N}}"
exec >>"/home/ada/.dlaunch/sweep/logs/sweep.${DLAUNCH_ARRAY_INDEX}.log" 2>&1 || exit 1

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --memory-limit 1073741824 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
