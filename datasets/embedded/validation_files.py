#!/usr/bin/env python3
"""Holes in real files of the validation packages, as a set for `lacuna fim-eval`: what choices about decoding are made on.

    fetch.py FOLDER --only pypi,npm,crates,debian
    validation_files.py FOLDER OUT [--rows 4000] [--seed 7] [--part fit|report] [--kinds line rest …]

FOLDER is what fetch.py fills, OUT a .jsonl of examples: a file, a place in it, and what stands there. The kinds, each as often as it is named:

- line: a whole line, the cursor behind its indentation
- rest: the rest of a line from a random place between two words
- block: a run of two to six lines
- word: the rest of a line from inside a word, or from its end
- hole: letters out of the middle of a word, with the rest of the word right of the cursor
- gap: one to three words or signs between others, with the rest of the line right of the cursor

The prefix is all of the file that stands before (long context, as in an editor), not one function as in validation_lines.py.

Packages take turns, so that no large one outweighs the rest; a row's group is its package. `--part` takes every other package: what is
fitted on one part is reported on the other. The same packages, rows and seed give the same set.
"""

import argparse
import itertools
import json
import pathlib
import random
import re

LANGUAGES = {
    ".py": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".ts": "typescript", ".rs": "rust",
    ".go": "go", ".java": "java", ".c": "c", ".h": "c",
}
COMMENT = ("#", "//", "/*", "*", '"""', "'''", "--")
MAX_BYTES = 200_000
MIN_LINES = 12
HOLES_A_FILE = 12
WIDEST = 200  # characters of a line: wider ones are data, or were not written by hand
KINDS = ("line", "rest", "line", "rest", "block")
PARTS = re.compile(r"\w+|[^\w\s]")


def is_code(line):
    text = line.strip()
    return len(text) >= 4 and not text.startswith(COMMENT) and any(c.isalpha() for c in text) and len(line) <= WIDEST


def files(package):
    for path in sorted(package.rglob("*")):
        language = LANGUAGES.get(path.suffix.lower())
        built = any(p in ("dist", "build", "node_modules", "vendor") for p in path.relative_to(package).parts) or ".min." in path.name
        if language is None or built or path.name.endswith(".d.ts") or not path.is_file() or path.stat().st_size > MAX_BYTES:
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        lines = text.split("\n")
        if len(lines) >= MIN_LINES and max(map(len, lines)) < 4 * WIDEST:
            yield path.relative_to(package).as_posix(), language, lines


def hole(draw, lines, at, kind):
    """Prefix, middle and suffix of a hole of this kind that begins in line `at`; None where there is none."""
    line = lines[at]
    indent = len(line) - len(line.lstrip())
    before, after = "\n".join([*lines[:at], ""]), "\n".join(["", *lines[at + 1 :]])
    if kind == "line":
        return before + line[:indent], line[indent:].rstrip(), after
    if kind == "rest":
        places = [m.start() for m in re.finditer(r"\b\w|[^\w\s]", line) if m.start() > indent and len(line[m.start() :].strip()) >= 3]
        if not places:
            return None
        place = draw.choice(places)
        return before + line[:place], line[place:].rstrip(), after
    if kind == "word":
        words = [m for m in re.finditer(r"[^\W\d]\w+", line) if len(line[m.end() :].strip()) >= 2]
        if not words:
            return None
        word = draw.choice(words)
        place = draw.choice((word.end(), draw.randint(word.start() + 1, word.end() - 1)))
        return before + line[:place], line[place:].rstrip(), after
    if kind == "hole":
        words = list(re.finditer(r"[^\W\d]\w{4,}", line))
        if not words:
            return None
        word = draw.choice(words)
        start = draw.randint(word.start() + 1, word.end() - 2)
        end = draw.randint(start + 1, word.end() - 1)
        return before + line[:start], line[start:end], line[end:] + after
    if kind == "gap":
        parts = list(PARTS.finditer(line))
        n = draw.randint(1, 3)
        if len(parts) < n + 2:
            return None
        first = draw.randrange(1, len(parts) - n)
        start, end = parts[first].start(), parts[first + n - 1].end()
        return before + line[:start], line[start:end], line[end:] + after
    n = draw.randint(2, 6)
    run = lines[at : at + n]
    if len(run) < n or any(not l.strip() or len(l) > WIDEST for l in run):
        return None
    return before + line[:indent], "\n".join(run)[indent:].rstrip(), "\n".join(["", *lines[at + n :]])


def rows_of(package, ecosystem, seed, kinds):
    """Rows of one package, in an order that draws from all of its files."""
    draw = random.Random(f"{seed} {ecosystem} {package.name}")
    rows = []
    for path, language, lines in files(package):
        code = [i for i in range(1, len(lines) - 1) if is_code(lines[i])]
        draw.shuffle(code)
        for number, at in enumerate(code[:HOLES_A_FILE]):
            kind = kinds[(number + draw.randrange(len(kinds))) % len(kinds)]
            found = hole(draw, lines, at, kind)
            if found is None:
                continue
            prefix, middle, suffix = found
            rows.append({
                "id": f"{package.name}/{path}:{at + 1}#{kind}",
                "set": "validation-files",
                "task": "multi" if kind == "block" else "line",
                "language": language,
                "path": path,
                "group": package.name,
                "node_kind": kind,
                "n_lines": middle.count("\n") + 1,
                "prefix": prefix,
                "middle": middle,
                "suffix": suffix,
            })
    draw.shuffle(rows)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--part", choices=["fit", "report"])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=["line", "rest", "block", "word", "hole", "gap"])
    args = parser.parse_args()
    packages = sorted(p for e in (args.folder / "validation").iterdir() if e.is_dir() for p in e.iterdir() if p.is_dir() and not p.name.endswith(".partial"))
    if args.part:
        packages = packages[args.part == "report" :: 2]
    queues = [rows_of(p, p.parent.name, args.seed, args.kinds) for p in packages]
    in_turn = (row for turn in itertools.zip_longest(*queues) for row in turn if row is not None)
    rows = list(itertools.islice(in_turn, args.rows))
    with args.out.open("w") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(rows)} rows of {len({r['group'] for r in rows})} packages")


if __name__ == "__main__":
    main()
