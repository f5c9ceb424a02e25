#!/usr/bin/env bash
# The whole recipe of the embedded model: fetch, mine, train, train for INT4, pack. Every step goes on where it was interrupted.
#
#   datasets/embedded/build.sh FOLDER [EVALUATION_SETS]
#
# FOLDER gets the sources (about 5 GB), the corpus, the shards, checkpoints and the packed model; nothing of it belongs in the
# repository but the last. EVALUATION_SETS is a folder of *.jsonl or *.jsonl.gz files that the corpus must not overlap; it is
# read for exclusion only. Needs python 3.11, pip, npm, cargo and, for the Java, Go and C sources, Debian's apt-get with deb-src.
# From the environment: TOKENS (training tokens to make, 80 million), MINUTES (of training, 240), SEED (1). A quarter of both is
# added for the last part, on self-contained functions and with the weights as INT4 holds them.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:?usage: build.sh FOLDER [EVALUATION_SETS]}"
evaluation="${2:-}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
[ -z "$evaluation" ] || evaluation="$(cd "$evaluation" && pwd)"
cd "$here/../.."

cargo build --release --locked
lacuna="$PWD/target/release/lacuna"

# A package that is gone from its registry is reported and left out; the rest is still the recipe.
python3 "$here/fetch.py" "$folder/raw" || echo "some packages could not be fetched: see above" >&2

if [ ! -f "$folder/mined/shards/shards.json" ]; then
    flags=()
    [ -z "$evaluation" ] || flags+=(--decontaminate "$evaluation")
    # The committed tokenizer keeps the committed weights usable; without it a new one is trained.
    [ ! -s "$here/tokenizer.json" ] || flags+=(--tokenizer "$here/tokenizer.json")
    "$lacuna" finetune mine --sources "$folder/raw" --out "$folder/mined" \
        --tokens "${TOKENS:-80000000}" --seed "${SEED:-1}" "${flags[@]}"
fi

# train SHARDS RUN MINUTES FLAGS…: FLAGS say how the run begins; one that has a checkpoint goes on from it.
train() {
    local shards="$1" run="$2" minutes="$3"
    shift 3
    [ ! -f "$run/latest" ] || set -- "$@" --resume "$run"
    "$lacuna" finetune run --shards "$shards" --out "$run" --minutes "$minutes" --seed "${SEED:-1}" "$@"
}
minutes="${MINUTES:-240}"
train "$folder/mined/shards" "$folder/run" "$minutes"

if [ ! -f "$folder/late/shards/shards.json" ]; then
    "$lacuna" finetune mine --documents "$folder/mined/documents.jsonl.zst" --tokenizer "$folder/mined/tokenizer.json" \
        --out "$folder/late" --tokens "$((${TOKENS:-80000000} / 4))" --seed "$((${SEED:-1} + 1))" --spm 0.8 --functions 0.7 --lines 0.65
fi
start=()
[ -f "$folder/late-run/latest" ] || start=(--init-from "$folder/run")
train "$folder/late/shards" "$folder/late-run" "$((minutes / 4 + 1))" \
    --schedule cosine --rate 3e-3 --middle-weight 3 --int4 "${start[@]}"

"$lacuna" finetune snapshot "$folder/late-run" --output "$folder/snapshot"
"$lacuna" model pack "$folder/snapshot" --output "$folder/model.lacuna.safetensors" \
    --languages python,javascript,javascriptreact,typescript,typescriptreact,java,rust,go,c,cpp
echo "packed: $folder/model.lacuna.safetensors (tokenizer: $folder/mined/tokenizer.json)"
