#!/usr/bin/env python3
"""Checks `lacuna fim-eval`'s metrics against independent implementations, on more than a thousand pairs.

    python3 -m venv V && V/bin/pip install rapidfuzz editdistance && V/bin/python tests/peers/fim_metrics.py target/release/lacuna

It plays the completion server, so that it knows every prediction; lacuna scores them; then each score is computed again:
edit similarity by `editdistance`, CrossCodeEval's by `rapidfuzz.fuzz.ratio`, its exact match, identifier exact match and F1 by the
formulae of its scripts (names found by Python's own tokenizer), pass@k by the estimator of human-eval. Exits with 1 on any difference.
"""

import http.server
import io
import json
import keyword
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import tokenize

import editdistance
from rapidfuzz import fuzz

SEED = 20220714
PAIRS = 1200
TASKS, SAMPLES = 40, 12


def names(code):
    """Identifiers by Python's tokenizer, in order, keywords aside."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return None
    return [t.string for t in tokens if t.type == tokenize.NAME and not keyword.iskeyword(t.string)]


def middles(rng):
    """True middles: statements over a small vocabulary, with strings, comments, non-ASCII text and several lines."""
    words = ["alpha", "beta", "gamma", "delta", "total", "count", "items", "näme", "x", "y2"]

    def expression(depth):
        kind = rng.randrange(7 if depth else 3)
        if kind == 0:
            return rng.choice(words)
        if kind == 1:
            return str(rng.randrange(1000))
        if kind == 2:
            return repr(rng.choice(words) + " ✓")
        if kind == 3:
            return f"{rng.choice(words)}({', '.join(expression(depth - 1) for _ in range(rng.randrange(3)))})"
        if kind == 4:
            return f"{expression(depth - 1)} + {expression(depth - 1)}"
        if kind == 5:
            return f"{rng.choice(words)}.{rng.choice(words)}"
        return f"[{expression(depth - 1)}, {expression(depth - 1)}]"

    def statement():
        text = f"{rng.choice(words)} = {expression(3)}"
        return text + "  # note" if rng.random() < 0.1 else text

    return "\n".join(statement() for _ in range(rng.choice([1, 1, 1, 2, 3, 6])))


def mutated(rng, text):
    """A prediction: right, cut, continued, changed in places, or something else."""
    kind = rng.randrange(7)
    if kind == 0:
        return text
    if kind == 1:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 2:
        return text + "\n" + middles(rng)
    if kind == 3:
        return middles(rng)
    if kind == 4:
        return rng.choice(["", "\n", "  \t", "\n" + text, text + "  \n"])
    letters = list(text)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(letters) + 1)
        if rng.random() < 0.5 and at < len(letters):
            del letters[at]
        else:
            letters.insert(at, rng.choice("abc()=é \n"))
    return "".join(letters)


def serve(answer):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"choices": [{"text": answer(request), "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/v1/completions"


def run(lacuna, folder, name, rows, answer, *more):
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / name
    command = [lacuna, "fim-eval", "run", path, "--endpoint", serve(answer), "--out", out, "--modes", "endpoint", "--jobs", "2", *more]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})
    return {row["id"]: row["modes"][0]["values"] for row in map(json.loads, (out / "scores.jsonl").read_text().splitlines())}


def same(what, ours, theirs, example):
    # lacuna rounds to a millionth.
    if abs(ours - theirs) > 1e-6:
        sys.exit(f"{what}: lacuna says {ours}, the other implementation {theirs}: {example!r}")


def main():
    lacuna = str(pathlib.Path(sys.argv[1]).resolve())
    rng = random.Random(SEED)
    pairs = {}
    for i in range(PAIRS):
        middle = middles(rng)
        pairs[f"p{i}"] = (middle, mutated(rng, middle))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = [{"id": i, "set": "pairs", "language": "python", "prefix": f"# {i}\n", "middle": m, "suffix": "\n"} for i, (m, _) in pairs.items()]
        values = run(lacuna, folder, "pairs", rows, lambda request: pairs[request["prompt"].split()[1]][1])
        with_names = 0
        for i, (middle, prediction) in pairs.items():
            ours, example = values[i], pairs[i]
            m, p = middle.strip(), prediction.strip()
            same("edit similarity", ours["es"], 1 - editdistance.eval(p, m) / max(len(p), len(m), 1), example)
            same("CrossCodeEval's edit similarity", ours["es_ratio"], fuzz.ratio(p, m) / 100, example)
            same("exact match", ours["em"], float(middle == prediction), example)
            same("exact match but white space", ours["em_ws"], float(middle.split() == prediction.split()), example)
            lines = [[line.strip() for line in text.split("\n") if line.strip()] for text in (prediction, middle)]
            same("exact match of lines", ours["em_lines"], float(lines[0] == lines[1]), example)
            same("over-generation", ours["over"], float(p.startswith(m) and len(p) > len(m)), example)
            found, wanted = names(prediction), names(middle)
            # A prediction that Python cannot tokenize or parse has no names of Python's; tree-sitter recovers some.
            try:
                compile(prediction.strip() or "pass", "p", "exec")
            except (SyntaxError, ValueError):
                continue
            if found is None or wanted is None:
                continue
            with_names += 1
            same("identifier exact match", ours["id_em"], float(found == wanted), example)
            tp = len(set(found) & set(wanted))
            fp, fn = len(set(found)) - tp, len(set(wanted)) - tp
            f1 = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
            same("identifier F1", ours["id_f1"], f1, example)
        if with_names < 400:
            sys.exit(f"only {with_names} pairs could be compared by names")

        passes = {f"t{i}": sorted(rng.sample(range(SAMPLES), rng.randrange(SAMPLES + 1))) for i in range(TASKS)}
        test = {"kind": "check", "entry_point": "f", "test": "def check(f):\n    assert f() == 1\n"}
        rows = [
            {"id": i, "set": "tasks", "language": "python", "prefix": f"# {i}\ndef f():\n", "middle": "    return 1\n", "suffix": "", "test": test}
            for i in passes
        ]

        def sample(request):
            # Seeds of the samples of an example follow each other.
            good = request["seed"] in passes[request["prompt"].split()[1]]
            return f"    return {int(good)}\n"

        values = run(lacuna, folder, "tasks", rows, sample, "--samples", str(SAMPLES), "--temperature", "1", "--seed", "0", "--python", sys.executable)
        for i, good in passes.items():
            for k in (1, 10):
                n, c = SAMPLES, len(good)
                # human-eval, estimate_pass_at_k, without numpy.
                estimate = 1.0
                if n - c >= k:
                    product = 1.0
                    for j in range(n - c + 1, n + 1):
                        product *= 1.0 - k / j
                    estimate = 1.0 - product
                same(f"pass@{k}", values[i][f"pass@{k}"], estimate, (i, good))
    print(f"{PAIRS} pairs ({with_names} of them by names) and {TASKS} tasks of {SAMPLES} samples agree")


if __name__ == "__main__":
    main()
