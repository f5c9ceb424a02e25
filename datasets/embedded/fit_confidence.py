#!/usr/bin/env python3
"""Fits the probability that a line is right (`lacuna_complete::Calibration`), and reports how good it is.

    validation_files.py FOLDER fit.jsonl --part fit --rows 2000 --kinds line rest word hole line rest word gap word block
                                                             the same with report: other packages
    lacuna fim-eval confidence fit.jsonl > fit.tsv           the same with report
    fit_confidence.py fit.tsv report.tsv --weights confidence.json --report ../../docs/bench/confidence.md
    lacuna model pack model.lacuna.safetensors --confidence confidence.json --output model.lacuna.safetensors

Logistic regression over the signs that the program names and over some products of two, by Newton's method with a penalty on large weights:
plain NumPy, no chance, always the same result. A sign of which the direction is known without data (a likelier line is no less likely right)
never gets a weight of the other direction. The second file is only reported on, but for the levels of `show.min_confidence`: three numbers that are
chosen on both files, from probabilities that were fitted on other packages: the least at which the asked share of what is shown where people
write most, behind the last thing on a line, is right.

Rows are places where something is missing, and the same places with it there: ends of finished lines and places inside of them, where whatever
is shown is wrong.
"""

import argparse
import json
import math
import pathlib

import numpy as np

PENALTY = 1.0
FOLDS = 5
LANGUAGES = ("python", "javascript", "typescript", "java", "rust", "go", "c")
BINS = 10
# Places where nothing is missing.
COMPLETE = ("end", "inside")
# Where people write most: the levels are chosen on these. Holes in words are nearly always filled right, and would let worse lines pass.
WRITTEN = ("line", "rest", "word", "block", "end")
# Shares of what is shown that shall be right.
LEVELS = {"low": 0.65, "normal": 0.5, "high": 0.35}
# Products of two signs.
PRODUCTS = [f"{a}*{b}" for a in ("mean_p", "score_p") for b in ("blank_line", "after_word", "after_blank", "after_dot", "after_opener", "foretold", "marks", "may_end", "has_unknown", "rest_empty", "quotes")]
PRODUCTS += ["ends_here*score_p", "close*score_p"]
# What the probability never falls (1) or never rises (-1) with.
DIRECTIONS = {"mean": 1, "mean_p": 1, "least": 1, "least_p": 1, "score": 1, "score_p": 1, "over_ended": 1, "over_followed": 1, "close": -1, "ends_here": -1, "missed": 1, "foretold": 1, "order": 1}
DIRECTIONS |= {product: 1 for product in PRODUCTS if product.split("*")[0] in ("mean_p", "score_p")} | {"ends_here*score_p": -1, "close*score_p": -1}


class Rows:
    def __init__(self, path):
        lines = path.read_text().split("\n")
        names = lines[0].split("\t")
        fields = [line.split("\t") for line in lines[1:-1]]
        self.asked = len(fields)
        self.silent = [row for row in fields if len(row) < len(names)]
        shown = [row for row in fields if len(row) == len(names)]
        self.names = names[8:]
        self.group = np.array([row[1] for row in shown])
        self.place = np.array([row[2] for row in shown])
        self.language = np.array([row[3] for row in shown])
        self.right = np.array([row[5] == "1" for row in shown], float)
        self.mean = np.array([float(row[6]) for row in shown])
        self.signs = np.array([[float(x) for x in row[8:]] for row in shown])

    def of(self, *places):
        return np.isin(self.place, places)

    def asked_at(self, *places):
        return int(self.of(*places).sum()) + sum(row[2] in places for row in self.silent)


def terms(names, signs):
    # A sign that nothing computes yet has nothing to be fitted on; and so few packages do not tell a language from its packages.
    varies = [name for name, column in zip(names, signs.T) if column.min() < column.max()]
    products = [product for product in PRODUCTS if all(part in varies for part in product.split("*"))]
    return [name for name in varies if name not in LANGUAGES] + products


def matrix(names, signs, which):
    column = {name: signs[:, i] for i, name in enumerate(names)}
    return np.stack([np.prod([column[part] for part in term.split("*")], axis=0) for term in which], 1)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def newton(x, y, penalty):
    x = np.hstack([np.ones((len(x), 1)), x])
    weights, ridge = np.zeros(x.shape[1]), np.full(x.shape[1], penalty)
    ridge[0] = 1e-6
    for _ in range(50):
        p = logistic(x @ weights)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge), x.T @ (y - p) - ridge * weights)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def fit(x, y, which, penalty=PENALTY):
    """Bias and weights; a term that would point the wrong way is left out, and all others are fitted again."""
    kept = np.ones(len(which), bool)
    while True:
        weights = newton(x[:, kept], y, penalty)
        full = np.zeros(len(which))
        full[kept] = weights[1:]
        wrong = np.array([full[i] * DIRECTIONS.get(term, 0) < 0 for i, term in enumerate(which)])
        if not wrong.any():
            return weights[0], full
        kept &= ~wrong


def crossed(rows, which):
    """The probability of each row by weights that were fitted on other groups."""
    groups = sorted(set(rows.group))
    fold = {group: i % FOLDS for i, group in enumerate(groups)}
    of = np.array([fold[group] for group in rows.group])
    x, p = matrix(rows.names, rows.signs, which), np.zeros(len(rows.right))
    for i in range(FOLDS):
        bias, weights = fit(x[of != i], rows.right[of != i], which)
        p[of == i] = logistic(bias + x[of == i] @ weights)
    return p


def level(p, right, wanted):
    """The least probability from which on the wanted share is right, by what came and by what was said; where no share comes up to it, that with
    the largest one."""
    order = np.argsort(-p, kind="stable")
    share = np.minimum(np.cumsum(right[order]), np.cumsum(p[order])) / np.arange(1, len(p) + 1)
    enough = np.nonzero(share >= wanted)[0]
    # A few rows are no share.
    enough = enough[enough >= 50]
    at = enough[-1] if len(enough) else 50 + int(np.argmax(share[50:]))
    return math.ceil(float(p[order[at]]) * 1000) / 1000


def wilson(n, of):
    if of == 0:
        return 0.0, 0.0, 1.0
    z, p = 1.96, n / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return p, max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def in_words(n, of):
    p, low, high = wilson(n, of)
    return f"{100 * p:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def bins(p, right):
    """Equally many rows in each, by probability: mean probability, how many are right, how many there are."""
    order = np.argsort(p, kind="stable")
    return [(float(p[part].mean()), int(right[part].sum()), len(part)) for part in np.array_split(order, BINS) if len(part)]


def wide_bins(p, right):
    """Equally wide ones."""
    of = np.minimum((p * BINS).astype(int), BINS - 1)
    return [(float(p[of == i].mean()), int(right[of == i].sum()), int((of == i).sum())) for i in range(BINS) if (of == i).any()]


def error(parts):
    n = sum(part[2] for part in parts)
    return sum(abs(mean - hits / of) * of for mean, hits, of in parts) / n


def precision_at(p, right, asked, coverage):
    """How many are right among so large a share of the places, the surest first."""
    n = min(round(coverage * asked), len(p))
    return int(right[np.argsort(-p, kind="stable")[:n]].sum()), n


def svg(parts, title):
    """A reliability diagram: what was said against what came, with intervals."""
    size, left, top = 320, 60, 40
    x, y = (lambda v: left + size * v), (lambda v: top + size * (1 - v))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + size + 30} {top + size + 60}" font-family="sans-serif" font-size="12">']
    out.append('<rect width="100%" height="100%" fill="#fff"/>')
    out.append(f'<text x="{left}" y="22" font-size="14">{title}</text>')
    for i in range(0, 11, 2):
        v = i / 10
        out.append(f'<path d="M{x(v):.1f} {y(0):.1f}V{y(1):.1f}M{x(0):.1f} {y(v):.1f}H{x(1):.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{x(v):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">{v:.1f}</text><text x="{left - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.1f}</text>')
    out.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="#888" stroke-dasharray="4 4"/>')
    for mean, hits, of in parts:
        share, low, high = wilson(hits, of)
        out.append(f'<path d="M{x(mean):.1f} {y(low):.1f}V{y(high):.1f}" stroke="#1a5fb4" stroke-width="1.5"/><circle cx="{x(mean):.1f}" cy="{y(share):.1f}" r="4" fill="#1a5fb4"><title>{hits} of {of}</title></circle>')
    out.append(f'<text x="{x(0.5):.1f}" y="{y(0) + 38:.1f}" text-anchor="middle">said: mean probability of the bin</text>')
    out.append(f'<text transform="translate(18 {y(0.5):.1f}) rotate(-90)" text-anchor="middle">came: share that was right</text></svg>\n')
    return "\n".join(out)


def report(rows, p, levels, fitted_on):
    parts, wide = bins(p, rows.right), wide_bins(p, rows.right)
    missing = ~rows.of(*COMPLETE)
    asked = rows.asked - rows.asked_at(*COMPLETE)
    lines = [
        "# How sure a suggestion is", "",
        "Made by `datasets/embedded/fit_confidence.py`; its head says how. The probability that the first line shown is exactly what the user wrote,",
        "on places in packages that nothing was fitted on. In brackets: 95 % intervals (Wilson).", "",
        f"Fitted on {fitted_on}. Reported on {asked} places where something is missing ({int(missing.sum())} with a suggestion, if one is asked for by hand)",
        f"and {rows.asked_at('end')} ends of finished lines ({int(rows.of('end').sum())} with one) and {rows.asked_at('inside')} places inside of them ({int(rows.of('inside').sum())}).", "",
        "## Reliability", "", "![what was said against what came](confidence.svg)", "",
        f"Expected calibration error: **{error(parts):.3f}** over ten bins with equally many rows each, {error(wide):.3f} over ten equally wide ones;",
        f"without the places where nothing is missing {error(bins(p[missing], rows.right[missing])):.3f} and {error(wide_bins(p[missing], rows.right[missing])):.3f}.", "",
        "| said | came | right | of |", "|---|---|---|---|",
    ]
    lines += [f"| {mean:.3f} | {in_words(hits, of)} | {hits} | {of} |" for mean, hits, of in parts]
    lines += ["", "## Precision at a coverage", "", "The surest first, places where something is missing; *before*: by the mean probability a token.", "",
              "| coverage | before | now |", "|---|---|---|"]
    for coverage in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0):
        before, now = (precision_at(by[missing], rows.right[missing], asked, coverage) for by in (rows.mean, p))
        lines.append(f"| {100 * coverage:.0f} % | {in_words(*before)} | {in_words(*now)} |")
    lines += ["", "## Levels of `show.min_confidence`", "",
              "What is shown unasked. *ends* and *inside*: of the places where nothing is missing, how many are offered something.", "",
              "| level | least probability | coverage | precision | right of all places | ends | inside |", "|---|---|---|---|---|---|---|"]
    for name, least in levels.items():
        shown = p >= least
        hits, n = int(rows.right[shown & missing].sum()), int((shown & missing).sum())
        wrong = [in_words(int((shown & rows.of(place)).sum()), rows.asked_at(place)) for place in COMPLETE]
        lines.append(f"| {name} | {least} | {in_words(n, asked)} | {in_words(hits, n)} | {100 * hits / asked:.1f} % | {' | '.join(wrong)} |")
    lines += ["", "At `normal`, by place and by language:", "", "| | coverage | precision |", "|---|---|---|"]
    shown = p >= levels["normal"]
    for of, values in (("place", ("line", "rest", "word", "hole", "gap", "block")), ("language", sorted(set(rows.language)))):
        for value in values:
            here = (getattr(rows, of) == value) & missing
            silent = sum(row[2 if of == "place" else 3] == value and row[2] not in COMPLETE for row in rows.silent)
            lines.append(f"| {value} | {in_words(int((here & shown).sum()), int(here.sum()) + silent)} | {in_words(int(rows.right[here & shown].sum()), int((here & shown).sum()))} |")
    return "\n".join(lines) + "\n", parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fit", type=pathlib.Path)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--weights", type=pathlib.Path, help="write the weights here, as a model's config holds them")
    parser.add_argument("--report", dest="to", type=pathlib.Path, help="write the report here, and the diagram beside it")
    arguments = parser.parse_args()
    fitted, reported = Rows(arguments.fit), Rows(arguments.report)
    which = terms(fitted.names, fitted.signs)
    bias, weights = fit(matrix(fitted.names, fitted.signs, which), fitted.right, which)
    rounded = {term: round(float(weight), 3) for term, weight in zip(which, weights) if abs(weight) >= 0.005}
    used = list(rounded)
    p = logistic(round(float(bias), 3) + matrix(reported.names, reported.signs, used) @ np.array([rounded[term] for term in used]))
    held_out, right = np.concatenate([crossed(fitted, which), p]), np.concatenate([fitted.right, reported.right])
    written = np.concatenate([fitted.of(*WRITTEN), reported.of(*WRITTEN)])
    levels = {name: level(held_out[written], right[written], wanted) for name, wanted in LEVELS.items()}
    confidence = {"version": 1, "bias": round(float(bias), 3), "weights": rounded, "levels": levels}
    if arguments.weights:
        arguments.weights.write_text(json.dumps(confidence, indent=1) + "\n")
    n_complete = fitted.asked_at(*COMPLETE)
    told = f"{fitted.asked - n_complete} places where something is missing and {n_complete} where nothing is, of {len(set(fitted.group))} packages"
    text, parts = report(reported, p, levels, told)
    print(text)
    if arguments.to:
        arguments.to.write_text(text)
        arguments.to.with_suffix(".svg").write_text(svg(parts, "Reliability on packages that were not fitted on"))


if __name__ == "__main__":
    main()
