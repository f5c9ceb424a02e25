#!/usr/bin/env bash
# The long training of the default model, in the background: base, data, shards, then the trainer, each going on where it was interrupted.
#
#   datasets/embedded/train.sh start FOLDER [EVALUATION_SETS]   begin, or go on from the newest checkpoint, else from the committed snapshot
#   datasets/embedded/train.sh go-on FOLDER [EVALUATION_SETS]   the same
#   datasets/embedded/train.sh stop FOLDER                      save a checkpoint and end
#   datasets/embedded/train.sh status FOLDER                    what it is doing, and the last lines of its log
#   datasets/embedded/train.sh snapshot FOLDER                  the newest checkpoint's adapters (f16) into datasets/embedded/snapshot/adapters
#
# FOLDER gets the base, sources (about 6 GB), corpus, shards, checkpoints, train.log, train.pid and phase. EVALUATION_SETS is a folder of
# *.jsonl or *.jsonl.gz files that the corpus must not overlap. It runs with `nice -n 19`, so other work hardly notices it.
#
# From the environment:
#   FORCE=1          start on a machine without AMX too
#   DOCUMENTS=FILE   a documents.jsonl.zst of an earlier mining, instead of fetching and mining sources
#   SHARDS=DIR       shards that are there already
#   BASE=DIR         a Hugging Face directory instead of the imported base
#   LACUNA_BIN=FILE  instead of building this tree
#   VOCAB, LAYERS    trim the base to so many tokens and layers first (as chosen by ablate.py)
#   RANK (64)        of the adapters; 0 trains everything (whose snapshot is too large to commit)
#   FREEZE (0), RATE (2e-4), ROWS (8), ROWS_PER_PASS (1), TOKENS (150000000: the end of the run), STEPS (from TOKENS), MIDDLE_WEIGHT (2)
#   INT4=1           with the weights as INT4 holds them: the last part
#   SAMPLE (1)       fetch one package of so many: a trial
#   MINE_TOKENS      instead of what recipe.toml says: a trial
#   SNAPSHOT=DIR     instead of datasets/embedded/snapshot/adapters
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
usage() { sed -n '4,8s/^# *//p' "$here/train.sh" >&2; exit 2; }
[ $# -ge 2 ] || usage
command="$1" folder="$2" evaluation="${3:-}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
pid_file="$folder/train.pid" log="$folder/train.log" run="$folder/run"
snapshot="${SNAPSHOT:-$here/snapshot/adapters}"

# The running training's process, if there is one: the leader of its own group.
running() {
    [ -s "$pid_file" ] && pid="$(cat "$pid_file")" && kill -0 "$pid" 2>/dev/null && grep -qa train.sh "/proc/$pid/cmdline"
}

phase() { echo "$1" > "$folder/phase"; printf '%s  %s\n' "$(date -u +%FT%TZ)" "$1"; }

lacuna_bin() {
    if [ -z "${LACUNA_BIN:-}" ]; then
        (cd "$here/../.." && cargo build --release --locked)
        LACUNA_BIN="$here/../../target/release/lacuna"
    fi
}

start() {
    if running; then
        echo "training already runs here (process $pid); its log is $log"
        return
    fi
    if ! grep -qw amx_bf16 /proc/cpuinfo && [ "${FORCE:-0}" != 1 ]; then
        echo "this processor has no AMX (no amx_bf16 in /proc/cpuinfo): some 225 tokens a second here instead of 900, so 150 million tokens" \
            "take a week instead of two days; FORCE=1 starts all the same" >&2
        exit 1
    fi
    [ -z "$evaluation" ] || evaluation="$(cd "$evaluation" && pwd)"
    # A session of its own: it outlives the shell that started it, and can be stopped as one group.
    setsid nice -n 19 "$here/train.sh" work "$folder" "$evaluation" >> "$log" 2>&1 < /dev/null &
    echo $! > "$pid_file"
    echo "training in the background (process $!); train.sh status $folder, train.sh stop $folder; its log is $log"
}

# What happens in the background.
work() {
    trap 'phase "failed"' ERR
    phase "build"
    lacuna_bin
    base="${BASE:-$folder/base}"
    if [ -z "${BASE:-}" ] && [ ! -f "$base/config.json" ]; then
        phase "import"
        python3 -m venv "$folder/venv"
        "$folder/venv/bin/pip" install --quiet --disable-pip-version-check gguf numpy safetensors tokenizers
        "$folder/venv/bin/python" "$here/import_base.py" "$base"
    fi
    documents="${DOCUMENTS:-$folder/mined/documents.jsonl.zst}"
    shards="${SHARDS:-$folder/mined/shards}"
    mine=("$LACUNA_BIN" finetune mine --recipe "$here/recipe.toml" --out "$folder/mined")
    [ -z "${MINE_TOKENS:-}" ] || mine+=(--tokens "$MINE_TOKENS")
    if [ ! -f "$shards/shards.json" ] && [ ! -f "$documents" ]; then
        phase "fetch"
        # A package that is gone from its registry is reported and left out; the rest is still the recipe.
        python3 "$here/fetch.py" "$folder/raw" --sample "${SAMPLE:-1}" || echo "some packages could not be fetched: see above"
        phase "mine"
        flags=()
        [ -z "$evaluation" ] || flags+=(--decontaminate "$evaluation")
        # Shards come below, once the tokenizer is known.
        "${mine[@]}" --sources "$folder/raw" --documents-only "${flags[@]}"
    fi
    if [ -n "${VOCAB:-}${LAYERS:-}" ]; then
        if [ ! -f "$folder/trimmed/config.json" ]; then
            phase "trim"
            flags=()
            [ -z "${VOCAB:-}" ] || flags+=(--vocab "$VOCAB" --documents "$documents")
            if [ -n "${LAYERS:-}" ]; then
                # The choice of layers looks at validation rows in the base's own tokens.
                "$LACUNA_BIN" finetune mine --recipe "$here/recipe.toml" --documents "$documents" --tokenizer "$base/tokenizer.json" \
                    --out "$folder/mined-base" --tokens "${MINE_TOKENS:-1000000}"
                flags+=(--layers "$LAYERS" --shards "$folder/mined-base/shards")
            fi
            "$LACUNA_BIN" finetune trim "$base" --output "$folder/trimmed" "${flags[@]}"
        fi
        base="$folder/trimmed" shards="$folder/mined/shards"
    fi
    if [ ! -f "$shards/shards.json" ]; then
        phase "pack"
        "${mine[@]}" --documents "$documents" --tokenizer "$base/tokenizer.json"
    fi
    rows="${ROWS:-8}" rank="${RANK:-64}"
    steps="${STEPS:-$((${TOKENS:-150000000} / (rows * 1024)))}"
    flags=(--optimizer adamw --rate "${RATE:-2e-4}" --schedule wsd --rows "$rows" --rows-per-pass "${ROWS_PER_PASS:-1}" --steps "$steps"
        --middle-weight "${MIDDLE_WEIGHT:-2}" --checkpoint-minutes 10)
    [ "${INT4:-0}" != 1 ] || flags+=(--int4)
    adapters=()
    [ "$rank" = 0 ] || adapters=(--adapter-rank "$rank")
    [ "${FREEZE:-0}" = 0 ] || adapters+=(--freeze "$FREEZE")
    if [ -f "$run/latest" ]; then
        flags+=(--resume "$run")
    elif [ -f "$snapshot/adapters.json" ]; then
        # Moments are not in a snapshot: the rate warms up again.
        flags+=(--init-from "$base" --adapters "$snapshot" --warmup 50)
    else
        flags+=(--init-from "$base" "${adapters[@]}" --warmup 100)
    fi
    phase "train"
    "$LACUNA_BIN" finetune run --shards "$shards" --out "$run" "${flags[@]}"
    phase "ended"
}

stop() {
    if ! running; then
        echo "no training runs here"
        return
    fi
    # The trainer saves a checkpoint when it is interrupted; what is before it is simply ended and goes on later.
    local signal=TERM
    [ "$(cat "$folder/phase" 2>/dev/null)" != train ] || signal=INT
    for n in $(seq 0 599); do
        # Again now and then: a trainer that has only just begun does not listen yet.
        [ $((n % 20)) != 0 ] || kill "-$signal" -- "-$pid" 2>/dev/null || true
        kill -0 "$pid" 2>/dev/null || { rm -f "$pid_file"; echo "stopped; train.sh go-on $folder"; return; }
        sleep 0.5
    done
    echo "process $pid has not ended within five minutes (a step or a checkpoint takes long): try again" >&2
    exit 1
}

status() {
    if running; then echo "runs (process $pid): $(cat "$folder/phase" 2>/dev/null)"; else echo "does not run: $(cat "$folder/phase" 2>/dev/null || echo "never started")"; fi
    tail -n 5 "$log" 2>/dev/null || true
}

keep() {
    [ -f "$run/latest" ] || { echo "no checkpoint in $run yet" >&2; exit 1; }
    lacuna_bin
    "$LACUNA_BIN" finetune snapshot "$run" --adapters --output "$snapshot"
    bytes="$(du -cb "$snapshot"/* | tail -n 1 | cut -f 1)"
    echo "$snapshot: $bytes bytes; all snapshots and models in the history together may be 400 MB"
}

case "$command" in
    start | go-on) start ;;
    work) work ;;
    stop) stop ;;
    status) status ;;
    snapshot) keep ;;
    *) usage ;;
esac
