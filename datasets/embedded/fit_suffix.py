#!/usr/bin/env python3
"""Fits how much the text right of the cursor says of a line (`lacuna_complete::Suffix`): its weight, how many of its tokens count, and how close
the second line must come to the best for it to be asked at all.

    lacuna fim-eval evidence fit.jsonl --of suffix > fit.tsv        the sets: validation_files.py --part fit, --part report
    lacuna fim-eval evidence report.jsonl --of suffix > report.tsv
    fit_suffix.py fit.tsv report.tsv

Takes the point of a grid with the most first lines exact in the first file, among those that ask in at most 30 % of its rows; of equals the
one that asks least, then the smallest weight and the fewest tokens. Prints it as Rust, the points around it, and for both files what the
search alone and the search with the suffix come to, with a 95 % interval of the difference (bootstrap over packages, always the same draws).
"""

import itertools
import sys

import numpy as np

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
TOKENS = (2, 4, 8, 12, 16, 24)
MARGINS = (0.25, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
MOST_ASKED = 0.30
DRAWS = 2000


def read(path):
    """For each row its package, and the lines that were found: right or not, score, log-probabilities of what follows."""
    rows = []
    with open(path) as file:
        for row in file.read().split("\n\n"):
            lines = [line.split("\t") for line in row.strip("\n").split("\n") if line.strip()]
            if lines:
                suffix = [np.array([float(x) for x in line[4].split(",")]) if len(line) > 4 and line[4] else None for line in lines]
                rows.append((lines[0][0], [line[2] == "1" for line in lines], np.array([float(line[3]) for line in lines]), suffix))
    return rows


def outcome(row, weight, tokens, margin):
    """Whether the line that is shown is right, and whether the suffix was asked."""
    _, right, score, suffix = row
    near = [i for i in range(len(score)) if score[i] >= score[0] - margin]
    if len(near) < 2 or any(suffix[i] is None for i in near):
        return right[0], False
    said = [score[i] + weight * suffix[i][:tokens].sum() for i in near]
    return right[near[int(np.argmax(said))]], True


def of_all(rows, point):
    both = [outcome(row, *point) for row in rows]
    return np.array([right for right, _ in both], float), np.mean([asked for _, asked in both])


def interval(groups, difference):
    names = sorted(set(groups))
    sums = np.array([[difference[groups == name].sum(), (groups == name).sum()] for name in names])
    draws = np.random.default_rng(0).integers(0, len(names), (DRAWS, len(names)))
    means = sums[draws].sum(1)
    return np.percentile(means[:, 0] / means[:, 1], [2.5, 97.5])


def main():
    sets = [(path, read(path)) for path in sys.argv[1:]]
    rows = sets[0][1]
    points = {point: of_all(rows, point) for point in itertools.product(WEIGHTS, TOKENS, MARGINS)}
    allowed = [point for point in points if points[point][1] <= MOST_ASKED]
    best = max(allowed, key=lambda point: (points[point][0].sum(), -points[point][1], -point[0], -point[1]))
    print(f"Suffix {{ weight: {best[0]}, tokens: {best[1]}, margin: {best[2]} }}")
    for i, values in enumerate((WEIGHTS, TOKENS, MARGINS)):
        around = [(best[:i] + (value,) + best[i + 1 :]) for value in values]
        print("  ".join(f"{point[i]}: {100 * points[point][0].mean():.2f} % ({100 * points[point][1]:.0f} % asked)" for point in around))
    for path, rows in sets:
        groups = np.array([row[0] for row in rows])
        alone, _ = of_all(rows, (0.0, 1, 0.0))
        among = np.mean([any(row[1]) for row in rows])
        shown, asked = of_all(rows, best)
        low, high = 100 * interval(groups, shown - alone)
        print(
            f"{path}: {len(rows)} rows of {len(set(groups))} packages, right among the lines {100 * among:.1f} %; exact: search {100 * alone.mean():.2f} %,"
            f" with the suffix {100 * shown.mean():.2f} % ({100 * (shown - alone).mean():+.2f}, 95 % {low:+.2f} to {high:+.2f}); asked in {100 * asked:.0f} %"
        )


if __name__ == "__main__":
    main()
