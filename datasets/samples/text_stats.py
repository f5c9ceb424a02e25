"""Counts words, lines and sentences of text files given on the command line."""

import argparse
import re
import sys
from pathlib import Path

WORD = re.compile(r"[A-Za-z']+")
SENTENCE_END = re.compile(r"[.!?]+(\s|$)")


def read_text(path):
    if path == "-":
        return sys.stdin.read()
    return Path(path).read_text(encoding="utf-8")


def count_words(text):
    counts = {}
    for word in WORD.findall(text.lower()):
        counts[word] = counts.get(word, 0) + 1
    return counts


def most_common(counts, limit):
    pairs = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return pairs[:limit]


def average(values):
    if not values:
        return 0.0
    return sum(values) / len(values)


def median(values):
    if not values:
        return 0.0
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2 == 1:
        return float(ordered[middle])
    return (ordered[middle - 1] + ordered[middle]) / 2


def sentence_lengths(text):
    lengths = []
    for sentence in SENTENCE_END.split(text):
        words = WORD.findall(sentence or "")
        if words:
            lengths.append(len(words))
    return lengths


def statistics(text):
    counts = count_words(text)
    lengths = sentence_lengths(text)
    return {
        "lines": text.count("\n"),
        "words": sum(counts.values()),
        "distinct": len(counts),
        "sentences": len(lengths),
        "average_sentence": average(lengths),
        "median_sentence": median(lengths),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="files to read, - for standard input")
    parser.add_argument("--top", type=int, default=5, help="number of frequent words to print")
    args = parser.parse_args(argv)
    for path in args.paths:
        try:
            text = read_text(path)
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
        print(path)
        for name, value in statistics(text).items():
            print(f"  {name:<18} {value:g}")
        for word, count in most_common(count_words(text), args.top):
            print(f"  {word:<18} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
