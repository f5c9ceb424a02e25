#!/usr/bin/env python3
"""Tails of real lines: lines whose end is deleted at a random word boundary, in files that nobody here wrote, and what is shown there.

    datasets/line_tails.py target/release/lacuna [--n 200] [--seed 1] [--languages python css] [--show 40]

Languages that the embedded model was trained for and others are reported apart, n places each, then language by language:

- shown: coverage.
- first, of what is shown: the suggestion's first token is the one that was deleted.
- exact, of what is shown: the suggestion is the deleted text, blanks at its ends aside.

A line with the beginning of a word before the cursor is not drawn: the cut is between two words, or a word and a mark. The rest of the file
stays as it is. Each figure with its 95 % interval; the same files, seed and n draw the same places, whatever the binary. See asking.py for
which files are drawn and how they are asked about. Only the standard library is used.
"""

import argparse
import random
import re

from asking import OTHERS, TRAINED, Files, Server, Shown, add_arguments, lines_of_code, only, share
from show_places import first_token


def cut(generator, line):
    """A line's text left and right of a word boundary that has something on both sides."""
    line = line.rstrip()
    places = sorted({at for m in re.finditer(r"\w+", line) for at in m.span() if line[:at].strip() and line[at:].strip()})
    if not places:
        return None
    at = generator.choice(places)
    return line[:at], line[at:]


class Tally:
    def __init__(self):
        self.asked = self.shown = self.first = self.exact = 0

    def note(self, text, deleted):
        self.asked += 1
        if text:
            self.shown += 1
            self.first += first_token(text) == first_token(deleted)
            self.exact += text.strip() == deleted.strip()

    def __str__(self):
        return f"shown {share(self.shown, self.asked)}; of these first {share(self.first, self.shown)}, exact {share(self.exact, self.shown)}"


def measure(server, name, languages, arguments):
    files = Files(arguments.files, languages)
    if not files.by_language:
        print(f"{name}: no files")
        return
    generator = random.Random(f"{arguments.seed}/{name}")
    total, by_language, shown = Tally(), {}, Shown()
    while total.asked < arguments.n:
        path, language, lines = files.draw(generator)
        candidates = lines_of_code(lines)
        i = generator.choice(candidates) if candidates else None
        place = cut(generator, lines[i]) if candidates else None
        if place is None:
            continue
        left, deleted = place
        lines[i] = left
        text = server.suggestion(path, language, lines, i, len(left))
        for tally in (total, by_language.setdefault(language, Tally())):
            tally.note(text, deleted)
        if text:
            shown.note(path, lines, i, len(left), text, f"deleted {deleted!r}")
    print(f"{name}: {total}", flush=True)
    for language, tally in sorted(by_language.items()):
        print(f"  {language}: {tally}")
    shown.print(arguments.show, arguments.seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}; automatic requests")
    server = Server(arguments.binary, arguments.set)
    measure(server, "trained languages", only(TRAINED, arguments.languages), arguments)
    measure(server, "other languages", only(OTHERS, arguments.languages), arguments)


if __name__ == "__main__":
    main()
