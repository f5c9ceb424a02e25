//! The error rates of the statistics, counted over simulated experiments.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::population::Population;
use crate::stats::{
    MIN_UNITS, Plan, Unit, adjust, always_valid, bootstrap_difference, detectable_effect,
    difference, power, ratio, sample_ratio,
};

/// How often something happened, and how often it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rate {
    pub name: String,
    pub experiments: usize,
    pub share: f64,
    /// What is promised, and by how much it may be missed; `above_only`: a smaller share keeps the
    /// promise too.
    pub promised: f64,
    pub tolerance: f64,
    pub above_only: bool,
    /// Not promised: told for comparison.
    pub for_comparison: bool,
}

impl Rate {
    pub fn is_kept(&self) -> bool {
        let miss = self.share - self.promised;
        self.for_comparison
            || miss <= self.tolerance && (self.above_only || miss >= -self.tolerance)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    pub seed: u64,
    pub rates: Vec<Rate>,
}

const ALPHA: f64 = 0.05;
/// Units from which the population's errors are taken as known.
const LARGE: usize = 200_000;
/// Units of an arm in the fixed designs.
const UNITS: usize = 60;
/// Units of an arm up to which the sequential test is peeked at, after every pair.
const PEEKS_TO: usize = 300;
const BOOTSTRAP_ROUNDS: usize = 999;

/// Runs `experiments` simulated experiments for each promise.
pub fn validate(experiments: usize, seed: u64) -> Validation {
    let population = Population::default();
    let count = |stream: u64, mut found: Box<dyn FnMut(&mut ChaCha8Rng) -> bool>| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        (0..experiments).filter(|_| found(&mut random)).count() as f64 / experiments.max(1) as f64
    };
    let p_of =
        |a: &[Unit], b: &[Unit]| ratio(a).zip(ratio(b)).map_or(1.0, |(a, b)| difference(a, b).p);
    let aa = |past| {
        move |random: &mut ChaCha8Rng| {
            [0, 1].map(|_| population.draw_many(random, UNITS, 0.0, past))
        }
    };
    let mut rates = Vec::new();
    let mut tell = |name: &str,
                    share: f64,
                    promised: f64,
                    tolerance: f64,
                    above_only: bool,
                    for_comparison: bool| {
        rates.push(Rate {
            name: name.to_owned(),
            experiments,
            share,
            promised,
            tolerance,
            above_only,
            for_comparison,
        });
    };

    let delta = count(
        1,
        Box::new(move |r| {
            let [a, b] = aa(false)(r);
            p_of(&a, &b) < ALPHA
        }),
    );
    tell("A/A, delta method", delta, ALPHA, 0.01, false, false);
    let bootstrap = count(
        2,
        Box::new(move |r| {
            let [a, b] = aa(false)(r);
            bootstrap_excludes_zero(&a, &b)
        }),
    );
    tell("A/A, cluster bootstrap", bootstrap, ALPHA, 0.01, false, false);
    let cuped = count(
        3,
        Box::new(move |r| {
            let [a, b] = aa(true)(r);
            adjust(&[&a, &b]).is_some_and(|(arms, _)| p_of(&arms[0], &arms[1]) < ALPHA)
        }),
    );
    tell("A/A, CUPED", cuped, ALPHA, 0.01, false, false);
    let peeking = count(
        4,
        Box::new(move |r| {
            peeked(population, r, 0.0, |d, tau| always_valid(d, tau, ALPHA).p < ALPHA)
        }),
    );
    tell(
        "A/A, always-valid, peeked at after every pair of units",
        peeking,
        ALPHA,
        0.0,
        true,
        false,
    );
    let naive_peeking = count(5, Box::new(move |r| peeked(population, r, 0.0, |d, _| d.p < ALPHA)));
    tell("A/A, a fixed test peeked at likewise", naive_peeking, ALPHA, 0.01, false, true);
    let rows = count(
        6,
        Box::new(move |r| {
            let [a, b] = aa(false)(r);
            rows_as_units(&a, &b) < ALPHA
        }),
    );
    tell("A/A, rows taken for independent", rows, ALPHA, 0.01, false, true);
    let srm = count(
        7,
        Box::new(move |r| {
            let heads = (0..400).filter(|_| super::population::chance(r, 0.5)).count() as u64;
            sample_ratio(&[heads, 400 - heads], &[1.0, 1.0]) < 0.01
        }),
    );
    tell("sample-ratio mismatch below 0.01 although there is none", srm, 0.01, 0.006, false, false);

    // The standard errors that the formula needs, from samples large enough to know them.
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(99);
    let mut known = |effect: f64| {
        ratio(&population.draw_many(&mut random, LARGE, effect, false)).expect("rows")
    };
    let control = known(0.0);
    for (stream, aim) in [(10, 0.5), (11, 0.8), (12, 0.9)] {
        let n = 200;
        let scale = (LARGE as f64 / n as f64).sqrt();
        let effect =
            detectable_effect(scale * control.error * 2.0f64.sqrt(), ALPHA, aim) / control.value;
        // A larger ratio spreads more: the treatment's error is its own.
        let error = scale * control.error.hypot(known(effect).error);
        let formula = power(effect * control.value, error, ALPHA);
        let found = count(
            stream,
            Box::new(move |r| {
                let (a, b) = (
                    population.draw_many(r, n, 0.0, false),
                    population.draw_many(r, n, effect, false),
                );
                p_of(&a, &b) < ALPHA
            }),
        );
        let name = format!(
            "power of {n} units an arm for an effect of {:.1} % (formula {:.1} %)",
            100.0 * effect,
            100.0 * formula
        );
        tell(&name, found, formula, 0.03, false, false);
    }
    Validation { seed, rates }
}

fn bootstrap_excludes_zero(a: &[Unit], b: &[Unit]) -> bool {
    let seed =
        a.iter().chain(b).fold(0u64, |h, u| h.wrapping_mul(31).wrapping_add(u.denominator as u64));
    let interval = bootstrap_difference(
        a,
        b,
        &Plan { alpha: ALPHA, rounds: BOOTSTRAP_ROUNDS, seed, ..Plan::default() },
    );
    interval.is_some_and(|i| i.low > 0.0 || i.high < 0.0)
}

/// Whether `stop` ever says so, looking after each pair of units from [`MIN_UNITS`] on.
fn peeked(
    population: Population,
    random: &mut ChaCha8Rng,
    effect: f64,
    stop: impl Fn(&crate::stats::Difference, f64) -> bool,
) -> bool {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for n in 1..=PEEKS_TO {
        a.push(population.draw(random, 0.0, false));
        b.push(population.draw(random, effect, false));
        if n >= MIN_UNITS
            && let (Some(control), Some(treatment)) = (ratio(&a), ratio(&b))
            && stop(&difference(control, treatment), 0.05 * control.value)
        {
            return true;
        }
    }
    false
}

/// The two-proportion test that ignores whose rows they are.
fn rows_as_units(a: &[Unit], b: &[Unit]) -> f64 {
    let sums = |units: &[Unit]| {
        units.iter().fold((0.0, 0.0), |(y, x), u| (y + u.numerator, x + u.denominator))
    };
    let ((ya, xa), (yb, xb)) = (sums(a), sums(b));
    let pooled = (ya + yb) / (xa + xb);
    let z = (yb / xb - ya / xa) / (pooled * (1.0 - pooled) * (1.0 / xa + 1.0 / xb)).sqrt();
    crate::stats::two_sided(z, 1e9)
}
