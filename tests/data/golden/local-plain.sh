#!/bin/bash
#
# One element of the cluster local: one worker, named local.INDEX with INDEX from 1 to 4.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX:?set this variable to the number of the worker, like 1}"
DLAUNCH_JOB_ID="${HOSTNAME}:$$"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/local/cluster.json \
    --name "local.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
