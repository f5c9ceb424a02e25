#!/usr/bin/env bash
# Builds the large evaluation sets from what the user has: downloads of the published files, SWE-bench instances, clones.
#
#   datasets/sets.sh DOWNLOADS OUT [CLONES]
#
# DOWNLOADS holds files under the names that they are published with (datasets/README.md says which and where they come from); CLONES
# holds clones of the projects of SWE-bench. What is missing is named and left out. LACUNA names the binary [default: lacuna].
# With FETCH=1 missing clones are fetched from github.com; nothing else uses the network.
set -euo pipefail

if [ $# -lt 2 ] || [ ! -d "$1" ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
downloads=$1
out=$2
clones=${3:-}
lacuna=${LACUNA:-lacuna}
mkdir -p "$out"

# set_of NAME FILE...: one set in our record from the first of the published files that is there.
set_of() {
    local name=$1 file
    shift
    for file in "$@"; do
        if [ -f "$downloads/$file" ]; then
            printf '%s: ' "$name"
            # 1 means that no row was usable: the report says why.
            "$lacuna" fim-eval build import "$downloads/$file" --set "$name" -o "$out/$name.jsonl.zst" || [ $? -eq 1 ]
            return
        fi
    done
    echo "$name: none of $* in $downloads"
}

set_of humaneval-single-line HumanEval-SingleLineInfilling.jsonl.gz
set_of humaneval-multi-line HumanEval-MultiLineInfilling.jsonl.gz
set_of humaneval-random-span HumanEval-RandomSpanInfilling.jsonl.gz
set_of humaneval-random-span-light HumanEval-RandomSpanInfillingLight.jsonl.gz
set_of santacoder-fim santacoder_fim.jsonl.gz santacoder_fim.jsonl train.parquet
set_of cceval-python python/line_completion_rg1_bm25.jsonl python/line_completion.jsonl
set_of cceval-java java/line_completion_rg1_bm25.jsonl java/line_completion.jsonl
set_of cceval-typescript typescript/line_completion_rg1_bm25.jsonl typescript/line_completion.jsonl
set_of cceval-csharp csharp/line_completion_rg1_bm25.jsonl csharp/line_completion.jsonl
set_of safim-block block_completion.jsonl.gz block_completion.jsonl
set_of safim-control control_completion.jsonl.gz control_completion.jsonl
set_of safim-api api_completion.jsonl.gz api_completion.jsonl

# Multi-line infilling in real projects, from gold patches.
for instances in "$downloads"/swe*bench*.jsonl "$downloads"/swe*bench*.jsonl.gz "$downloads"/swe*bench*.parquet; do
    [ -f "$instances" ] || continue
    if [ ! -d "$clones" ]; then
        echo "$(basename "$instances"): no folder of clones was given"
        continue
    fi
    name=$(basename "$instances" | sed 's/\.\(jsonl\|jsonl\.gz\|parquet\)$//')
    printf '%s: ' "$name"
    "$lacuna" fim-eval build swe-bench --instances "$instances" --repos "$clones" -o "$out/$name-infill.jsonl.zst" \
        ${FETCH:+--fetch} --skipped "$out/$name-infill.left-out.jsonl" || [ $? -eq 1 ]
done
