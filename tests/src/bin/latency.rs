//! The latency benchmark: how long an editor waits for a suggestion, measured at its end of the
//! pipe.
//!
//! `cargo run --release -p lacuna-tests --bin latency [-- --model M] [--beam N] [--positions 200] [--seed 1]`
//!
//! Opens the files of `datasets/samples` in one `lacuna lsp` and goes to seeded places in them. At
//! each it takes back the last two characters (at every other place also the rest of the line, as
//! while writing new code), asks once as an editor does when the cursor arrives, types the two
//! characters, and asks again. The second request is the warm one: the time from sending it to its
//! reply is what is reported. Prints a Markdown table.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lacuna_tests::{Client, Home, Random, binary, percentile, workspace};
use serde_json::{Value, json};

/// Times that the start is measured.
const STARTS: usize = 5;

struct Options {
    model: Option<String>,
    /// Hypotheses of a line; `None`: the model's.
    beam: Option<usize>,
    positions: usize,
    seed: u64,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { model: None, beam: None, positions: 200, seed: 1 };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            // The server runs elsewhere: a relative path must not change its meaning.
            "--model" => options.model = Some(std::path::absolute(&value)?.display().to_string()),
            "--beam" => {
                options.beam = Some(value.parse().with_context(|| format!("--beam {value}"))?)
            }
            "--positions" => {
                options.positions = value.parse().with_context(|| format!("--positions {value}"))?
            }
            "--seed" => options.seed = value.parse().with_context(|| format!("--seed {value}"))?,
            _ => bail!("unknown option {name}: use --model M, --beam N, --positions N, --seed N"),
        }
    }
    Ok(options)
}

struct File {
    uri: String,
    language: &'static str,
    text: String,
}

/// The sample files in the order of their names.
fn files() -> anyhow::Result<Vec<File>> {
    let dir = workspace().join("datasets/samples");
    let mut paths: Vec<_> =
        std::fs::read_dir(&dir)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let language = match path.extension().and_then(|e| e.to_str()) {
            Some("py") => "python",
            Some("rs") => "rust",
            Some("js") => "javascript",
            Some("jsx") => "javascriptreact",
            Some("ts") => "typescript",
            Some("go") => "go",
            Some("java") => "java",
            _ => continue,
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        files.push(File {
            uri: format!("file:///samples/{name}"),
            language,
            text: std::fs::read_to_string(&path)?,
        });
    }
    Ok(files)
}

/// A place where a user may be typing: a byte offset with at least two characters before it on its
/// line.
struct Place {
    file: usize,
    cursor: usize,
    /// The rest of the line is taken away: new code is being written.
    at_the_end: bool,
}

/// Ends of identifiers, places after `=`, `(` and `.`, and line ends: each kind as often as the
/// others.
fn places(files: &[File], n: usize, seed: u64) -> Vec<Place> {
    let mut kinds: [Vec<(usize, usize)>; 3] = Default::default();
    for (index, file) in files.iter().enumerate() {
        let bytes = file.text.as_bytes();
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        for cursor in 2..bytes.len() {
            let (before, after) = (bytes[cursor - 1], bytes[cursor]);
            // The two typed characters are on the cursor's line, and each is one byte.
            if !bytes[cursor - 2..cursor].iter().all(|b| b.is_ascii() && *b != b'\n')
                || before.is_ascii_whitespace()
            {
                continue;
            }
            match after {
                b'\n' => kinds[2].push((index, cursor)),
                _ if is_word(before) && !is_word(after) => kinds[0].push((index, cursor)),
                _ if matches!(before, b'=' | b'(' | b'.') => kinds[1].push((index, cursor)),
                _ => {}
            }
        }
    }
    let random = &mut Random::new(seed);
    let mut places = Vec::new();
    for i in 0..n {
        let kind = &mut kinds[i % 3];
        if kind.is_empty() {
            break;
        }
        let (file, cursor) = kind.swap_remove(random.below(kind.len()));
        places.push(Place { file, cursor, at_the_end: i % 2 == 0 });
    }
    places
}

/// What the server's log says about one request.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    cached: f64,
    prefilled: f64,
    generated: f64,
    from_memory: bool,
}

fn account(line: &str) -> Option<Account> {
    let field = |name: &str| {
        line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let number = |name: &str| field(name)?.parse().ok();
    Some(Account {
        cached: number("cached")?,
        prefilled: number("prefilled")?,
        generated: number("generated")?,
        from_memory: field("from_memory")? == "true",
    })
}

/// A server and its log.
struct Server {
    client: Client,
    log: Receiver<Account>,
}

fn start(home: &Home, options: &Options) -> anyhow::Result<Server> {
    let mut command = home.command(binary());
    command.arg("lsp").env("LACUNA_LOG", "lacuna=info").env("NO_COLOR", "1").stderr(Stdio::piped());
    if let Some(model) = &options.model {
        command.args(["--model", model]);
    }
    let mut client = Client::spawn(&mut command);
    let stderr = client.child().stderr.take().context("stderr is a pipe")?;
    let (to, log) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(account) = account(&line)
                && to.send(account).is_err()
            {
                break;
            }
        }
    });
    let mut settings = json!({});
    if let Some(beam) = options.beam {
        settings["model"] = json!({"beam": beam});
    }
    client.initialize(json!({
        "capabilities": {"general": {"positionEncodings": ["utf-8"]}},
        "initializationOptions": settings,
    }));
    Ok(Server { client, log })
}

/// One request: milliseconds from sending it to its reply, whether it suggests something, and the
/// server's account of it.
struct Answer {
    ms: f64,
    suggests: bool,
    account: Option<Account>,
}

impl Server {
    fn ask(&mut self, uri: &str, (line, character): (usize, usize)) -> Answer {
        let start = Instant::now();
        let id = self.client.complete(uri, line, character);
        let reply = self.client.reply(id);
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let suggests = reply["result"]["items"].as_array().is_some_and(|items| !items.is_empty());
        // The line is written before the reply is sent; a server that logs otherwise has no
        // account.
        let account = self.log.recv_timeout(Duration::from_secs(1)).ok();
        Answer { ms, suggests, account }
    }

    fn edit(
        &mut self,
        uri: &str,
        version: &mut i64,
        line: usize,
        columns: std::ops::Range<usize>,
        text: &str,
    ) {
        *version += 1;
        let position = |character: usize| json!({"line": line, "character": character});
        let range = json!({"start": position(columns.start), "end": position(columns.end)});
        self.client.change(uri, *version, &[json!({"range": range, "text": text})]);
    }

    /// Goes to a place, types two characters there, and restores the text. Returns the request on
    /// arrival and the warm one.
    fn visit(&mut self, file: &File, place: &Place, version: &mut i64) -> (Answer, Answer) {
        let before = &file.text[..place.cursor];
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let rest = file.text[place.cursor..].lines().next().unwrap_or("");
        if place.at_the_end {
            self.edit(&file.uri, version, line, column..column + rest.len(), "");
        }
        self.edit(&file.uri, version, line, column - 2..column, "");
        let arrival = self.ask(&file.uri, (line, column - 2));
        for i in [column - 2, column - 1] {
            let typed = &before[before.len() - (column - i)..][..1];
            self.edit(&file.uri, version, line, i..i, typed);
        }
        let warm = self.ask(&file.uri, (line, column));
        if place.at_the_end {
            self.edit(&file.uri, version, line, column..column, rest);
        }
        (arrival, warm)
    }
}

/// Milliseconds from starting the process to its first reply, `initialize` and `didOpen` included.
fn first_suggestion(home: &Home, options: &Options, file: &File) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut server = start(home, options)?;
    server.client.open(&file.uri, file.language, &file.text);
    let id = server.client.complete(&file.uri, file.text.lines().count() / 2, 0);
    server.client.reply(id);
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

fn row(name: &str, mut ms: Vec<f64>) -> String {
    ms.sort_by(f64::total_cmp);
    let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|p| percentile(&ms, p));
    format!("| {name} | {} | {p50:.1} | {p95:.1} | {p99:.1} | {max:.1} |", ms.len())
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let all: Vec<f64> = values.collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// What a tool of this machine says, first line, or `unknown`.
fn told(program: &str, args: &[&str], line: impl Fn(&str) -> Option<&str>) -> String {
    let output = Command::new(program).args(args).current_dir(workspace()).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().find_map(line).unwrap_or("unknown").trim().to_owned()
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let home = Home::new();
    let files = files()?;
    let places = places(&files, options.positions, options.seed);
    binary();

    let starts: Vec<f64> = (0..STARTS)
        .map(|i| first_suggestion(&home, &options, &files[i % files.len()]))
        .collect::<Result<_, _>>()?;

    let mut server = start(&home, &options)?;
    let mut versions = vec![1; files.len()];
    for file in &files {
        server.client.open(&file.uri, file.language, &file.text);
    }
    let mut arrivals = Vec::new();
    let mut warm = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let (arrival, typed) = server.visit(&files[place.file], place, &mut versions[place.file]);
        arrivals.push(arrival);
        warm.push(typed);
        if (i + 1) % 50 == 0 {
            eprintln!("{} of {}", i + 1, places.len());
        }
    }
    let told_by_log = warm.iter().all(|a| a.account.is_some());
    server.client.result("shutdown", Value::Null);

    let from_memory = |answer: &&Answer| answer.account.is_some_and(|a| a.from_memory);
    let (memory, model): (Vec<&Answer>, Vec<&Answer>) = warm.iter().partition(from_memory);
    let ms = |answers: &[&Answer]| answers.iter().map(|a| a.ms).collect::<Vec<f64>>();
    let mut out = std::io::stdout().lock();
    let doctor_args =
        [&["doctor"][..], &options.model.as_deref().map_or(vec![], |m| vec!["--model", m])]
            .concat();
    let kernels = told(binary().to_str().context("a plain path")?, &doctor_args, |l| {
        l.strip_prefix("kernels ")
    });
    let cpu = told("cat", &["/proc/cpuinfo"], |l| {
        l.strip_prefix("model name")?.split_once(':').map(|(_, name)| name)
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let commit = told("git", &["rev-parse", "--short", "HEAD"], |line| Some(line));
    let profile = if cfg!(debug_assertions) { "dev, not for publication" } else { "release" };
    writeln!(
        out,
        "{cpu}, {cores} cores, kernels {kernels}; commit {commit}; build {profile}; model {}{}.",
        options.model.as_deref().unwrap_or("embedded"),
        options.beam.map_or_else(String::new, |beam| format!(", {beam} hypotheses"))
    )?;
    writeln!(
        out,
        "{} places in {} files, seed {}; milliseconds from request to reply over stdio.\n",
        warm.len(),
        files.len(),
        options.seed
    )?;
    writeln!(out, "| request | n | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|")?;
    writeln!(out, "{}", row("two characters typed (warm)", warm.iter().map(|a| a.ms).collect()))?;
    if told_by_log {
        writeln!(out, "{}", row("  of these, by the model", ms(&model)))?;
        writeln!(out, "{}", row("  of these, from memory", ms(&memory)))?;
    }
    writeln!(
        out,
        "{}",
        row("cursor moved to another place", arrivals.iter().map(|a| a.ms).collect())
    )?;
    writeln!(out, "{}\n", row("start to first reply", starts))?;
    let share = |n: usize| 100.0 * n as f64 / warm.len().max(1) as f64;
    writeln!(
        out,
        "Warm requests with a suggestion: {:.0} %.",
        share(warm.iter().filter(|a| a.suggests).count())
    )?;
    if told_by_log {
        let of = |value: fn(&Account) -> f64| {
            mean(model.iter().filter_map(|a| a.account.as_ref().map(value)))
        };
        writeln!(
            out,
            "Answered from memory: {:.0} %. By the model, tokens a request on average: {:.0} cached, {:.1} new, {:.1} generated.",
            share(memory.len()),
            of(|a| a.cached),
            of(|a| a.prefilled),
            of(|a| a.generated)
        )?;
    }
    Ok(())
}
