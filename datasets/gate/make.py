#!/usr/bin/env python3
"""Makes `gate.jsonl` from the sample files: `python3 datasets/gate/make.py` in the repository's root. Same files, same rows.

From each file: three whole lines of code, the rest of two lines from a random point, and one run of two to four lines.
"""

import json
import pathlib
import random

LANGUAGES = {".py": "python", ".rs": "rust", ".js": "javascript", ".jsx": "javascript", ".ts": "typescript", ".go": "go", ".java": "java"}
SAMPLES = pathlib.Path("datasets/samples")


def rows(path):
    lines = path.read_text().splitlines(keepends=True)
    rng = random.Random(path.name)
    code = [i for i, line in enumerate(lines) if len(line.strip()) > 5 and line.strip()[:2] not in ("//", "# ", '""', "/*", "* ")]
    for i in rng.sample(code, 5):
        whole = lines[i].rstrip("\n")
        indent = len(whole) - len(whole.lstrip())
        at = indent if len(set(taken)) < 3 else rng.randrange(indent + 1, len(whole) - 2)
        taken.append(i)
        yield "line", i, "".join(lines[:i]) + whole[:at], whole[at:], "\n" + "".join(lines[i + 1 :])
    n = rng.randrange(2, 5)
    i = rng.choice([i for i in code if i + n < len(lines)])
    yield "multi", i, "".join(lines[:i]), "".join(lines[i : i + n]), "".join(lines[i + n :])


with open("datasets/gate/gate.jsonl", "w") as out:
    for path in sorted(SAMPLES.iterdir()):
        if path.suffix not in LANGUAGES or path.name.startswith("in_progress"):
            continue
        taken = []
        for number, (task, line, prefix, middle, suffix) in enumerate(rows(path)):
            row = {
                "id": f"{path.name}:{line + 1}#{number}",
                "set": "gate",
                "task": task,
                "language": LANGUAGES[path.suffix],
                "path": path.name,
                "license": "MIT OR Apache-2.0",
                "group": path.name,
                "n_lines": middle.rstrip("\n").count("\n") + 1,
                "prefix": prefix,
                "middle": middle,
                "suffix": suffix,
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
