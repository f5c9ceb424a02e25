//! A made-up team: two weeks of editing under a switch-back experiment, after a week without one,
//! as rows.

use chrono::{Datelike, TimeZone, Utc, Weekday};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Beta, Distribution, LogNormal, Poisson};

use super::SIMULATED;
use super::population::chance;
use crate::event::{CHECKS, Event, Int, Ints, Names, Text};
use crate::experiment::{Arm, Definition, arms_text, assign, unit_of};

/// Who is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Team {
    pub developers: usize,
    pub days_before: u32,
    pub days: u32,
    /// First day of the experiment, in milliseconds since 1970 (UTC midnight).
    pub start: i64,
    /// What the treatment does, as factors: chance of acceptance, chance of keeping, latency.
    pub acceptance: f64,
    pub keeping: f64,
    pub latency: f64,
    pub seed: u64,
}

impl Default for Team {
    fn default() -> Team {
        // Monday, 2 November 2026.
        Team {
            developers: 12,
            days_before: 7,
            days: 14,
            start: 1_793_577_600_000,
            acceptance: 1.15,
            keeping: 1.04,
            latency: 0.82,
            seed: 43,
        }
    }
}

/// Rows with the experiment they belong to.
pub struct TeamRows {
    pub names: Names,
    pub events: Vec<Event>,
    pub experiment: &'static str,
    pub definition: Definition,
    pub started: i64,
    pub stopped: i64,
}

const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const LANGUAGES: [(&str, f64); 4] =
    [("python", 1.0), ("typescript", 0.95), ("rust", 0.85), ("go", 1.05)];
const NODES: [(&str, f64); 4] =
    [("function", 1.0), ("class", 0.8), ("comment", 0.5), ("file", 0.7)];

struct Developer {
    installation: u32,
    salt: [u8; 8],
    /// Own chance of accepting what is read.
    rate: f64,
    language: usize,
    first_hour: i64,
}

/// Draws the team's rows.
pub fn simulate_team(team: &Team) -> TeamRows {
    let definition = serde_json::json!({
        "unit": "block", "block_minutes": 30, "metric": "retained-per-hour", "effect": 0.10,
        "variant": {"control": {}, "suffix-first": {"settings": {"model.order": "spm"}}},
    });
    let definition: Definition = serde_json::from_value(definition).expect("a definition");
    let mut rows = TeamRows {
        names: Names::default(),
        events: Vec::new(),
        experiment: "order",
        definition,
        started: team.start,
        stopped: team.start + i64::from(team.days) * DAY_MS,
    };
    for number in 0..team.developers {
        let mut random = ChaCha8Rng::seed_from_u64(team.seed);
        random.set_stream(number as u64);
        let developer = Developer {
            installation: rows.names.number(&format!("simulated-{:02}", number + 1)),
            salt: random.random(),
            rate: Beta::new(9.0, 19.0).expect("positive").sample(&mut random),
            language: random.random_range(0..LANGUAGES.len()),
            first_hour: random.random_range(8..11),
        };
        for day in -i64::from(team.days_before)..i64::from(team.days) {
            work_day(&mut rows, team, &developer, team.start + day * DAY_MS, &mut random);
        }
        let own = rows.events.iter_mut().filter(|e| e.installation == developer.installation);
        own.enumerate().for_each(|(i, event)| event.ints.set(Int::Row, Some(i as i64 + 1)));
    }
    rows
}

fn work_day(
    rows: &mut TeamRows,
    team: &Team,
    developer: &Developer,
    midnight: i64,
    random: &mut ChaCha8Rng,
) {
    let weekday = Utc.timestamp_millis_opt(midnight).single().map(|t| t.weekday());
    let weekend = matches!(weekday, Some(Weekday::Sat | Weekday::Sun));
    if chance(random, if weekend { 0.92 } else { 0.08 }) {
        return;
    }
    for period in 0..(7 * 12) {
        // Meetings, reading, lunch.
        if !chance(random, 0.45) {
            continue;
        }
        let at = midnight + developer.first_hour * 60 * MINUTE_MS + period * 5 * MINUTE_MS;
        five_minutes(rows, team, developer, at, random);
    }
}

fn five_minutes(
    rows: &mut TeamRows,
    team: &Team,
    developer: &Developer,
    at: i64,
    random: &mut ChaCha8Rng,
) {
    let (mut arms, mut treated) = (String::new(), false);
    if at >= rows.started {
        let variant = assign(&rows.definition, &developer.salt, rows.experiment, "", at);
        let unit = unit_of(&rows.definition, &developer.salt, rows.experiment, "", at);
        treated = variant != rows.definition.control;
        arms = arms_text([Arm { experiment: rows.experiment, variant, unit: &unit }]);
    }
    let language = if chance(random, 0.8) {
        developer.language
    } else {
        random.random_range(0..LANGUAGES.len())
    };
    let (language, ease) = LANGUAGES[language];
    let document = random.random_range(1..i64::MAX);
    let base = |names: &mut Names, kind: &str| {
        let mut texts = [0; Text::COUNT];
        texts[Text::Kind as usize] = names.number(kind);
        texts[Text::Language as usize] = names.number(language);
        texts[Text::Model as usize] = names.number(SIMULATED);
        texts[Text::Arms as usize] = names.number(&arms);
        texts
    };
    let factor = |x: f64| if treated { x } else { 1.0 };
    let (mut accepted_chars, mut completed) = (0, 0);
    let n = Poisson::new(7.0).expect("positive").sample(random) as i64;
    let latency = LogNormal::new(45_000f64.ln(), 0.55).expect("positive");
    let length = LogNormal::new(18f64.ln(), 0.7).expect("positive");
    for i in 0..n {
        let at = at + (i * 300_000 / n.max(1)) + random.random_range(0..5_000);
        let us = (latency.sample(random) * factor(team.latency)) as i64;
        let mut texts = base(&mut rows.names, "request");
        let silent = chance(random, 0.18);
        texts[Text::State as usize] = rows.names.number(if silent { "silence" } else { "offered" });
        texts[Text::Reason as usize] =
            rows.names.number(if silent { "low-confidence" } else { "" });
        let (node, attraction) = NODES
            [if silent { i as usize % NODES.len() } else { random.random_range(0..NODES.len()) }];
        texts[Text::Node as usize] = rows.names.number(node);
        let ints = Ints::default()
            .with(Int::At, at)
            .with(Int::Document, document)
            .with(Int::LatencyUs, us)
            .with(Int::Session, 1);
        rows.events.push(Event { installation: developer.installation, texts, ints });
        if silent {
            continue;
        }
        let chars = length.sample(random).round().clamp(1.0, 400.0) as i64;
        let stay =
            LogNormal::new(900f64.ln(), 0.8).expect("positive").sample(random).min(60_000.0) as i64;
        let chosen = chance(
            random,
            (developer.rate * ease * attraction * factor(team.acceptance)).min(0.95),
        ) && stay > 300;
        let partly = chosen && chance(random, 0.08);
        let taken = if !chosen {
            0
        } else if partly {
            (chars / 2).max(1)
        } else {
            chars
        };
        let state = match () {
            () if partly => "partly",
            () if chosen => "accepted",
            () if chance(random, 0.12) => "typed-through",
            () if chance(random, 0.55) => "dismissed",
            () => "superseded",
        };
        let mut texts = base(&mut rows.names, "suggestion");
        texts[Text::Node as usize] = rows.names.number(node);
        texts[Text::State as usize] = rows.names.number(state);
        texts[Text::Evidence as usize] = rows.names.number("inferred");
        let mut ints =
            ints.with(Int::Chars, chars).with(Int::Lines, 1 + chars / 60).with(Int::Shows, 1);
        ints = ints
            .with(Int::VisibleMs, stay)
            .with(Int::LongestMs, stay)
            .with(Int::AcceptedChars, taken);
        ints.set(Int::TypedChars, Some(if state == "typed-through" { chars } else { 0 }));
        if chosen {
            texts[Text::Watch as usize] = rows.names.number("complete");
            let mut left = 1000;
            for (i, (_, column)) in CHECKS.iter().enumerate() {
                let change =
                    1.0 - (1.0 - [0.88, 0.94, 0.96, 0.96][i]) / factor(team.keeping * team.keeping);
                if !chance(random, change) {
                    left = (left as f64 * Beta::new(1.0, 2.0).expect("positive").sample(random))
                        as i64;
                }
                ints.set(*column, Some(left));
            }
        }
        rows.events.push(Event { installation: developer.installation, texts, ints });
        accepted_chars += taken;
        completed += 1;
    }
    let typed = Poisson::new(160.0).expect("positive").sample(random) as i64;
    let mut texts = base(&mut rows.names, "activity");
    texts[Text::Model as usize] = 0;
    let active = 120_000 + random.random_range(0..180_000) + completed;
    let ints = Ints::default()
        .with(Int::At, at)
        .with(Int::Document, document)
        .with(Int::Session, 1)
        .with(Int::ActiveMs, active.min(300_000));
    let ints = ints.with(Int::Chars, typed).with(Int::AcceptedChars, accepted_chars);
    rows.events.push(Event { installation: developer.installation, texts, ints });
}
