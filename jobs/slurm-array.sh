#!/bin/bash
# One run by the N tasks of a Slurm array. With routing.threshold in the job:
#
#   sbatch --array=0-15 jobs/slurm-array.sh run job.toml
#
# With strong_fraction or budget_usd the threshold waits for the scores of all rows, so that two arrays follow each other:
#
#   scored=$(sbatch --parsable --array=0-15 jobs/slurm-array.sh score job.toml)
#   sbatch --array=0-15 --dependency="afterok:$scored" jobs/slurm-array.sh run job.toml
#
# N need not be the number of shards, and may be another the next time; give the whole array again, as tasks with nothing
# left end at once. Of `--array=0-15%8` eight tasks run at a time and use half of the limits.
#
# Slurm sends SIGTERM 120 s before the time is over: answers in flight are awaited, everything is kept, and the task is
# put back into the queue, where it goes on; at most 5 times, as a rejected key is exit 4, too.
#SBATCH --job-name=batchroute
#SBATCH --cpus-per-task=1
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=batchroute-%A-%a.log

set -uo pipefail
command=${1:?run or score}
job=${2:?a job file}
export OPENAI_API_KEY_FILE="${OPENAI_API_KEY_FILE:-$HOME/.secrets/openai}"

# In the background, so that the shell hears the signal and passes it on.
batchroute "$command" "$job" --shard auto --quiet &
share=$!
trap 'kill -TERM "$share"' TERM
wait "$share"
code=$?
if kill -0 "$share" 2>/dev/null; then # the first wait was ended by the signal
    wait "$share"
    code=$?
fi
case $code in
    4 | 143)
        if [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
            scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
        fi
        ;;
esac
exit "$code"
