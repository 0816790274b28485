#!/bin/bash
#$ -N default
#$ -t 1-1
#$ -S /bin/bash
#$ -cwd
#$ -notify
#$ -j y
#$ -o "/home/ada/.dlaunch/default/logs/default.$JOB_ID.$TASK_ID.log"
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

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
    --cluster-file /home/ada/.dlaunch/default/cluster.json \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
