#!/usr/bin/env python3
"""Trains variants of the default model for at most a million tokens each and writes the table that the choice is made on.

    ablate.py FOLDER --base DIR --documents FILE --set FILE.jsonl [--lacuna BIN] [--tokens 1000000] [--only full,rank16] [--force]

FOLDER gets a folder a variant and `table.md`; what is done stays done, so an interrupted run is simply started again. --base is a
Hugging Face directory (import_base.py), --documents what `lacuna finetune mine` kept, --set rows for `fim-eval` that nothing else is chosen on
(validation_files.py --part fit). Each variant sees the same windows; where it has another vocabulary they are other tokens, which is why
bits a character stand beside nats. Standard library only.

Without AMX it takes about an hour a variant of a million tokens: it says so and wants --force.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
# Options of `finetune trim` and of `finetune run`; the base as it is stands first, untrained.
VARIANTS = {
    "untrained": ({}, None),
    "full": ({}, []),
    "rank16": ({}, ["--adapter-rank", "16"]),
    "rank64": ({}, ["--adapter-rank", "64"]),
    "half-frozen": ({}, ["--freeze", "HALF"]),
    "vocab32768": ({"vocab": 32768}, ["--adapter-rank", "64"]),
    "vocab24576": ({"vocab": 24576}, ["--adapter-rank", "64"]),
    "layers24": ({"layers": 24}, ["--adapter-rank", "64"]),
    "vocab32768-layers24": ({"vocab": 32768, "layers": 24}, ["--adapter-rank", "64"]),
}
COLUMNS = ["variant", "parameters", "trained", "nats a token", "bits a character", "exact lines", "bytes (INT4)", "ms p50", "ms p95", "ms a token", "tokens a second"]


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def run(command, log):
    with open(log, "a") as out:
        out.write("$ " + " ".join(map(str, command)) + "\n")
        out.flush()
        done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, text=True)
        out.write(done.stdout)
    if done.returncode != 0:
        sys.exit(f"{command[0]} {command[1]} ended with {done.returncode}: see {log}")
    return done.stdout


def shards(args, name, tokenizer):
    """Shards of the recipe in this tokenizer, made once."""
    out = args.folder / "data" / name
    if not (out / "shards/shards.json").exists():
        say(f"shards {name}")
        out.mkdir(parents=True, exist_ok=True)
        command = [args.lacuna, "finetune", "mine", "--recipe", HERE / "recipe.toml", "--documents", args.documents, "--tokenizer", tokenizer]
        run([*command, "--out", out, "--tokens", args.tokens], out / "log")
    return out / "shards"


def trimmed(args, trim):
    """The base as the variant wants it, and the name of its tokenizer's shards."""
    if not trim:
        return args.base, "base"
    name = "-".join(f"{k}{v}" for k, v in trim.items())
    out = args.folder / "base" / name
    if not (out / "model.safetensors").exists():
        say(f"trim {name}")
        out.mkdir(parents=True, exist_ok=True)
        command = [args.lacuna, "finetune", "trim", args.base, "--output", out]
        if "vocab" in trim:
            command += ["--vocab", trim["vocab"], "--documents", args.documents]
        if "layers" in trim:
            command += ["--layers", trim["layers"], "--shards", shards(args, "base", args.base / "tokenizer.json"), "--rows", args.layer_rows]
        run(command, out / "log")
    return out, f"vocab{trim['vocab']}" if "vocab" in trim else "base"


def measure(args, folder, model, row):
    """Packed size, loss and exact lines on the set, latency as an editor has it."""
    packed = folder / "model.lacuna.safetensors"
    if not packed.exists():
        run([args.lacuna, "model", "pack", model, "--output", packed], folder / "log")
    command = [args.lacuna, "fim-eval", "run", args.set, "--model", packed, "--json", "--no-execution", "--jobs", "1", "--limit", args.rows]
    result = json.loads(run([*command, "--modes", "editor,raw"], folder / "log"))
    sets, lines = result["summary"]["sets"], result["latency"]["lines"]
    gold = [s["gold"] for s in sets if s.get("gold")]
    metric = lambda s: next(l["metrics"]["em_line"] for l in s["lines"] if l["dimension"] == "" and l.get("mode", "editor") == "editor")
    exact = [metric(s) for s in sets]
    editor = [l for l in lines if l["mode"] == "editor"]
    n = sum(l["n"] for l in editor)
    generated = sum(l["generated"] * l["n"] for l in editor) / n
    row["bytes (INT4)"] = packed.stat().st_size
    row["nats a token"] = round(sum(g["nats_per_token"]["mean"] for g in gold) / len(gold), 4)
    row["bits a character"] = round(sum(g["bits_per_char"] for g in gold) / len(gold), 4)
    row["exact lines"] = f"{100 * sum(e['mean'] * e['n'] for e in exact) / sum(e['n'] for e in exact):.1f} %"
    row["ms p50"] = round(sum(l["total_p50"] * l["n"] for l in editor) / n, 1)
    row["ms p95"] = round(max(l["total_p95"] for l in editor), 1)
    row["ms a token"] = round(row["ms p50"] / max(generated, 1.0), 2)
    packed.unlink()


def variant(args, name, trim, flags):
    folder = args.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    say(name)
    base, data = trimmed(args, trim)
    rows = shards(args, data, base / "tokenizer.json")
    row = {"variant": name, "parameters": "", "trained": "0", "tokens a second": ""}
    model = base
    if flags is not None:
        layers = json.loads((base / "config.json").read_text())["num_hidden_layers"]
        flags = [str(layers // 2) if f == "HALF" else f for f in flags]
        steps = max(1, args.tokens // (args.batch * json.loads((rows / "shards.json").read_text())["seq_len"]))
        rate = args.rate if "--adapter-rank" not in flags else args.adapter_rate
        command = [args.lacuna, "finetune", "run", "--shards", rows, "--out", folder / "run", "--optimizer", "adamw", "--rate", rate]
        command += ["--schedule", "cosine", "--warmup", max(1, steps // 20), "--rows", args.batch, "--rows-per-pass", 1, "--steps", steps]
        resume = ["--resume", folder / "run"] if (folder / "run/latest").exists() else ["--init-from", base, *flags]
        run([*command, *resume], folder / "log")
        steps_taken = [json.loads(l) for l in (folder / "run/log.jsonl").read_text().splitlines()]
        speeds = sorted(s["tokens_per_second"] for s in steps_taken if "tokens_per_second" in s)
        row["tokens a second"] = round(speeds[len(speeds) // 2])
        model = folder / "snapshot"
        run([args.lacuna, "finetune", "snapshot", folder / "run", "--output", model], folder / "log")
        told = [l for l in (folder / "log").read_text().splitlines() if "parameters," in l and "trained" in l]
        if told:
            row["parameters"], row["trained"] = told[-1].split(" parameters, ")[0].split()[-1], told[-1].split(" parameters, ")[1].split()[0]
    measure(args, folder, model, row)
    result.write_text(json.dumps(row))
    return row


def table(args, rows):
    head = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines = [f"| {' | '.join(str(r.get(c, '')) for c in COLUMNS)} |" for r in rows]
    cpu = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    note = f"{args.tokens} tokens each, seed of recipe.toml, {args.rows} rows of {args.set.name}, {os.cpu_count()} cores of {cpu}{' with AMX' if has_amx() else ' without AMX'}."
    (args.folder / "table.md").write_text("\n".join([*head, *lines, "", note, ""]))


def has_amx():
    return "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    for name in ("base", "documents", "set"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--lacuna", default=str(HERE.parents[1] / "target/release/lacuna"))
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--batch", type=int, default=8, help="rows a step")
    parser.add_argument("--rate", default="2e-4", help="of everything that is trained in full")
    parser.add_argument("--adapter-rate", default="4e-4")
    parser.add_argument("--rows", type=int, default=400, help="of the set")
    parser.add_argument("--layer-rows", type=int, default=4, help="validation rows that the choice of layers looks at")
    parser.add_argument("--vocab", default="32768,24576", help="sizes instead of these two: for small models")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    if args.tokens > 1_000_000:
        sys.exit("--tokens: a million at most; more is a training, not a comparison")
    if not has_amx() and not args.force:
        sys.exit("this processor has no AMX: about an hour a variant of a million tokens; --force starts all the same")
    first, second = (int(v) for v in args.vocab.split(","))
    sizes = {"vocab": {32768: first, 24576: second}, "layers": {24: args.layers}}
    only = [x for x in args.only.split(",") if x]
    if unknown := set(only) - set(VARIANTS):
        sys.exit(f"--only: {', '.join(sorted(unknown))}: there are {', '.join(VARIANTS)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, (trim, flags) in VARIANTS.items():
        if only and name not in only:
            continue
        rows.append(variant(args, name, {k: sizes[k][v] for k, v in trim.items()}, flags))
        table(args, rows)
    print((args.folder / "table.md").read_text())


if __name__ == "__main__":
    main()
