"""Every number of `lacuna telemetry compare` against NumPy, SciPy and statsmodels.

The reference is written from the definitions, not from the Rust source: errors by leaving units out one by one, the mixture of the
sequential test by numerical integration, the covariate by a regression of statsmodels, power by simulation-free formulas of
statsmodels."""

import csv
import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import integrate, stats
from statsmodels.stats.power import normal_power

SEEDS = range(12)


def sample(seed, n=None, past=False, equal=False):
    """Two arms of clusters of very different sizes; the treatment is better by a tenth."""
    random = np.random.default_rng(seed)
    arms = {}
    for variant, effect in (("control", 1.0), ("treatment", 1.1)):
        size = n or int(random.integers(30, 120))
        own = random.beta(6, 14, size)
        x = np.full(size, 20.0) if equal else np.ceil(random.lognormal(3.5, 0.9, size))
        y = random.binomial(x.astype(int), np.minimum(own * effect, 1)).astype(float)
        w = np.ceil(random.lognormal(3.0, 0.5, size))
        b = random.binomial(w.astype(int), own).astype(float)
        # Some units have no past.
        w[random.random(size) < 0.2] = 0
        arms[variant] = (y, x, b, w) if past else (y, x, None, None)
    return arms


def compare(lacuna, arms, **options):
    path = lacuna.home / "units.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["variant", "numerator", "denominator", "before_numerator", "before_denominator"])
        for variant, (y, x, b, w) in arms.items():
            for i in range(len(y)):
                before = (b[i], w[i]) if b is not None and w[i] > 0 else ("", "")
                writer.writerow([variant, y[i], x[i], *before])
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return lacuna.json("telemetry", "compare", path, "--json", *flags)


def ratio(y, x):
    """Ratio and error, leaving out one unit at a time."""
    n = len(y)
    without = np.array([(y.sum() - y[i]) / (x.sum() - x[i]) for i in range(n)])
    value = y.sum() / x.sum()
    return value, math.sqrt((n - 1) / n * ((without - value) ** 2).sum())


def welch(a, ea, na, b, eb, nb):
    df = (ea**2 + eb**2) ** 2 / (ea**4 / (na - 1) + eb**4 / (nb - 1))
    error = math.hypot(ea, eb)
    return b - a, error, df, 2 * stats.t.sf(abs(b - a) / error, df)


def close(a, b, relative=1e-6):
    assert a == pytest.approx(b, rel=relative, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_ratios_and_their_difference(lacuna, seed):
    arms = sample(seed)
    told = compare(lacuna, arms)["variants"]["treatment"]
    (ya, xa, *_), (yb, xb, *_) = arms["control"], arms["treatment"]
    (a, ea), (b, eb) = ratio(ya, xa), ratio(yb, xb)
    difference, error, df, p = welch(a, ea, len(ya), b, eb, len(yb))
    for key, value in (("control", a), ("control_error", ea), ("treatment", b), ("treatment_error", eb), ("difference", difference), ("error", error), ("df", df)):
        close(told[key], value)
    close(told["one_look"]["p"], p)
    low, high = stats.t.interval(0.95, df, loc=difference, scale=error)
    close(told["one_look"]["low"], low)
    close(told["one_look"]["high"], high)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_clusters_are_welchs_test(lacuna, seed):
    arms = sample(seed, equal=True)
    told = compare(lacuna, arms)["variants"]["treatment"]
    (ya, xa, *_), (yb, xb, *_) = arms["control"], arms["treatment"]
    reference = stats.ttest_ind(yb / xb, ya / xa, equal_var=False)
    close(told["one_look"]["p"], reference.pvalue)
    close(told["df"], reference.df)


@pytest.mark.parametrize("seed", SEEDS)
def test_sequential_p_is_the_mixtures_likelihood_ratio(lacuna, seed):
    arms = sample(seed)
    told = compare(lacuna, arms, effect=0.07, alpha=0.1)["variants"]["treatment"]
    d, v, tau = told["difference"], told["error"] ** 2, 0.07 * told["control"]

    def likelihood_ratio(d, centre=0.0):
        density = lambda theta: stats.norm.pdf(d, centre + theta, math.sqrt(v)) * stats.norm.pdf(theta, 0, tau)  # noqa: E731
        reach = abs(d - centre) + 12 * max(tau, math.sqrt(v))
        mixture, _ = integrate.quad(density, -reach, reach, points=[0, d - centre], limit=500, epsabs=0, epsrel=1e-10)
        return mixture / stats.norm.pdf(d, centre, math.sqrt(v))

    close(told["any_time"]["p"], min(1, 1 / likelihood_ratio(d)), 1e-5)
    for end in ("low", "high"):
        # The ends are the differences against which the ratio is 1 / alpha.
        close(1 / likelihood_ratio(d, told["any_time"][end]), 0.1, 1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_covariates_are_a_regression(lacuna, seed):
    arms = sample(seed, past=True)
    told = compare(lacuna, arms)["variants"]["treatment"]
    y, x, b, w = (np.concatenate([arms["control"][i], arms["treatment"][i]]) for i in range(4))
    has = w > 0
    now, before = y.sum() / x.sum(), b[has].sum() / w[has].sum()
    outcome, covariate = y - now * x, np.where(has, b - before * w, 0.0)
    fit = sm.OLS(outcome, covariate).fit()
    close(told["variance_explained"], fit.rsquared)
    adjusted = y - fit.params[0] * covariate
    n = len(arms["control"][0])
    (a, ea), (t, et) = ratio(adjusted[:n], x[:n]), ratio(adjusted[n:], x[n:])
    difference, error, df, p = welch(a, ea, n, t, et, len(y) - n)
    close(told["difference"], difference)
    close(told["error"], error)
    close(told["one_look"]["p"], p)


@pytest.mark.parametrize("seed", SEEDS)
def test_power_and_sizes(lacuna, seed):
    arms = sample(seed)
    told = compare(lacuna, arms, effect=0.05)["variants"]["treatment"]
    error, effect = told["error"], 0.05 * told["control"]
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    close(told["detectable"], z * error)
    n = len(arms["control"][0]) + len(arms["treatment"][0])
    assert told["units_needed"] == math.ceil(n * (z * error / effect) ** 2)
    # statsmodels: power of a two-sided normal test of a standardised effect with one observation.
    close(told["power"], normal_power(effect / error, 1, 0.05, alternative="two-sided"))


@pytest.mark.parametrize("seed", range(4))
def test_the_bootstrap_agrees_with_one_of_numpys(lacuna, seed):
    arms = sample(seed, n=80)
    told = compare(lacuna, arms)["variants"]["treatment"]["bootstrap"]
    (ya, xa, *_), (yb, xb, *_) = arms["control"], arms["treatment"]
    (a, ea), (b, eb) = ratio(ya, xa), ratio(yb, xb)
    d, error = b - a, math.hypot(ea, eb)
    random = np.random.default_rng(1000 + seed)
    rounds, t = 4000, []

    def drawn(y, x, i):
        y, x = y[i], x[i]
        value = y.sum() / x.sum()
        n = len(y)
        return value, (n - 1) / n * (((y - value * x) / (x.sum() - x)) ** 2).sum()

    for _ in range(rounds):
        ra, va = drawn(ya, xa, random.integers(0, 80, 80))
        rb, vb = drawn(yb, xb, random.integers(0, 80, 80))
        t.append((rb - ra - d) / math.sqrt(va + vb))
    low, high = d - np.quantile(t, 0.975) * error, d - np.quantile(t, 0.025) * error
    # Two sets of random draws: ends differ by their Monte Carlo error.
    assert told["low"] == pytest.approx(low, abs=0.15 * error)
    assert told["high"] == pytest.approx(high, abs=0.15 * error)


@pytest.mark.parametrize("counts", [(50, 50), (60, 40), (500, 431), (31, 90)])
def test_sample_ratio_mismatch(lacuna, counts):
    arms = {name: (np.ones(n), np.full(n, 2.0), None, None) for name, n in zip(("control", "treatment"), counts)}
    close(compare(lacuna, arms)["sample_ratio_p"], stats.chisquare(counts).pvalue)


def test_mistakes_in_the_file_are_told(lacuna):
    path = lacuna.home / "units.csv"
    for text in ("", "variant,numerator\ncontrol,1\n", "variant,numerator,denominator\nb,1,2\n", "variant,numerator,denominator\ncontrol,x,2\n", "variant,numerator,denominator\ncontrol,1,-2\n"):
        path.write_text(text)
        lacuna.run("telemetry", "compare", path, code=2)
