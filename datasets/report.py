#!/usr/bin/env python3
"""Makes docs/bench/fim-eval: the reports of the embedded model on the sets that are there.

    datasets/report.py SETS [NAME…]

SETS is a folder in which the sets lie, at any depth, under the names that they are published with (datasets/README.md); a missing one
is named and left out. NAME limits it to some of the reports. LACUNA names the binary [default: target/release/lacuna], OUT the folder
of the reports [default: docs/bench/fim-eval], RUNS that of the runs, which are taken up where they stopped [default: target/fim-eval].
Every report begins with the command, the machine, the commit, the time and the largest memory of the run.
"""

import os
import pathlib
import subprocess
import sys
import time

LACUNA = os.environ.get("LACUNA", "target/release/lacuna")
OUT = pathlib.Path(os.environ.get("OUT", "docs/bench/fim-eval"))
RUNS = pathlib.Path(os.environ.get("RUNS", "target/fim-eval"))

# Name, title, files, flags; "cross": run with other files and without, and compared.
REPORTS = [
    ("santacoder-fim", "SantaCoder-FIM", ["santacoder_fim.jsonl.gz"], [], False),
    ("humaneval-infilling", "HumanEval-Infilling, with execution",
     [f"HumanEval-{kind}Infilling.jsonl.gz" for kind in ("SingleLine", "MultiLine", "RandomSpan")]
     + ["HumanEval-RandomSpanInfillingLight.jsonl.gz"], ["--test-seconds", "2"], False),
    ("cceval", "CrossCodeEval", ["cceval_full.jsonl.gz", "cceval_typescript_prefix_only.jsonl.gz"], [], True),
    ("swebench-infill", "Infilling from SWE-bench's gold patches", ["swebench_infill.jsonl.gz"], [], True),
    ("commit-infill", "Infilling from recent commits", ["commit_infill.jsonl.gz"], [], True),
    ("own-commits", "Infilling from this project's own commits", [], ["--limit", "300"], True),
]


def measured(command):
    """Runs a command; what it printed, seconds, and the most memory it held, in bytes."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return text, time.monotonic() - start, usage.ru_maxrss * 1024


def printed(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def machine():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    commit = printed("git", "describe", "--always", "--dirty", "--abbrev=10")
    return f"{names[0] if names else 'unknown'}, {len(os.sched_getaffinity(0))} cores; commit {commit}, {time.strftime('%Y-%m-%d')}."


def own_commits():
    """The set of this repository's own history, up to what is checked out."""
    path = RUNS / "own-commits.jsonl"
    limits = ["--since", "2020-01-01", "--max-lines", "20"]
    command = [LACUNA, "fim-eval", "build", "commits", "--repo", ".", *limits, "--name", "lacuna", "-o", str(path)]
    told = printed(*command).replace(str(path), path.name)
    return [path], f"`lacuna {' '.join(command[1:-1])} {path.name}`:\n\n```\n{told}\n```\n\n"


def find(sets, names):
    found = [next(iter(sorted(sets.rglob(name))), None) for name in names]
    missing = [name for name, path in zip(names, found) if path is None]
    if missing:
        print(f"not in {sets}: {', '.join(missing)}", file=sys.stderr)
    return [path for path in found if path]


def report(sets, name, title, files, flags, cross):
    head = ""
    if files:
        paths = find(sets, files)
    else:
        paths, head = own_commits()
    if not paths:
        return
    runs = {}
    for context in ["file", "cross"] if cross else ["file"]:
        folder = RUNS / f"{name}-{context}"
        more = ["--context", context, *flags]
        command = [LACUNA, "fim-eval", "run", *map(str, paths), "--out", str(folder), *more]
        # Anew: the time of a run that was there already would be that of reading it.
        _, seconds, memory = measured([*command, *(["--fresh", "--from", "select"] if folder.exists() else [])])
        shown = " ".join(["lacuna fim-eval run", *(path.name for path in paths), *more, "--out", folder.name])
        runs[context] = folder
        head += f"`{shown}`: {seconds:.0f} s, at most {memory / 2**20:.0f} MB of memory.\n\n"
    last = runs["cross" if cross else "file"]
    text = f"# {title}\n\n{machine()}\nWritten by `datasets/report.py SETS {name}`.\n\n{head}{printed(LACUNA, 'fim-eval', 'report', str(last))}\n"
    if cross:
        compared = printed(LACUNA, "fim-eval", "compare", str(runs["file"]), str(runs["cross"]), "--show", "0")
        text += f"\n# What other files add\n\nFrom `--context file` (a) to `--context cross` (b).\n\n{compared}\n"
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.md").write_text(text)
    print(f"{OUT / name}.md")


def main():
    if len(sys.argv) < 2 or not os.path.isdir(sys.argv[1]):
        sys.exit(__doc__)
    wanted = sys.argv[2:]
    unknown = set(wanted) - {entry[0] for entry in REPORTS}
    if unknown:
        sys.exit(f"no such report: {', '.join(sorted(unknown))}; known are {', '.join(entry[0] for entry in REPORTS)}")
    RUNS.mkdir(parents=True, exist_ok=True)
    for entry in REPORTS:
        if not wanted or entry[0] in wanted:
            report(pathlib.Path(sys.argv[1]), *entry)


if __name__ == "__main__":
    main()
