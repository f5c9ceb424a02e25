#!/usr/bin/env python3
"""What each part of choosing among several lines is worth, in one table: sets are run once for each part that is added or left out.

    datasets/choosing.py target/release/lacuna SET... [--limit N] [--model M] [--out docs/bench/choosing.md]

SET is what `lacuna fim-eval run` takes. Every row of the first table is the editor's mode, asked by hand, with all the time that it wants; the
row of a deadline says what an editor's user gets on this machine. The second table is what is shown unasked, in languages that are on. Only
the standard library is used.
"""

import argparse
import json
import pathlib
import platform
import subprocess
import sys

DEADLINE = 400  # milliseconds
# What a row is called, and what is added to the command.
ROWS = [
    ("the likeliest token each time", ["--beam", "1"]),
    ("search, the best line or nothing", ["--without", "scope,ngrams,others"]),
    ("search, the best line that the rules let pass", ["--without", "scope,ngrams"]),
    ("… and scope", ["--without", "ngrams"]),
    ("… and the file's n-grams", ["--without", "scope"]),
    ("… and both: **what is served**", []),
    ("… and the text right of the cursor", ["--suffix-weight", "0.5"]),
    (f"what is served, within {DEADLINE} ms", ["--deadline", str(DEADLINE)]),
]
SERVED = 5
BASELINES = ["ngram", "copy-line", "close-bracket"]


def run(arguments, options, modes):
    command = [arguments.binary, "fim-eval", "run", *arguments.sets, "--modes", ",".join(modes), "--no-execution", "--json", *options]
    command += ["--limit", str(arguments.limit)] if arguments.limit else []
    command += ["--model", arguments.model] if arguments.model else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def lines_of(result):
    """(set, language or "", mode) → metrics."""
    found = {}
    for of in result["summary"]["sets"]:
        for line in of["lines"]:
            if line["dimension"] in ("", "language"):
                found[of["set"], line["value"], line["mode"]] = line
    return found


def percent(line, metric):
    value = line and line["metrics"].get(metric)
    return f"{100 * value['mean']:.1f}" if value else "–"


def interval(line, metric):
    value = line and line["metrics"].get(metric)
    return f"{100 * value['mean']:.1f} [{100 * value['low']:.1f}, {100 * value['high']:.1f}]" if value else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--model")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()

    results = []
    for name, options in ROWS:
        print(name, file=sys.stderr, flush=True)
        modes = ["editor"] + (BASELINES if name == ROWS[SERVED][0] else [])
        results.append(run(arguments, options, modes))
    manifest = results[SERVED]["summary"]["manifest"]
    tables = [lines_of(result) for result in results]
    served = tables[SERVED]
    groups = [(of, value) for of, value, mode in served if mode == "editor"]

    limit = f"a sample of about {arguments.limit} rows" if arguments.limit else "all rows"
    out = [
        "# Choosing among several lines: what each part is worth", "",
        f"`datasets/choosing.py lacuna {' '.join(pathlib.Path(s).name for s in arguments.sets)}{f' --limit {arguments.limit}' if arguments.limit else ''}`, {limit}; "
        f"model {manifest['model']['name']} (sha256 {manifest['model']['sha256'][:12]}), {manifest['config']['beam']} hypotheses; the row with a "
        f"deadline on {platform.processor() or platform.machine()}, kernels {manifest['code']['isa']}.",
    ]
    for of, value in groups:
        rows = served[of, value, "editor"]["rows"]
        out += ["", f"## {of}{', ' + value if value else ''}: {rows} rows", "",
                "| | first line exact % | edit similarity % | silent % |", "|---|---|---|---|"]
        for (name, _), table in zip(ROWS, tables):
            line = table.get((of, value, "editor"))
            out.append(f"| {name} | {interval(line, 'em_line')} | {percent(line, 'es_line')} | {percent(line, 'silent')} |")
        for mode in BASELINES:
            line = served.get((of, value, mode))
            out.append(f"| baseline `{mode}` | {interval(line, 'em_line')} | {percent(line, 'es_line')} | {percent(line, 'silent')} |")
    out += ["", "## Shown unasked", "", f"At the model's own level {manifest['config']['min_confidence']:.3f} of `show.min_confidence`.", "",
            "| | coverage % | precision % | shown and right, of all rows % |", "|---|---|---|---|"]
    for of, value in groups:
        line = served[of, value, "editor"]
        if "unasked" in line["metrics"]:
            cells = [interval(line, metric) for metric in ("unasked", "unasked_precision", "unasked_em_line")]
            out.append(f"| {of}{', ' + value if value else ''} | {' | '.join(cells)} |")
    text = "\n".join(out) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
