#!/bin/bash
#$ -N sge-0001
#$ -t 1-1
#$ -S /bin/bash
#$ -cwd
#$ -notify
#$ -j y
#$ -o "/home/ada/.dlaunch/sge/logs/sge.$TASK_ID.log"
#
# One element of the cluster sge: one worker, named sge.INDEX with INDEX from 1 to 1.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
[ "${SGE_TASK_ID:-undefined}" != undefined ] || { echo "submit this script as an array: qsub -t 1-N" >&2; exit 1; }
DLAUNCH_ARRAY_INDEX="${SGE_TASK_ID}"
DLAUNCH_JOB_ID="${JOB_ID}.${SGE_TASK_ID}"
# -notify: SIGUSR2 comes some time before SIGKILL, and the worker says goodbye.
export DLAUNCH_END_SIGNALS=USR2
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sge/cluster.json \
    --name "sge.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
