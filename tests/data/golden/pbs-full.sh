#!/bin/bash
#PBS -N sweep-0001
#PBS -J 1-16
#PBS -l select=1:ncpus=8:mem=22889mb
#PBS -l walltime=100:00:00
#PBS -q main
#PBS -A lab-7
#PBS -j oe
#PBS -o /dev/null
#
# One element of the cluster sweep: 4 workers, named sweep.INDEX with INDEX from 1 to 16.

# PBS hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAY_INDEX:-${DLAUNCH_ARRAY_INDEX:?submit this script as an array: qsub -J 1-N}}"
exec >>"/home/ada/my logs/sweep.${DLAUNCH_ARRAY_INDEX}.log" 2>&1 || exit 1

# The user's own lines.
module load gcc/12

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export DATA='/data/set 1'
export QUOTED='a '"'"'b'"'"' "c" $HOME `id` $(id) \ * ; & | < > # % {{ d }}
line two

'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 2 \
    --nprocs 4 \
    --memory-limit 6000000000 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
