#!/bin/bash
#SSH -T
#
# Each job of this script is one worker more for the cluster default, named after the job.
# Submit it as often as you like, in other numbers if you like.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX:?set this variable to the number of the worker, like 1}"
DLAUNCH_JOB_ID="${DLAUNCH_JOB_ID:-${HOSTNAME}:$$}"
# dlaunch brings the file along; by hand, it is where the home folder is shared.
if [ -z "${DLAUNCH_CLUSTER_FILE:-}" ]; then
    DLAUNCH_CLUSTER_FILE=/home/ada/.dlaunch/default/cluster.json
fi
export DLAUNCH_CLUSTER_FILE
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file "${DLAUNCH_CLUSTER_FILE}" \
    --name "${DLAUNCH_JOB_ID}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
