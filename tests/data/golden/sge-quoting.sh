#!/bin/bash
#$ -N sweep-0001
#$ -t 1-2
#$ -S /bin/bash
#$ -cwd
#$ -notify
#$ -q "q x"
#$ -P "lab # 7"
#$ -j y
#$ -o /dev/null
# No directive can hold the name of this folder, so the shell opens the log.
exec >>'/home/ada/50%j logs/o'"'"'neil "x"'/sweep."${SGE_TASK_ID}".log 2>&1
#$ -ac "a=x y"
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 2.

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
[ "${SGE_TASK_ID:-undefined}" != undefined ] || { echo "submit this script as an array: qsub -t 1-N" >&2; exit 1; }
DLAUNCH_ARRAY_INDEX="${SGE_TASK_ID}"
DLAUNCH_JOB_ID="${JOB_ID}.${SGE_TASK_ID}"
# -notify: SIGUSR2 comes some time before SIGKILL, and the worker says goodbye.
export DLAUNCH_END_SIGNALS=USR2
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
