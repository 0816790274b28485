#!/bin/bash
#$ -N sweep-0001
#$ -t 1-16
#$ -S /bin/bash
#$ -cwd
#$ -notify
#$ -pe shm 8
#$ -l h_vmem=2862M
#$ -l mem_free=22889M
#$ -l h_rt=93784
#$ -q all.q
#$ -P lab-7
#$ -j y
#$ -o "/home/ada/logs/sweep.$TASK_ID.log"
#
# One element of the cluster sweep: 4 workers, named sweep.INDEX with INDEX from 1 to 16.

# The user's own lines.
module load gcc/12
export SCRATCH="/scratch/$USER"

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
[ "${SGE_TASK_ID:-undefined}" != undefined ] || { echo "submit this script as an array: qsub -t 1-N" >&2; exit 1; }
DLAUNCH_ARRAY_INDEX="${SGE_TASK_ID}"
DLAUNCH_JOB_ID="${JOB_ID}.${SGE_TASK_ID}"
# -notify: SIGUSR2 comes some time before SIGKILL, and the worker says goodbye.
export DLAUNCH_END_SIGNALS=USR2
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export OMP_PROC_BIND=true
export DATA='/data/set 1'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 2 \
    --nprocs 4 \
    --memory-limit 6000000000 \
    --death-timeout 300s \
    --job-id "${DLAUNCH_JOB_ID}"
