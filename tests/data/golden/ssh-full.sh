#!/bin/bash
#SSH -T
#SSH -o Port=2222
#SSH -J gate
#
# One element of the cluster sweep: 2 workers, named sweep.INDEX with INDEX from 1 to 2.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX:?set this variable to the number of the worker, like 1}"
DLAUNCH_JOB_ID="${DLAUNCH_JOB_ID:-${HOSTNAME}:$$}"
# dlaunch brings the file along; by hand, it is where the home folder is shared.
if [ -z "${DLAUNCH_CLUSTER_FILE:-}" ]; then
    DLAUNCH_CLUSTER_FILE=/home/ada/.dlaunch/sweep/cluster.json
fi
export DLAUNCH_CLUSTER_FILE
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export QUOTED='a '"'"'b'"'"' "c" $HOME `id` $(id) \ * ; & | < > # % {{ d }}
line two

'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file "${DLAUNCH_CLUSTER_FILE}" \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --nprocs 2 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
