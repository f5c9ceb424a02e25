#!/usr/bin/env python3
"""Fits the weights with which the n-grams of the open file are mixed with the model (`lacuna_complete::Nearby`).

    lacuna fim-eval evidence fit.jsonl > fit.tsv        the sets: validation_files.py --part fit, --part report
    lacuna fim-eval evidence report.jsonl > report.tsv
    fit_ngrams.py fit.tsv report.tsv

Minimises the nats a token of the first file by gradient descent (plain NumPy, from zero, always the same result), with a small penalty
on large weights; prints the weights as Rust, and the nats a token of both files: by the model alone, as the program mixes today, by the
new weights.
"""

import sys

import numpy as np

ORDERS = 8
PENALTY = 1e-4


def read(path):
    rows = np.loadtxt(path)
    counts = rows[:, 2 : 2 + 3 * ORDERS].reshape(-1, ORDERS, 3)
    return rows[:, 0], rows[:, 1], counts, rows[:, -1]


def features(sureness, counts):
    seen, ways = counts[:, :, 0], counts[:, :, 1]
    sure = np.clip(sureness, 0.001, 0.999)
    odds = np.log(sure / (1 - sure))
    return np.log(np.maximum(seen, 1)), np.log(np.maximum(ways, 1)), np.repeat(odds[:, None], ORDERS, 1)


def mixed(weights, p, sureness, counts, with_gradient=False):
    """Probability of each row's token, and its gradient."""
    log_seen, log_ways, odds = features(sureness, counts)
    x = weights[:ORDERS] + weights[ORDERS] * log_seen + weights[ORDERS + 1] * log_ways + weights[ORDERS + 2] * odds
    here = counts[:, :, 0] > 0
    share = np.where(here, 1 / (1 + np.exp(-x)), 0.0)
    rate = np.where(here, counts[:, :, 2] / np.maximum(counts[:, :, 0], 1), 0.0)
    # From the shortest context to the longest: value[k] is the mixture of the orders up to k.
    value = [p]
    for k in range(ORDERS):
        value.append(share[:, k] * rate[:, k] + (1 - share[:, k]) * value[-1])
    if not with_gradient:
        return value[-1]
    gradient, left = np.zeros((len(p), len(weights))), np.ones(len(p))
    for k in reversed(range(ORDERS)):
        d = left * (rate[:, k] - value[k]) * share[:, k] * (1 - share[:, k])
        gradient[:, k] += d
        for j, feature in enumerate((log_seen, log_ways, odds)):
            gradient[:, ORDERS + j] += d * feature[:, k]
        left *= 1 - share[:, k]
    return value[-1], gradient


def fit(p, sureness, counts):
    weights = np.zeros(ORDERS + 3)
    weights[:ORDERS] = -1
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, 1501):
        value, gradient = mixed(weights, p, sureness, counts, True)
        slope = -(gradient / np.maximum(value, 1e-9)[:, None]).mean(0) + PENALTY * weights
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights -= 0.03 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-9)
    return weights


def nats(p):
    return float(-np.log(np.maximum(p, 1e-9)).mean())


def main():
    sets = [read(path) for path in sys.argv[1:]]
    p, sureness, counts, _ = sets[0]
    weights = fit(p, sureness, counts)
    orders = ", ".join(f"{w:.2f}" for w in weights[:ORDERS])
    print(f"Weights {{ orders: [{orders}], count: {weights[-3]:.2f}, fan_out: {weights[-2]:.2f}, confidence: {weights[-1]:.2f} }}")
    for path, (p, sureness, counts, served) in zip(sys.argv[1:], sets):
        print(f"{path}: {len(p)} tokens; nats a token: model {nats(p):.4f}, as served {nats(served):.4f}, fitted {nats(mixed(weights, p, sureness, counts)):.4f}")


if __name__ == "__main__":
    main()
