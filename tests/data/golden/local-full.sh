#!/bin/bash
#
# One element of the cluster sweep: 4 workers, named sweep.INDEX with INDEX from 1 to 2.

# The user's own lines.
ulimit -c 0

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_ARRAY_INDEX="${DLAUNCH_ARRAY_INDEX:?set this variable to the number of the worker, like 1}"
# Host, process, and its start time, since process numbers come back.
DLAUNCH_JOB_ID="$(uname -n):$$:$(sed 's/.*) //' "/proc/$$/stat" | cut -d ' ' -f 20)"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export QUOTED='a '"'"'b'"'"' "c" $HOME `id` $(id) \ * ; & | < > # % {{ d }}
line two

'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec /home/ada/env/bin/python -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 2 \
    --nprocs 4 \
    --memory-limit 1073741824 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
