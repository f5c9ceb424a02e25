#!/usr/bin/env python3
"""What is offered where nothing is missing, and where something is: inside words, at the ends of finished lines, at word ends.

    datasets/show_places.py target/release/lacuna [--n 200] [--seed 1] [--languages python rust] [--show 40]

- inside: the cursor in the middle of a word. Nothing is missing. `doubled`: the suggestion says again what stands right of the cursor.
- hole: a word from whose middle letters were taken out, the cursor where they were. `filled`: the suggestion is what was taken out.
- end: the end of a finished line. Nothing is missing.
- word-end: the end of a word, with the rest of its line deleted. `first`: the suggestion begins with the token that was deleted, `exact`: it is
  the rest of the line.

Each figure with its 95 % interval. The same files, seed and n draw the same places, whatever the binary. See asking.py for which files are
drawn and how they are asked about. Only the standard library is used.
"""

import argparse
import random
import re

from asking import TRAINED, Files, Server, Shown, add_arguments, lines_of_code, only, share

# Lines that go on below.
OPEN = re.compile(r"([:{(\[,\\]|=>|\b(and|or|not|in|else|do|then)|[-+*/=.<>|&?])$")


def draw_inside(generator, line):
    words = list(re.finditer(r"[^\W\d]\w{3,}", line))
    if not words:
        return None
    word = generator.choice(words)
    at = generator.randint(word.start() + 1, word.end() - 1)
    return line[:at], "", line[at:]


def draw_hole(generator, line):
    words = list(re.finditer(r"[^\W\d]\w{4,}", line))
    if not words:
        return None
    word = generator.choice(words)
    start = generator.randint(word.start() + 1, word.end() - 2)
    end = generator.randint(start + 1, word.end() - 1)
    return line[:start], line[start:end], line[end:]


def draw_end(_generator, line):
    return None if OPEN.search(line.rstrip()) else (line, "", "")


def draw_word_end(generator, line):
    ends = [m.end() for m in re.finditer(r"\w+", line) if line[m.end():].strip()]
    if not ends:
        return None
    at = generator.choice(ends)
    return line[:at], line[at:].rstrip(), ""


def doubled(text, right):
    """Whether an inserted text says again what the word right of the cursor says: as a whole, or its beginning."""
    right = re.match(r"\w*", right).group()
    word = re.match(r"\w*", text).group()
    return text.startswith(right) or word.endswith(right) and word != right or bool(word) and right.startswith(word)


def first_token(text):
    return re.match(r"\s*(\w+|[^\w\s]|$)", text).group(1)


DRAWS = {"inside": draw_inside, "hole": draw_hole, "end": draw_end, "word-end": draw_word_end}
COUNTS = {
    "inside": {"doubled": lambda text, _missing, right: doubled(text, right)},
    "hole": {"filled": lambda text, missing, _right: text == missing, "doubled": lambda text, missing, right: text != missing and doubled(text, right)},
    "end": {},
    "word-end": {
        "first": lambda text, missing, _right: first_token(text) == first_token(missing),
        "exact": lambda text, missing, _right: text.strip() == missing.strip(),
    },
}


def measure(server, files, kind, arguments):
    generator = random.Random(f"{arguments.seed}/{kind}")
    counts, asked, shown = {"offered": 0} | dict.fromkeys(COUNTS[kind], 0), 0, Shown()
    while asked < arguments.n:
        path, language, lines = files.draw(generator)
        candidates = lines_of_code(lines)
        i = generator.choice(candidates) if candidates else None
        place = DRAWS[kind](generator, lines[i]) if candidates else None
        if place is None:
            continue
        left, missing, right = place
        lines[i] = left + right
        asked += 1
        text = server.suggestion(path, language, lines, i, len(left))
        if not text:
            continue
        counts["offered"] += 1
        for name, counted in COUNTS[kind].items():
            counts[name] += counted(text, missing, right)
        shown.note(path, lines, i, len(left), text, f"{kind}, missing {missing!r}")
    print(f"{kind}: " + "; ".join(f"{name} {share(n, asked)}" for name, n in counts.items()), flush=True)
    shown.print(arguments.show, arguments.seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--kinds", nargs="+", choices=list(DRAWS), default=list(DRAWS))
    arguments = parser.parse_args()
    files = Files(arguments.files, only(TRAINED, arguments.languages))
    print(f"{files}; seed {arguments.seed}; automatic requests")
    server = Server(arguments.binary, arguments.set)
    for kind in arguments.kinds:
        measure(server, files, kind, arguments)


if __name__ == "__main__":
    main()
