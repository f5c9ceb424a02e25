//! `lacuna telemetry bench`: what recording costs the request path, and how reports scale.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{Collector, Experiment};
use lacuna_telemetry::simulate::{Team, TeamRows, simulate_team};
use lacuna_telemetry::stats::Plan;
use lacuna_telemetry::store::{Store, Window};
use lacuna_telemetry::track::{Answer as Offer, Change, Edit, Signal};
use lacuna_telemetry::{Draft, Int, Ints, Label, Options, Recorder, Text};
use serde_json::json;

use crate::Answer;

/// Measure what recording costs a request, and the report over many rows (in a temporary folder)
#[derive(clap::Args)]
pub struct Args {
    /// Rows of the store that is reported on
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// Keystrokes that are recorded to measure their cost
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    keys: u32,
    /// Folder for the store; it is removed afterwards [default: the system's]
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("lacuna-telemetry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let measured = measure(args, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    let (keys, rows) = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({"request_path": keys, "store": rows}))?;
    } else {
        writeln!(out, "recording, on the caller's thread ({} keystrokes, a request each, a writer beside)", args.keys)?;
        for (name, value) in keys.as_object().into_iter().flatten() {
            writeln!(out, "  {name:<24} {value} µs")?;
        }
        for (name, value) in rows.as_object().into_iter().flatten() {
            writeln!(out, "{name:<26} {value}")?;
        }
    }
    Ok(Answer::Yes)
}

fn measure(args: &Args, folder: &Path) -> anyhow::Result<(serde_json::Value, serde_json::Value)> {
    let keys = request_path(&folder.join("keys.db"), args.keys);
    let rows = reports(&folder.join("rows.db"), args.rows)?;
    Ok((keys, rows))
}

/// Types and asks as an editor does; every call is timed.
fn request_path(path: &Path, keys: u32) -> serde_json::Value {
    let recorder = Recorder::start(Options { flush: Duration::from_millis(200), ..Options::at(path.to_owned()) });
    let document: Arc<str> = "file:///bench.py".into();
    recorder.signal(Signal::Opened { document: &document, language: "python".into() });
    let (mut edits, mut answers) = (Vec::new(), Vec::new());
    let mut cursor = 0;
    let item = "self.compute(value, other_value)";
    for key in 0..keys {
        // Every eighth suggestion is accepted, the others are typed over; a new line every 40 keys.
        let text = match key {
            k if k % 8 == 7 => item,
            k if k % 40 == 39 => "\n",
            _ => "x",
        };
        let start = Instant::now();
        recorder.signal(Signal::Edited { document: &document, edit: Edit::new(cursor..cursor, text), arms: Label::NONE });
        edits.push(start.elapsed());
        cursor += text.len();
        let prefix = key.to_string();
        let start = Instant::now();
        recorder.signal(Signal::Requested { document: &document, cursor });
        let offer = Offer {
            document: &document,
            requested: recorder.now(),
            cursor,
            stem: "x",
            line_prefix: &prefix,
            right: "\n",
            items: &[item],
            reason: "",
            cancelled: false,
            texts: [const { Label::NONE }; Text::COUNT],
            ints: Ints::default().with(Int::LatencyUs, 1_000),
        };
        recorder.answered(&offer);
        answers.push(start.elapsed());
    }
    recorder.finish();
    let tell = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let at = |p: f64| (times[((times.len() - 1) as f64 * p) as usize].as_nanos() as f64 / 1000.0 * 100.0).round() / 100.0;
        json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "most": at(1.0)})
    };
    json!({"edit": tell(&mut edits), "request and answer": tell(&mut answers)})
}

/// Rows of one batch and of one session.
const BATCH: usize = 20_000;

fn reports(path: &Path, rows: u64) -> anyhow::Result<serde_json::Value> {
    let team = simulate_team(&Team::default());
    let experiment =
        Experiment { name: team.experiment.to_owned(), definition: team.definition.clone(), started: team.started, stopped: None };
    let start = Instant::now();
    fill(path, &team, rows)?;
    let filled = start.elapsed();
    let bytes = std::fs::metadata(path)?.len();
    let start = Instant::now();
    let collector = Collector::of_store(path, &Window::ALL, Zone::Local, &[experiment])?;
    let report = collector.report(None, &Plan::default());
    let took = start.elapsed();
    let all = &report.summary.all;
    Ok(json!({
        "rows": rows,
        "rows_by_kind": {"request": all.requests, "suggestion": all.suggestions, "activity": rows - all.requests - all.suggestions},
        "file_bytes": bytes,
        "bytes_per_row": bytes / rows,
        "write_seconds": filled.as_secs_f64(),
        "report_seconds": took.as_secs_f64(),
    }))
}

/// The simulated team's rows over and over, each round a fortnight later.
fn fill(path: &Path, team: &TeamRows, rows: u64) -> anyhow::Result<()> {
    let labels: Vec<Label> = (0..team.names.len() as u32).map(|n| Label::Shared(team.names.text(n).into())).collect();
    let documents: Vec<Arc<str>> = (0..500).map(|i| format!("file:///{i}").into()).collect();
    let mut store = Store::open(path)?;
    let mut events = team.events.iter().cycle().enumerate();
    let mut left = rows as usize;
    while left > 0 {
        let session = store.begin_session(0)?;
        let take = left.min(BATCH);
        let changes: Vec<Change> = events
            .by_ref()
            .take(take)
            .enumerate()
            .map(|(seq, (i, event))| {
                let round = (i / team.events.len()) as i64;
                let at = event.int(Int::At).unwrap_or(0) + round * 14 * 86_400_000 / 16;
                let texts = std::array::from_fn(|c| labels[event.texts[c] as usize].clone());
                let draft =
                    Draft { seq: seq as u32 + 1, document: Arc::clone(&documents[i % 500]), texts, ints: event.ints.with(Int::At, at) };
                Change::Row(Box::new(draft))
            })
            .collect();
        store.write(session, &changes)?;
        store.end_session(session, 0, 0)?;
        left -= take;
    }
    Ok(())
}
