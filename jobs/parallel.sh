#!/bin/bash
# One run by N processes with GNU parallel, on this machine or on several that see the same directories:
#
#   jobs/parallel.sh 4 job.toml                            4 processes here
#   HOSTS=mill-1,mill-2,: jobs/parallel.sh 12 job.toml     4 on each of three machines, `:` is this one
#
# It exits 0 where every process did, else with how many did not. The same line again goes on where they stopped.
# The key is read on each machine from the file that OPENAI_API_KEY_FILE names there: an `--env OPENAI_API_KEY` would
# show it in the list of processes.
set -euo pipefail

processes=${1:?how many processes}
job=${2:?a job file}
hosts=${HOSTS:-:}
machines=$(awk -F, '{ print NF }' <<<"$hosts")

# On Ctrl-C or SIGTERM parallel would wait 0.4 s and kill: answers in flight are awaited longer, up to limits.drain_s.
shares() {
    seq 0 $((processes - 1)) | parallel --sshlogin "$hosts" --workdir . --jobs $(((processes + machines - 1) / machines)) \
        --termseq TERM,120000,KILL,25 --line-buffer --tag batchroute "$1" "$job" --shard "{}/$processes" --quiet
}

# A threshold that is worked out of all scores, as for routing.strong_fraction, waits for every process to have scored.
# With routing.threshold the first line is not needed.
shares score
shares run
