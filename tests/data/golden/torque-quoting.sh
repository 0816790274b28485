#!/bin/bash
#PBS -N sweep-0001
#PBS -t 1-2
#PBS -l mem=1024mb
#PBS -j oe
#PBS -o /dev/null
#PBS -l nodes=1:ppn=2:gpus=1,walltime=1:00:00
#PBS -m n
#
# One element of the cluster sweep: one worker, named sweep.INDEX with INDEX from 1 to 2.

# Torque hands over what a job prints only after its end: so the log is written from here.
DLAUNCH_ARRAY_INDEX="${PBS_ARRAYID:?submit this script as an array: qsub -t 1-N}"
exec >>"/home/ada/50%j logs/o'neil \"x\" \$y/sweep.${DLAUNCH_ARRAY_INDEX}.log" 2>&1 || exit 1

set -o errexit -o nounset -o pipefail

# Which element of which job this is.
DLAUNCH_JOB_ID="${PBS_JOBID}"
export DLAUNCH_ARRAY_INDEX DLAUNCH_JOB_ID
export QUOTED='a '"'"'b'"'"' "c" $HOME `id` $(id) \ * ; & | < > # % {{ d }}
line two

'

# exec: the worker gets the signals of the batch system itself, and says goodbye before the job ends.
exec '/home/ada/my env/$x/bin/python' -m distributed.cli.dworker \
    --cluster-file /home/ada/.dlaunch/sweep/cluster.json \
    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \
    --nthreads 1 \
    --memory-limit 1073741824 \
    --death-timeout 60s \
    --job-id "${DLAUNCH_JOB_ID}"
