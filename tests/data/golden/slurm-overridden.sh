#!/bin/bash
#SBATCH --job-name=sweep-0001
#SBATCH --array=1-8
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --open-mode=append
#SBATCH -p gpu
#SBATCH --mem-per-cpu=2G
#SBATCH --gres=gpu:1
#SBATCH -o/tmp/mine.%a
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 8.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${SLURM_ARRAY_TASK_ID:?submit this script as an array: sbatch --array=1-N}"
DLAUNCH_JOB_ID="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --memory-limit 1073741824 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
