//! `lacuna telemetry bench`: what recording costs the request path, and how long a report over many
//! rows takes.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use lacuna_complete::{Item, Milliseconds, Outcome, Reply, Tokens};
use lacuna_context::Language;
use lacuna_lsp::documents::Documents;
use lacuna_lsp::telemetry::{Answered, Observer};
use lacuna_lsp::wire::Change;
use lacuna_serving::{models, say, write_file};
use lacuna_telemetry::Int;
use lacuna_telemetry::metrics::Zone;
use lacuna_telemetry::report::{Collector, Experiment};
use lacuna_telemetry::simulate::{Drafts, Team, TeamRows, simulate_team};
use lacuna_telemetry::stats::Plan;
use lacuna_telemetry::store::{Store, Window};
use lacuna_text::{Encoding, Position, Range};
use serde::Serialize;

use super::machine::Machine;

/// Measure what recording costs a request, and the report over many rows (in a temporary folder)
#[derive(clap::Args)]
pub struct Args {
    /// Rows of the store that is reported on
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    rows: u64,
    /// Keystrokes that are recorded to measure their cost
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    keys: u32,
    /// Folder for the store; it is removed afterwards [default: the system's]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Write the table to this file (Markdown)
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What an event may cost the request that causes it, and a report its reader.
const WANTED_EVENT_US: f64 = 50.0;
const WANTED_REPORT_SECONDS: f64 = 5.0;
const MILLION: u64 = 1_000_000;
/// Times that the report is made.
const REPORTS: usize = 3;

#[derive(Serialize)]
struct Measured {
    machine: Machine,
    keys: u32,
    edit: Cost,
    request: Cost,
    answer: Cost,
    store: Size,
}

/// Microseconds on the caller's thread.
#[derive(Serialize)]
struct Cost {
    p50: f64,
    p99: f64,
    p999: f64,
    most: f64,
}

impl Cost {
    fn of(mut times: Vec<Duration>) -> Cost {
        times.sort_unstable();
        let at = |p: f64| times[((times.len() - 1) as f64 * p) as usize].as_nanos() as f64 / 1000.0;
        Cost { p50: at(0.5), p99: at(0.99), p999: at(0.999), most: at(1.0) }
    }
}

#[derive(Serialize)]
struct Size {
    rows: u64,
    requests: u64,
    suggestions: u64,
    activity: u64,
    file_bytes: u64,
    write_seconds: f64,
    /// In ascending order.
    report_seconds: Vec<f64>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let base = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("lacuna-telemetry-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    let measured = measure(args, &folder);
    let _ = std::fs::remove_dir_all(&folder);
    let measured = measured?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&measured)?)?;
    } else if let Some(path) = &args.output {
        write_file(path, table(&measured).as_bytes())?;
        say(&format!("wrote {}", path.display()));
    } else {
        write!(out, "{}", table(&measured))?;
    }
    Ok(())
}

fn measure(args: &Args, folder: &Path) -> anyhow::Result<Measured> {
    let team = simulate_team(&Team::default());
    let [edit, request, answer] = request_path(folder, args.keys, &team)?;
    let store = reports(&folder.join("rows.db"), args.rows, &team)?;
    Ok(Measured { machine: Machine::here(), keys: args.keys, edit, request, answer, store })
}

fn table(measured: &Measured) -> String {
    let Measured { machine, keys, edit, request, answer, store } = measured;
    let threads = machine.cores.min(lacuna_telemetry::report::MAX_THREADS);
    let mut out = format!(
        "# Telemetry: the cost of an event, and of a report over {} rows\n\nWritten by `lacuna telemetry bench -o FILE`.\n\n{}\n\n",
        if store.rows.is_multiple_of(MILLION) {
            format!("{} million", store.rows / MILLION)
        } else {
            store.rows.to_string()
        },
        machine.line(threads)
    );
    let _ = writeln!(
        out,
        "Microseconds of the request path, on the caller's thread, {keys} keystrokes with a request each in a file of 1,000 lines, an \
         experiment running and the writer at work beside. Wanted: below {WANTED_EVENT_US} µs an event.\n\n| event | p50 | p99 | p99.9 | \
         longest |\n|---|---|---|---|---|"
    );
    for (name, cost) in [("edit", edit), ("request comes in", request), ("answer goes out", answer)]
    {
        let _ = writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {:.1} | {:.0} |",
            cost.p50, cost.p99, cost.p999, cost.most
        );
    }
    let seconds: Vec<String> = store.report_seconds.iter().map(|s| format!("{s:.2}")).collect();
    let _ = writeln!(
        out,
        "\nThe simulated team's rows over and over, with its experiment. Wanted: a report in less than {WANTED_REPORT_SECONDS} s.\n\n\
         | | |\n|---|---|\n| rows | {} ({} requests, {} suggestions, {} of active time) |\n| file | {:.0} MB, {} bytes a row |\n\
         | written in | {:.1} s |\n| report, experiment included, {REPORTS} times | {} s |",
        store.rows,
        store.requests,
        store.suggestions,
        store.activity,
        store.file_bytes as f64 / 1e6,
        store.file_bytes / store.rows,
        store.write_seconds,
        seconds.join(", ")
    );
    out
}

const URI: &str = "file:///bench.py";

/// Types and asks as an editor does, through what the language server calls; every call is timed.
fn request_path(folder: &Path, keys: u32, team: &TeamRows) -> anyhow::Result<[Cost; 3]> {
    let mut config = lacuna_config::Config::default();
    config.telemetry.dir = folder.to_string_lossy().into_owned();
    let definition = serde_json::to_string(&team.definition)?;
    Store::open(&config.telemetry.store_path()?)?.start_experiment(
        team.experiment,
        &definition,
        lacuna_telemetry::system_ms(),
    )?;
    let observer = Observer::start(&config, &models::load(models::EMBEDDED)?)
        .context("telemetry is off by default")?;
    let mut documents = Documents::default();
    let text: String = (0..250)
        .map(|i| {
            format!(
                "def compute_{i}(value, other):\n    total = value + other\n    return total\n\n"
            )
        })
        .collect();
    documents.open(URI, Language::Python, 1, &text.into());
    observer.opened(URI, Language::Python);
    // In the middle of the file, at the end of a line in a function.
    let (line, start) = (501, "    total = value + other".len() as u32);
    let item = "self.compute(value, other)";
    let mut typed = 0;
    let (mut edits, mut requests, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for key in 0..keys {
        // Every eighth suggestion is accepted, the others are written over; after forty keys the
        // line is as it was.
        let (from, text) = match key {
            k if k % 40 == 39 => (0, ""),
            k if k % 8 == 7 => (typed, item),
            k if k % 8 == 0 => (typed, " "),
            _ => (typed, "x"),
        };
        let at = |character| Position { line, character: start + character };
        let range = Range { start: at(from), end: at(typed) };
        let edited = documents.change(
            URI,
            Some(2 + key as i32),
            &[Change::new(Some(range), text)],
            Encoding::Utf8,
        );
        let edited = edited.ok().context("an edit of a document of ours")?;
        typed = from + text.len() as u32;
        let begun = Instant::now();
        observer.changed(URI, &edited.edits);
        edits.push(begun.elapsed());

        let view = &edited.view;
        let cursor = view.document.offset(at(typed), Encoding::Utf8)?;
        let begun = Instant::now();
        let asked = observer.asked(URI, cursor, true);
        requests.push(begun.elapsed());
        let word =
            lacuna_context::cursor_facts(&view.tree, view.document.rope(), cursor).word_start;
        let restated = view.document.slice(word..cursor);
        let reply = Reply {
            outcome: Outcome::Suggest(vec![Item {
                text: item.to_owned(),
                logprob: -1.0,
                mean: 0.5,
                probability: None,
            }]),
            from_memory: false,
            probability: None,
            tokens: Tokens {
                prompt: 900,
                cached: 890,
                prefilled: 10,
                generated: 8,
                ..Tokens::default()
            },
            ms: Milliseconds::default(),
            explanation: None,
        };
        let answered = Answered {
            uri: URI,
            view,
            cursor,
            start: word,
            restated: &restated,
            reply: &reply,
            quiet: None,
            stale: false,
        };
        let begun = Instant::now();
        observer.answered(&asked, &answered);
        answers.push(begun.elapsed());
    }
    observer.finish();
    Ok([edits, requests, answers].map(Cost::of))
}

/// Rows of one batch and of one session.
const BATCH: usize = 20_000;
const DAY_MS: i64 = 86_400_000;

fn reports(path: &Path, rows: u64, team: &TeamRows) -> anyhow::Result<Size> {
    let experiment = Experiment {
        name: team.experiment.to_owned(),
        definition: team.definition.clone(),
        started: team.started,
        stopped: None,
    };
    let begun = Instant::now();
    fill(path, team, rows)?;
    let write_seconds = begun.elapsed().as_secs_f64();
    // A report is made of a file that lies on the disk, not while the system is still writing it
    // there.
    std::fs::File::open(path)?.sync_all()?;
    let file_bytes = std::fs::metadata(path)?.len();
    let mut report_seconds = Vec::new();
    let mut counted = (0, 0);
    for _ in 0..REPORTS {
        let begun = Instant::now();
        let collector = Collector::of_store(
            path,
            &Window::ALL,
            Zone::Local,
            std::slice::from_ref(&experiment),
        )?;
        let report = collector.report(None, &Plan::default());
        report_seconds.push(begun.elapsed().as_secs_f64());
        counted = (report.summary.all.requests, report.summary.all.suggestions);
    }
    report_seconds.sort_by(f64::total_cmp);
    let (requests, suggestions) = counted;
    let activity = rows - requests - suggestions;
    Ok(Size { rows, requests, suggestions, activity, file_bytes, write_seconds, report_seconds })
}

/// The simulated team's rows over and over, each round a day later than the one before.
fn fill(path: &Path, team: &TeamRows, rows: u64) -> anyhow::Result<()> {
    let drafts = Drafts::new(&team.names);
    let documents: Vec<Arc<str>> = (0..500).map(|i| format!("file:///{i}").into()).collect();
    let mut store = Store::open(path)?;
    let mut events = team.events.iter().cycle().enumerate();
    let mut left = rows as usize;
    while left > 0 {
        let session = store.begin_session(0)?;
        let take = left.min(BATCH);
        let mut changes = Vec::with_capacity(2 * take);
        for (seq, (i, event)) in events.by_ref().take(take).enumerate() {
            let round = (i / team.events.len()) as i64;
            let mut event = *event;
            event.ints.set(Int::At, event.int(Int::At).map(|at| at + round * DAY_MS));
            drafts.add(seq as u32 + 1, &event, &documents[i % documents.len()], &mut changes);
        }
        store.write(session, &changes)?;
        store.end_session(session, 0, 0)?;
        left -= take;
    }
    Ok(())
}
