#!/usr/bin/env python3
"""Lines of functions of the validation packages, as a set for `lacuna fim-eval`: what choices about training are made on.

    validation_lines.py DOCUMENTS OUT

DOCUMENTS is the documents.jsonl.zst of `lacuna finetune mine`, OUT a .jsonl in the format of SantaCoder-FIM, without tests: up to
six lines of code of each Python function that stands alone (no object around it) and computes and returns something. Needs zstd.
"""

import ast
import json
import random
import subprocess
import sys

LINES_A_FUNCTION = 6
LONGEST = 45


def functions(text):
    """The lines of each function that qualifies, without the indentation of its first, and the number of its first line of code."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    lines = text.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.end_lineno - node.lineno >= LONGEST:
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        own = lines[node.lineno - 1 : node.end_lineno]
        whole = "\n".join(own)
        alone = "self" not in whole and "cls" not in whole
        if len(body) >= 1 and len(node.body) >= 2 and alone and "return" in whole and any(k in whole for k in ("for ", "while ", "if ")):
            indent = len(own[0]) - len(own[0].lstrip())
            yield node.name, [l[indent:] if not l[:indent].strip() else l for l in own], body[0].lineno - node.lineno


def main():
    documents, out = sys.argv[1:]
    draw = random.Random(7)
    rows, seen = [], set()
    source = subprocess.Popen(["zstd", "-dc", documents], stdout=subprocess.PIPE)
    for line in source.stdout:
        document = json.loads(line)
        if document["split"] != "validation" or document["language"] != "python":
            continue
        for name, lines, first in functions(document["text"]):
            whole = "\n".join(lines)
            code = [i for i in range(first, len(lines)) if lines[i].strip() and not lines[i].strip().startswith("#")]
            if whole in seen or len(code) < 2:
                continue
            seen.add(whole)
            draw.shuffle(code)
            for i in code[:LINES_A_FUNCTION]:
                rows.append({
                    "name": f"{document['package']}/{document['path']}:{name}-L{i}",
                    "language": "py",
                    "prompt": "\n".join(lines[:i]),
                    "suffix": "\n".join(lines[i + 1 :]) + "\n",
                    "canonical_solution": lines[i],
                })
    draw.shuffle(rows)
    with open(out, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"{len(rows)} lines of {len(seen)} functions")


if __name__ == "__main__":
    main()
