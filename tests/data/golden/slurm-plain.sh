#!/bin/bash
#SBATCH --job-name=default
#SBATCH --array=1-1
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --output=/home/ada/.dlaunch/default/logs/default.%A_%a.log
#SBATCH --open-mode=append
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${SLURM_ARRAY_TASK_ID:?submit this script as an array: sbatch --array=1-N}"
DLAUNCH_JOB_ID="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/default/cluster.json \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
