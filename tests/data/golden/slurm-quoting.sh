#!/bin/bash
#SBATCH --job-name=sweep-0001
#SBATCH --array=1-2
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --partition="q \"x\" \\ y"
#SBATCH --account="o'neil # lab"
#SBATCH --output="/home/ada/50%%j logs/o'neil \"x\"/sweep.%a.log"
#SBATCH --open-mode=append
#SBATCH --comment='a b'
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 2.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${SLURM_ARRAY_TASK_ID:?submit this script as an array: sbatch --array=1-N}"
DLAUNCH_JOB_ID="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
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
