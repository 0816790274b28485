#!/bin/bash
#PBS -N j7sweep-0001
#PBS -t 1-16
#PBS -l nodes=1:ppn=8
#PBS -l mem=22889mb
#PBS -l walltime=26:03:04
#PBS -q main
#PBS -A lab-7
#PBS -j oe
#PBS -o /home/ada/logs/7sweep.torque
#
# One element of the cluster 7sweep: 4 workers, named 7sweep.INDEX with INDEX from 1 to 16.

# Torque hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAYID:?submit this script as an array: qsub -t 1-N}"
exec >>"/home/ada/logs/7sweep.${DLAUNCH_ARRAY_INDEX}.log" 2>&1 || exit 1

# The user's own lines.
module load gcc/12

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export DATA='/data/set 1'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/7sweep/cluster.json \
    --name "7sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 2 \
    --nprocs 4 \
    --memory-limit 6000000000 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
