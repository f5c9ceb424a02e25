//! `lacuna bench kv-quality`: what every approximation of the KV cache costs, over the user's files
//! and edits as they are made to them.
//!
//! For a cursor in a file and an edit near it, the prompts before and after are built as in
//! serving. The cache holds the one before; each switch brings it to the one after, and its answers
//! are compared with those of a cold cache: [`Row`]. With a set of `fim-eval` the cursor is the
//! hole, the edit puts the file's first line on top, and greedy answers are compared with the
//! middle too. Nothing here is timed for speed records; the share of tokens computed is what a
//! switch saves.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lacuna_engine::{
    Cancel, KvCache, KvDtype, Model, PrefillOptions, Reuse, prefill, prefill_with,
};
use lacuna_eval::metric::line_exact_match;
use lacuna_kernels::threads;
use lacuna_prompt::{Input, Options, Order, build};
use lacuna_serving::models::{self, Loaded};

use super::machine::Machine;

/// Measure what moved, repaired and quantised keys and values cost in quality
#[derive(clap::Args)]
pub struct Args {
    /// Source files; edits are made to copies in memory
    #[arg(required_unless_present = "set", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A set in any format that fim-eval reads, instead of files: exact match of the first line is
    /// measured too
    #[arg(long, value_name = "SET", conflicts_with = "files")]
    set: Option<PathBuf>,
    /// Rows of the set, spread over it
    #[arg(long, default_value_t = 200, value_name = "N", requires = "set", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Cursors a file
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    points: u16,
    /// Tokens that are generated and compared at each
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    tokens: u16,
    /// Upper limit of a prompt in tokens
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u16).range(64..=16384))]
    prompt_tokens: u16,
    /// Runs of moved text shorter than this are computed
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    min_run: u16,
    /// Chooses cursors and edits
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Larger files are refused.
const MAX_BYTES: u64 = 4 << 20;
/// Tokens of a row's first line at most.
const LINE_TOKENS: usize = 48;

/// What is done to the text around a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// A line of the file is inserted 5 to 30 lines above the cursor.
    LineAbove,
    /// One of those lines is removed.
    LineRemoved,
    /// A line is inserted 3 to 20 lines below the cursor.
    LineBelow,
    /// The ten lines above the cursor are moved 10 lines up.
    BlockMoved,
    /// The file's first line is put there: for rows of sets, which are short.
    FirstLine,
}

impl Edit {
    const OF_FILES: [Edit; 4] =
        [Edit::LineAbove, Edit::LineRemoved, Edit::LineBelow, Edit::BlockMoved];

    fn name(self) -> &'static str {
        match self {
            Edit::LineAbove => "line above",
            Edit::LineRemoved => "line removed above",
            Edit::LineBelow => "line below",
            Edit::BlockMoved => "block moved",
            Edit::FirstLine => "first line",
        }
    }

    /// The text before and after the cursor once the edit is made; nothing where the file is too
    /// short for it.
    fn apply(
        self,
        (prefix, suffix): (&str, &str),
        random: &mut Random,
    ) -> Option<(String, String)> {
        let mut above: Vec<&str> = prefix.split_inclusive('\n').collect();
        let mut below: Vec<&str> = suffix.split_inclusive('\n').collect();
        // The line of the cursor stays.
        let (n, m) = (above.len().checked_sub(1)?, below.len());
        let line = above[random.below(n.max(1))];
        match self {
            Edit::LineAbove => above.insert(n.checked_sub(5 + random.below(26))?, line),
            Edit::LineRemoved => drop(above.remove(n.checked_sub(5 + random.below(26))?)),
            Edit::LineBelow => {
                let at = 3 + random.below(18);
                (at < m).then(|| below.insert(at, line))?;
            }
            Edit::BlockMoved => {
                let block: Vec<&str> = above.drain(n.checked_sub(20)? + 10..n).collect();
                let at = above.len() - 11;
                above.splice(at..at, block);
            }
            // The text is given as it is after the edit, and undone.
            Edit::FirstLine => {
                (n > 1).then(|| above.remove(0))?;
            }
        }
        Some((above.concat(), below.concat()))
    }
}

/// The seed decides everything.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// What is compared with a cold cache.
#[derive(Debug, Clone, Copy)]
enum Switch {
    /// A cache that holds the prompt before the edit, with the type of serving.
    Warm(Reuse),
    /// A cold cache of another type, against f32.
    Held(KvDtype),
}

impl Switch {
    fn all(min_run: usize) -> Vec<(String, Switch)> {
        let mut all = vec![
            ("f32, cold".to_owned(), Switch::Held(KvDtype::F32)),
            ("exact prefix".to_owned(), Switch::Warm(Reuse::Exact)),
            ("shift (r = 0)".to_owned(), Switch::Warm(Reuse::Shift { min_run })),
        ];
        for ratio in [0.15, 0.3, 1.0] {
            all.push((
                format!("blend, r = {ratio}"),
                Switch::Warm(Reuse::Blend { min_run, ratio }),
            ));
        }
        for dtype in [KvDtype::F16, KvDtype::Int8] {
            all.push((format!("{dtype} for f32, cold"), Switch::Held(dtype)));
        }
        all
    }
}

/// One switch at one cursor.
#[derive(Debug, Clone, Copy)]
struct Sample {
    edit: Edit,
    /// Nats, of the first answer's distribution.
    first: f64,
    /// Nats a token, mean over the cold answer's tokens.
    each: f64,
    /// Leading tokens of the greedy answer that are those of the cold one.
    same: usize,
    /// Share of the prompt that was computed.
    computed: f64,
    /// Time of the prefill relative to a cold one.
    time: f64,
    /// Whether the greedy answer's first line is the row's.
    hit: Option<bool>,
}

/// A switch over all samples.
#[derive(Debug, serde::Serialize)]
struct Row {
    switch: String,
    samples: usize,
    kl_first_mean: f64,
    kl_first_p95: f64,
    kl_per_token: f64,
    same_first_token: f64,
    same_answer: f64,
    /// Share of rows whose first line was hit.
    exact_match: Option<f64>,
    computed: f64,
    time: f64,
    by_edit: Vec<OfEdit>,
}

/// Means over the samples of one edit.
#[derive(Debug, serde::Serialize)]
struct OfEdit {
    edit: &'static str,
    kl_first: f64,
    computed: f64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let loaded = models::load(args.model.as_deref().unwrap_or(""))?;
    let switches = Switch::all(usize::from(args.min_run));
    let cases = match &args.set {
        Some(set) => rows_of(&loaded, set, args)?,
        None => cases(&loaded, args)?,
    };
    if cases.is_empty() {
        bail!(
            "nothing is long enough for an edit around a cursor: give files of 60 lines and more, or a set with rows of several lines"
        );
    }
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); switches.len()];
    for (i, case) in cases.iter().enumerate() {
        super::output::note(&format!(
            "{} of {}: {}, {}",
            i + 1,
            cases.len(),
            case.file,
            case.edit.name()
        ));
        let all = compare(&loaded, case, &switches, usize::from(args.tokens))?;
        for (samples, sample) in samples.iter_mut().zip(all) {
            samples.push(sample);
        }
    }
    let rows: Vec<Row> = switches
        .iter()
        .zip(&samples)
        .map(|((name, _), samples)| row(name, samples, usize::from(args.tokens)))
        .collect();
    print(&loaded.name, &rows, args)
}

/// A cursor with an edit near it.
struct Case {
    file: String,
    edit: Edit,
    before: Vec<u32>,
    after: Vec<u32>,
    /// What the hole of a row held.
    middle: Option<String>,
}

fn cases(loaded: &Loaded, args: &Args) -> anyhow::Result<Vec<Case>> {
    let mut random = Random(args.seed);
    let mut cases = Vec::new();
    for path in &args.files {
        let text = read(path)?;
        let file =
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for _ in 0..args.points {
            let place = text.split_at(cursor(&text, &mut random));
            for edit in Edit::OF_FILES {
                let Some(after) = edit.apply(place, &mut random) else { continue };
                let [before, after] =
                    [place, (&after.0, &after.1)].map(|place| prompt(loaded, &file, place, args));
                cases.push(Case { file: file.clone(), edit, before, after, middle: None });
            }
        }
    }
    Ok(cases)
}

/// Rows of a set, evenly spread over it.
fn rows_of(loaded: &Loaded, set: &Path, args: &Args) -> anyhow::Result<Vec<Case>> {
    let rows = || {
        lacuna_eval::format::open(set)
            .map(|rows| rows.filter_map(Result::ok).filter(|row| !row.middle.trim().is_empty()))
    };
    let (n, limit) = (rows()?.count(), usize::from(args.limit));
    let mut cases = Vec::new();
    for (_, row) in
        rows()?.enumerate().filter(|(i, _)| i * limit / n != (i + 1) * limit / n || n <= limit)
    {
        let file = lacuna_eval::generate::path(&row);
        let place = (row.prefix.as_str(), row.suffix.as_str());
        let Some(before) = Edit::FirstLine.apply(place, &mut Random(args.seed)) else { continue };
        let [before, after] = [(before.0.as_str(), before.1.as_str()), place]
            .map(|place| prompt(loaded, &file, place, args));
        cases.push(Case {
            file: row.id,
            edit: Edit::FirstLine,
            before,
            after,
            middle: Some(row.middle),
        });
    }
    Ok(cases)
}

/// Every switch on one case.
fn compare(
    loaded: &Loaded,
    case: &Case,
    switches: &[(String, Switch)],
    n_tokens: usize,
) -> anyhow::Result<Vec<Sample>> {
    let Case { before, after, .. } = case;
    let model = &loaded.model;
    let capacity = before.len().max(after.len()) + n_tokens.max(LINE_TOKENS);
    let mut base = KvCache::new(model, capacity);
    prefill(model, &mut base, before, &Cancel::new())?;
    let of_served = cold(model, after, base.dtype(), n_tokens)?;
    let exact = cold(model, after, KvDtype::F32, n_tokens)?;
    let sample = |(_, switch): &(String, Switch)| {
        let (kv, reuse, cold) = match *switch {
            Switch::Warm(reuse) => (base.fork(), reuse, &of_served),
            Switch::Held(dtype) => {
                (KvCache::with_dtype(model, capacity, dtype), Reuse::Exact, &exact)
            }
        };
        measure(loaded, kv, case, reuse, cold)
    };
    switches.iter().map(sample).collect()
}

fn read(file: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
    if size > MAX_BYTES {
        bail!(
            "{} has {size} bytes, more than the {MAX_BYTES} that are read: give source files",
            file.display()
        );
    }
    std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))
}

/// A place at the end of a word or line in the middle of the text.
fn cursor(text: &str, random: &mut Random) -> usize {
    let from = text.len() / 3 + random.below((text.len() / 2).max(1));
    text.char_indices()
        .skip_while(|(at, _)| *at < from)
        .find(|(_, c)| !c.is_alphanumeric())
        .map_or(text.len(), |(at, _)| at)
}

fn prompt(loaded: &Loaded, name: &str, (prefix, suffix): (&str, &str), args: &Args) -> Vec<u32> {
    let input = Input { path: Some(name), excerpts: &[], prefix, suffix };
    let limit = loaded.model.spec().max_positions.saturating_sub(usize::from(args.tokens) + 1);
    let budget = usize::from(args.prompt_tokens).min(limit);
    let order = loaded.sentinels.order;
    // Greedy answers are compared with the rows', which a healed prompt would have to be held to.
    let options =
        Options { order, budget, heal: args.set.is_none(), seam: order == Order::Psm, ahead: 0 };
    build(&loaded.tokenizer, &loaded.sentinels, &input, &options).ids
}

/// What a cold cache answers.
struct Cold {
    /// Greedy.
    answer: Vec<u32>,
    /// Before each token of the answer.
    logits: Vec<Vec<f32>>,
    prefill: Duration,
}

fn cold(model: &Model, prompt: &[u32], dtype: KvDtype, n_tokens: usize) -> anyhow::Result<Cold> {
    let cancel = Cancel::new();
    let mut kv = KvCache::with_dtype(model, prompt.len() + n_tokens, dtype);
    let start = Instant::now();
    prefill(model, &mut kv, prompt, &cancel)?;
    let mut cold =
        Cold { answer: Vec::new(), logits: vec![kv.logits().to_vec()], prefill: start.elapsed() };
    let mut ids = prompt.to_vec();
    for _ in 1..n_tokens {
        ids.push(largest(kv.logits()));
        prefill(model, &mut kv, &ids, &cancel)?;
        cold.logits.push(kv.logits().to_vec());
    }
    cold.answer = cold.logits.iter().map(|logits| largest(logits)).collect();
    Ok(cold)
}

/// Brings `kv` to the prompt after the edit and follows the cold answer with it.
fn measure(
    loaded: &Loaded,
    mut kv: KvCache,
    case: &Case,
    reuse: Reuse,
    cold: &Cold,
) -> anyhow::Result<Sample> {
    let (model, prompt) = (&loaded.model, &case.after);
    let (cancel, options) = (Cancel::new(), PrefillOptions { reuse, donors: &[] });
    let start = Instant::now();
    let stats = prefill_with(model, &mut kv, prompt, &options, &cancel)?;
    let time = start.elapsed().as_secs_f64() / cold.prefill.as_secs_f64().max(1e-9);
    let first = divergence(&cold.logits[0], kv.logits());
    let free = case.middle.is_some().then(|| kv.fork());
    let (mut sum, mut same, mut agrees) = (0.0, 0, true);
    let mut ids = prompt.clone();
    for (i, (id, logits)) in cold.answer.iter().zip(&cold.logits).enumerate() {
        if i > 0 {
            prefill_with(model, &mut kv, &ids, &options, &cancel)?;
        }
        sum += divergence(logits, kv.logits());
        agrees &= largest(kv.logits()) == *id;
        same += usize::from(agrees);
        ids.push(*id);
    }
    let hit = match (&case.middle, free) {
        (Some(middle), Some(kv)) => {
            Some(line_exact_match(&greedy_line(loaded, kv, prompt)?, middle))
        }
        _ => None,
    };
    let computed = (stats.prefilled + stats.repaired) as f64 / prompt.len() as f64;
    Ok(Sample {
        edit: case.edit,
        first,
        each: sum / cold.answer.len() as f64,
        same,
        computed,
        time,
        hit,
    })
}

/// The greedy answer from a cache that holds the prompt, up to the end of its first line.
fn greedy_line(loaded: &Loaded, mut kv: KvCache, prompt: &[u32]) -> anyhow::Result<String> {
    let (tokenizer, ends) = (&loaded.tokenizer, &loaded.sentinels.stops);
    let mut ids = prompt.to_vec();
    let mut line = Vec::new();
    while ids.len() < prompt.len() + LINE_TOKENS && !first_line_ends(&line) {
        let id = largest(kv.logits());
        if ends.contains(&id) {
            break;
        }
        line.extend_from_slice(tokenizer.token_bytes(id));
        ids.push(id);
        prefill(&loaded.model, &mut kv, &ids, &Cancel::new())?;
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// A newline behind the first byte: one that stands first belongs to the answer, see
/// [`lacuna_eval::metric::first_line`].
fn first_line_ends(line: &[u8]) -> bool {
    line.iter().skip(1).any(|b| *b == b'\n')
}

fn largest(logits: &[f32]) -> u32 {
    lacuna_kernels::ops::top(logits).index as u32
}

/// `Σ p · log(p/q)` in nats.
fn divergence(exact: &[f32], approximate: &[f32]) -> f64 {
    let normaliser = |logits: &[f32]| {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        largest + logits.iter().map(|l| (f64::from(*l) - largest).exp()).sum::<f64>().ln()
    };
    let (p_sum, q_sum) = (normaliser(exact), normaliser(approximate));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - p_sum, f64::from(*q) - q_sum);
        p.exp() * (p - q)
    };
    exact.iter().zip(approximate).map(term).sum()
}

fn row(name: &str, samples: &[Sample], n_tokens: usize) -> Row {
    let mean = |of: &dyn Fn(&Sample) -> f64, samples: &[Sample]| {
        samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64
    };
    let share =
        |of: &dyn Fn(&Sample) -> bool| mean(&|s: &Sample| f64::from(u8::from(of(s))), samples);
    let mut sorted: Vec<f64> = samples.iter().map(|s| s.first).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let of =
        |edit: Edit| samples.iter().copied().filter(|s| s.edit == edit).collect::<Vec<Sample>>();
    let by_edit = Edit::OF_FILES
        .into_iter()
        .map(|edit| (edit, of(edit)))
        .filter(|(_, samples)| !samples.is_empty());
    let by_edit = by_edit.map(|(edit, samples)| OfEdit {
        edit: edit.name(),
        kl_first: mean(&|s| s.first, &samples),
        computed: mean(&|s| s.computed, &samples),
    });
    let by_edit = by_edit.collect();
    Row {
        switch: name.to_owned(),
        samples: samples.len(),
        kl_first_mean: mean(&|s| s.first, samples),
        kl_first_p95: sorted[(sorted.len() - 1) * 95 / 100],
        kl_per_token: mean(&|s| s.each, samples),
        same_first_token: share(&|s| s.same > 0),
        same_answer: share(&|s| s.same == n_tokens),
        exact_match: samples
            .iter()
            .all(|s| s.hit.is_some())
            .then(|| share(&|s| s.hit == Some(true))),
        computed: mean(&|s| s.computed, samples),
        time: mean(&|s| s.time, samples),
        by_edit,
    }
}

fn print(model: &str, rows: &[Row], args: &Args) -> anyhow::Result<()> {
    let machine = Machine::here();
    let mut out = std::io::stdout().lock();
    if args.json {
        let object = serde_json::json!({ "model": model, "machine": machine, "tokens": args.tokens, "min_run": args.min_run, "rows": rows });
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
        return Ok(());
    }
    let n = args.tokens;
    writeln!(out, "{}\n", machine.line(threads::threads()))?;
    writeln!(
        out,
        "model {model}, {} samples, {n} tokens each, runs of {} tokens and more are moved\n",
        rows[0].samples, args.min_run
    )?;
    writeln!(
        out,
        "| switch | KL first token (nats) | p95 | KL a token | same first token | same {n} tokens | prompt computed | prefill time | exact match |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        writeln!(
            out,
            "| {} | {:.5} | {:.5} | {:.5} | {:.1} % | {:.1} % | {:.0} % | {:.2} | {} |",
            row.switch,
            row.kl_first_mean,
            row.kl_first_p95,
            row.kl_per_token,
            100.0 * row.same_first_token,
            100.0 * row.same_answer,
            100.0 * row.computed,
            row.time,
            row.exact_match
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share))
        )?;
    }
    if rows[0].by_edit.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = rows[0].by_edit.iter().map(|of| of.edit).collect();
    let mut table = |title: &str, cell: &dyn Fn(&OfEdit) -> String| -> std::io::Result<()> {
        writeln!(
            out,
            "\n{title}:\n\n| switch | {} |\n|---|{}",
            names.join(" | "),
            "---|".repeat(names.len())
        )?;
        for row in rows {
            writeln!(
                out,
                "| {} | {} |",
                row.switch,
                row.by_edit.iter().map(cell).collect::<Vec<_>>().join(" | ")
            )?;
        }
        Ok(())
    };
    table("KL of the first token by edit", &|of| format!("{:.5}", of.kl_first))?;
    table("Share of the prompt that was computed, by edit", &|of| {
        format!("{:.0} %", 100.0 * of.computed)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<&str> {
        text.lines().collect()
    }

    #[test]
    fn edits_change_what_they_say_and_leave_the_line_of_the_cursor() {
        let text: String = (0..90).map(|i| format!("line {i}\n")).collect();
        let at = text.find("line 50").expect("there") + 4;
        let (prefix, suffix) = text.split_at(at);
        for seed in 0..50 {
            for edit in Edit::OF_FILES {
                let (above, below) =
                    edit.apply((prefix, suffix), &mut Random(seed)).expect("long enough");
                assert_eq!(above.rsplit('\n').next(), Some("line"), "{edit:?}");
                assert!(below.starts_with(" 50\n"), "{edit:?}");
                let grown = lines(&above).len() as i64 - lines(prefix).len() as i64;
                let (same_above, same_below) = (above == prefix, below == suffix);
                match edit {
                    Edit::LineAbove => assert!(grown == 1 && same_below),
                    Edit::LineRemoved | Edit::FirstLine => assert!(grown == -1 && same_below),
                    Edit::LineBelow => {
                        assert!(same_above && lines(&below).len() == lines(suffix).len() + 1)
                    }
                    Edit::BlockMoved => {
                        assert!(grown == 0 && same_below && !same_above);
                        let mut sorted = [lines(&above), lines(prefix)];
                        sorted.iter_mut().for_each(|lines| lines.sort_unstable());
                        assert_eq!(sorted[0], sorted[1]);
                    }
                }
            }
        }
        for edit in Edit::OF_FILES {
            assert_eq!(edit.apply(("a\nb", "\nc"), &mut Random(0)), None, "{edit:?}");
            assert_eq!(edit.apply(("", ""), &mut Random(0)), None, "{edit:?}");
        }
    }

    #[test]
    fn divergence_is_zero_for_the_same_and_positive_otherwise() {
        assert!(divergence(&[1.0, 2.0, -3.0], &[2.0, 3.0, -2.0]).abs() < 1e-12);
        let got = divergence(&[0.0, 0.0], &[0.0, (3.0f32).ln()]);
        assert!((got - (0.5 * (2.0f64).ln() + 0.5 * (2.0f64 / 3.0).ln())).abs() < 1e-6, "{got}");
    }
}
