#!/bin/bash
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX:?set this variable to the number of the worker, like 1}"
# Host, process, and its start time, since process numbers come back.
DLAUNCH_JOB_ID="$(uname -n):$$:$(sed 's/.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/default/cluster.json \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
