//! `lacuna bench replay`: keystroke traces replayed through the language server's document path,
//! and llama-server beside us.
//!
//! [`trace`] reads, [`editor`] is the buffer, [`ours`] and [`peer`] are the two systems,
//! [`summary`] what is kept of a keystroke. The systems take turns trace by trace, each with the
//! machine to itself.

mod editor;
mod ours;
mod peer;
pub mod summary;
pub mod trace;
mod usage;

use std::path::PathBuf;

use anyhow::{Context, bail};
use lacuna_complete::Exactly;
use lacuna_config::{EagernessSetting, ShowConfig};
use lacuna_engine::set_threads;
use lacuna_kernels::{isa, threads};
use lacuna_serving::models;

use self::editor::Editor;
use self::ours::Ours;
use self::peer::{LlamaServer, LlamaVim};
use self::summary::{How, Key, Level, Screen, Side};
use self::trace::{Event, Kind, Trace};
use super::machine::Machine;
use super::record::{Record, Replay};
use super::{made, peer as llama_bench};

/// Replay keystroke traces: latency, reuse of the cache, flicker, waste; beside llama-server
///
/// After every event of a trace one completion is asked for. As fast as possible (the default),
/// each is waited for and nothing is prepared in between; in real time, a request is superseded by
/// the next keystroke, and pauses are used. Where each is waited for, lines are inserted above the
/// cursor at the end of a trace, to see what of the prompt stays in the cache.
#[derive(clap::Args)]
pub struct Args {
    /// Traces: JSON lines, plain or gzip (`lacuna lsp --record` writes them)
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// Model [default: the configured one, else the embedded model]
    #[arg(long, value_name = "M", conflicts_with = "like")]
    model: Option<String>,
    /// Random weights of this shape instead, for example qwen2.5-coder-0.5b; made in --cache when
    /// they are not there
    #[arg(long, value_name = "SHAPE")]
    like: Option<String>,
    /// The system to compare with, on the same weights (with --like, or --model DIR); its build
    /// comes from tests/peers/llama_cpp.sh
    #[arg(long, value_name = "SYSTEM")]
    against: Option<Against>,
    /// Where llama-server is [default: beside llama-bench: LACUNA_LLAMA_BENCH, target/peers, PATH]
    #[arg(long, value_name = "PATH", requires = "against")]
    llama_server: Option<PathBuf>,
    /// Generate exactly so many tokens on both sides, whatever they are (for random weights)
    /// [default: until the rules say stop]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    tokens: Option<u16>,
    /// Replay at these levels of show.eagerness, one after the other: suggestions in 100 keystrokes
    /// and CPU-seconds in 1,000, and for the first all the rest; without a value at all three
    /// [default: the configured one]
    #[arg(long, value_name = "LEVEL,…", value_delimiter = ',', num_args = 0..=1, default_missing_value = "low,normal,high")]
    eagerness: Vec<EagernessSetting>,
    /// Replay at the pace of the traces
    #[arg(long)]
    real_time: bool,
    /// Traces at most, and events of each
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    max_traces: usize,
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    max_events: usize,
    /// Threads for both sides; 0 is all cores
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Where models are kept between runs
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    cache: PathBuf,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Also write the JSON object to this file; bench report makes tables and graphs of it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Lines inserted above the cursor at the end of each trace.
const LINES_ABOVE: usize = 6;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Against {
    #[value(name = "llama-server")]
    LlamaServer,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let active = isa::selected().map_err(Clone::clone)?.isa();
    set_threads(usize::from(args.threads));
    let mut traces: Vec<Trace> = Vec::new();
    for path in &args.traces {
        traces.extend(trace::read(path, args.max_traces - traces.len())?);
        if traces.len() == args.max_traces {
            break;
        }
    }
    let model = Files::of(args)?;
    let resolved = lacuna_config::resolve_here(model.ours.as_deref())?.strict()?;
    let loaded = match &model.packed {
        Some((file, tokenizer)) => models::load_apart(&model.name, file, tokenizer)?,
        None => models::load_configured(&resolved.config.model)?,
    };
    let mut settings = loaded.settings(&resolved.config)?;
    settings.background = args.real_time;
    let tokens = args.tokens.map(usize::from);
    if let Some(n) = tokens {
        // The caches have room for them.
        settings.block_tokens = settings.block_tokens.max(Exactly::new(n).sampling().max_tokens);
        settings.deadline = std::time::Duration::ZERO;
        // Random weights repeat themselves, and nearly every draft is right: more than code would
        // let it be.
        settings.drafts = false;
    }
    let about = format!("{}, prompts of at most {} tokens", loaded.name, settings.prompt_tokens);
    set_threads(usize::from(args.threads));
    let show = &resolved.config.show;
    let mut eagerness =
        args.eagerness.iter().copied().chain(args.eagerness.is_empty().then_some(show.eagerness));
    let at = |eagerness| {
        Ours::new(
            loaded.completer_with(settings.clone()),
            &ShowConfig { eagerness, ..show.clone() },
            tokens,
        )
    };
    let first = eagerness.next().unwrap_or_default();
    let ours = at(first);
    let server = match (&model.gguf, args.against) {
        (Some(gguf), Some(Against::LlamaServer)) => {
            let program = llama_server(args)?;
            super::output::note(&format!("starting {}", program.display()));
            Some((LlamaServer::start(&program, gguf, threads::threads())?, gguf.clone()))
        }
        _ => None,
    };

    let (mut our_keys, mut peer_keys) = (Vec::new(), Vec::new());
    let (mut our_lines, mut peer_lines) = (Vec::new(), Vec::new());
    let mut cpu = 0.0;
    for (index, trace) in traces.iter().enumerate() {
        super::output::note(&format!("trace {} of {}: {}", index + 1, traces.len(), trace.path));
        let events = &trace.events[..trace.events.len().min(args.max_events)];
        let of_trace = || format!("trace {} ({})", trace.id, trace.path);
        cpu += our_keystrokes(
            &ours,
            (index, trace),
            events,
            args.real_time,
            &mut our_keys,
            Some(&mut our_lines),
        )
        .with_context(of_trace)?;
        if let Some((server, _)) = &server {
            let answers = peer_keystrokes(server, trace, events, args, &mut peer_lines)
                .with_context(of_trace)?;
            keep(index, events, answers.into_iter(), &mut peer_keys);
        }
    }
    let keystrokes = our_keys.len();
    let mut levels = vec![Level::of(first, &our_keys, cpu)];
    for level in eagerness {
        super::output::note(&format!("once more, with show.eagerness = {level:?}"));
        let (ours, mut keys, mut cpu) = (at(level), Vec::new(), 0.0);
        for (index, trace) in traces.iter().enumerate() {
            let events = &trace.events[..trace.events.len().min(args.max_events)];
            cpu += our_keystrokes(&ours, (index, trace), events, args.real_time, &mut keys, None)?;
        }
        levels.push(Level::of(level, &keys, cpu));
    }
    let mut sides = vec![Side::of(
        "lacuna".to_owned(),
        about,
        our_keys,
        &our_lines,
        usage::of_process(std::process::id()),
    )];
    if let Some((server, gguf)) = &server {
        let file = gguf.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let about = format!(
            "{file}, driven as llama.vim does: 256 + 64 lines, ring chunks, --cache-reuse 256"
        );
        sides.push(Side::of(
            "llama-server".to_owned(),
            about,
            peer_keys,
            &peer_lines,
            server.usage(),
        ));
    }
    let record = Replay {
        machine: Machine::here(),
        threads: threads::threads(),
        like: model.name,
        isa: active.name().to_owned(),
        real_time: args.real_time,
        tokens,
        traces: traces.len(),
        keystrokes,
        sides,
        levels,
    };
    super::output::deliver(&Record::Replay(record), args.output.as_deref(), args.json)
}

/// The keystrokes of a trace on our side, and, where they are asked for, lines inserted above the
/// cursor at its end. The CPU-seconds that the keystrokes took.
fn our_keystrokes(
    ours: &Ours,
    (index, trace): (usize, &Trace),
    events: &[Event],
    real_time: bool,
    keys: &mut Vec<Key>,
    lines: Option<&mut Vec<Key>>,
) -> anyhow::Result<f64> {
    let cpu = || usage::of_process(std::process::id()).cpu_seconds;
    ours.open(trace);
    let before = cpu();
    let (answers, spent) = if real_time {
        let answers = ours.in_real_time(trace, events)?;
        ours.settle();
        (answers, cpu() - before)
    } else {
        let mut editor = Editor::new(trace);
        let mut versions = 1..;
        let mut version = || versions.next().unwrap_or(i32::MAX);
        let keystroke = |(i, event): (usize, &Event)| {
            ours.typed(trace, &mut editor, event, version()).with_context(|| format!("event {i}"))
        };
        let answers =
            events.iter().enumerate().map(keystroke).collect::<anyhow::Result<Vec<_>>>()?;
        let spent = cpu() - before;
        if let Some(lines) = lines {
            lines_above(&mut editor, lines, |editor, event| {
                Ok(ours.elsewhere(trace, editor, event, version())?.key)
            })?;
        }
        (answers, spent)
    };
    ours.close(trace);
    keep(index, events, answers.into_iter().map(|a| (a.key, a.text)), keys);
    Ok(spent)
}

fn peer_keystrokes(
    server: &LlamaServer,
    trace: &Trace,
    events: &[Event],
    args: &Args,
    lines: &mut Vec<Key>,
) -> anyhow::Result<Vec<(Key, Option<String>)>> {
    let mut editor = Editor::new(trace);
    let mut vim = LlamaVim::new(&trace.path, args.tokens.map(usize::from));
    let first = events.first().map_or(0, |e| e.t);
    let mut now = 0;
    let mut keys = Vec::new();
    for event in events {
        let begun = std::time::Instant::now();
        editor.apply(event)?;
        now = event.t - first;
        let answer = vim.keystroke(server, &editor, now)?;
        keys.push((
            peer_key(event, &answer, begun),
            (!answer.text.is_empty()).then_some(answer.text),
        ));
    }
    if !args.real_time {
        lines_above(&mut editor, lines, |editor, event| {
            let begun = std::time::Instant::now();
            editor.apply_elsewhere(event)?;
            Ok(peer_key(event, &vim.keystroke(server, editor, now)?, begun))
        })?;
    }
    Ok(keys)
}

fn peer_key(event: &Event, answer: &peer::Answer, begun: std::time::Instant) -> Key {
    let how = match (answer.from_memory, answer.cached * 2 >= answer.cached + answer.prefilled) {
        (true, _) => How::Memory,
        (false, true) => How::Warm,
        (false, false) => How::Cold,
    };
    Key {
        how,
        prompt: answer.cached + answer.prefilled,
        cached: answer.cached,
        prefilled: answer.prefilled,
        generated: answer.generated,
        ms: Some(begun.elapsed().as_secs_f64() * 1e3),
        ..Key::of(Kind::of(event))
    }
}

/// A line is inserted somewhere above the cursor, a completion asked for, and the line taken back
/// (with another completion, which brings the cache back to where it was), [`LINES_ABOVE`] times.
/// `ask` makes an edit and says what came of the completion at the cursor.
fn lines_above(
    editor: &mut Editor,
    all: &mut Vec<Key>,
    mut ask: impl FnMut(&mut Editor, &Event) -> anyhow::Result<Key>,
) -> anyhow::Result<()> {
    for _ in 0..LINES_ABOVE {
        // Spread over the lines above.
        let Some([insert, take_back]) =
            editor.line_above((all.len() + 1).wrapping_mul(2_654_435_769) >> 8)
        else {
            break;
        };
        all.push(ask(editor, &insert)?);
        ask(editor, &take_back)?;
    }
    Ok(())
}

/// Numbers the keystrokes of a trace and notes what the screen made of them.
fn keep(
    trace: usize,
    events: &[Event],
    answers: impl Iterator<Item = (Key, Option<String>)>,
    all: &mut Vec<Key>,
) {
    let mut screen = Screen::default();
    for ((i, event), (mut key, text)) in events.iter().enumerate().zip(answers) {
        let inserted = (event.del == 0 && !event.ins.is_empty()).then_some(event.ins.as_str());
        let text = text.filter(|_| key.ms.is_some());
        key.shown = screen.is_new(inserted, text.as_deref());
        (key.flicker, key.wasted) = screen.keystroke(inserted, text.as_deref(), key.generated);
        (key.trace, key.event) = (trace, i);
        all.push(key);
    }
}

fn llama_server(args: &Args) -> anyhow::Result<PathBuf> {
    let program = match &args.llama_server {
        Some(program) => std::path::absolute(program)?,
        None => llama_bench::find(None, None)?.with_file_name("llama-server"),
    };
    if !program.is_file() {
        bail!(
            "{} is not a file: build it with tests/peers/llama_cpp.sh, or name it by --llama-server",
            program.display()
        );
    }
    Ok(program)
}

/// The model on both sides.
struct Files {
    name: String,
    /// As `--model` takes it.
    ours: Option<String>,
    /// Our INT4 file of random weights, and its tokenizer.
    packed: Option<(PathBuf, PathBuf)>,
    gguf: Option<PathBuf>,
}

impl Files {
    fn of(args: &Args) -> anyhow::Result<Files> {
        let dir = match (&args.like, &args.model) {
            (Some(like), _) => made::made(like, &args.cache)?,
            (None, Some(model)) => PathBuf::from(model),
            (None, None) => PathBuf::new(),
        };
        let gguf = match args.against {
            Some(_) if dir.is_dir() => Some(made::gguf(&dir, "q8_0")?),
            Some(_) => bail!(
                "--against needs weights that both sides load: give --like SHAPE, or --model DIR in Hugging Face layout"
            ),
            None => None,
        };
        let packed = match &args.like {
            Some(_) => Some((made::packed(&dir)?, dir.join("tokenizer.json"))),
            None => None,
        };
        let name = args
            .like
            .clone()
            .or_else(|| args.model.clone())
            .unwrap_or_else(|| models::EMBEDDED.to_owned());
        Ok(Files { name, ours: args.model.clone(), packed, gguf })
    }
}
