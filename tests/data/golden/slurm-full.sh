#!/bin/bash
#SBATCH --job-name=sweep-0001
#SBATCH --array=1-16
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=22889M
#SBATCH --time=1-02:03:04
#SBATCH --partition=main
#SBATCH --account=lab-7
#SBATCH --output=/home/ada/logs/sweep.%a.log
#SBATCH --open-mode=append
#
# One element of the cluster sweep: 4 workers, named sweep.INDEX with INDEX from 1 to 16.

# The user's own lines.
module load gcc/12
export SCRATCH="/scratch/$USER"

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${SLURM_ARRAY_TASK_ID:?submit this script as an array: sbatch --array=1-N}"
DLAUNCH_JOB_ID="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
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
