//! `lacuna complete FILE --at LINE:COL`: one completion on the command line, by the same path as
//! the editor's.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lacuna_complete::{Explanation, Outcome, Reply, Request};
use lacuna_config::names::language_of_ending;
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_lsp::{About, Advice, Status, keep_secrets, quiet_advice, quiet_line};
use lacuna_serving::models;
use lacuna_text::{Document, Encoding, Position};

use crate::Answer;

/// Print what Lacuna would insert at a position of a file.
#[derive(clap::Args)]
pub struct Args {
    /// The file to complete; it is only read
    file: PathBuf,
    /// Where: line and column, both from 1; the column counts characters
    #[arg(long, value_name = "LINE:COL", value_parser = parse_position)]
    at: (u32, u32),
    /// Number of alternatives
    #[arg(short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    n: u8,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Wait for the whole answer instead of as long as an editor waits (latency.deadline_ms)
    #[arg(long)]
    no_deadline: bool,
    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,
    /// Also say what the model saw, what was cut and why
    #[arg(long)]
    explain: bool,
}

/// No file of source code is larger; more is refused before it is read.
const MAX_BYTES: u64 = 16 << 20;

fn parse_position(text: &str) -> Result<(u32, u32), String> {
    let (line, column) =
        text.split_once(':').ok_or("use LINE:COL, both from 1, for example 12:5")?;
    let number = |s: &str| s.parse::<u32>().ok().filter(|&n| n > 0);
    match (number(line), number(column)) {
        (Some(line), Some(column)) => Ok((line, column)),
        _ => Err("LINE and COL are whole numbers from 1, for example 12:5".to_owned()),
    }
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let text = read(&args.file)?;
    let document = Document::new(&text, 0);
    let (line, column) = args.at;
    let position = Position { line: line - 1, character: column - 1 };
    let Ok(cursor) = document.offset(position, Encoding::Utf32) else {
        bail!("--at {line}:{column} is outside {}: {}", args.file.display(), room(&text, line));
    };

    let resolved = lacuna_config::resolve(
        lacuna_config::Near::Inside(&args.file),
        None,
        args.model.as_deref(),
    )?
    .strict()?;
    let loaded = models::load_configured(&resolved.config.model)?;
    let mut config = resolved.config;
    if args.no_deadline {
        config.latency.deadline_ms = 0;
    }
    let completer = loaded.completer(&config)?;

    let language = Language::from_path(&args.file);
    let tree = SyntaxTree::parse(language, document.rope());
    let shown = relative(&args.file);
    let request = Request {
        n: usize::from(args.n),
        explain: args.explain,
        ..Request::at(&shown, Some(&shown), &document, &tree, cursor)
    };
    // What keeps an editor's document quiet keeps this one quiet.
    let uri = format!("file://{}", std::path::absolute(&args.file)?.display());
    let status = Status::new(&loaded.name, loaded.languages.clone());
    status.configure(&config, std::env::current_dir().into_iter().collect(), false);
    let mut about = About::new(&uri, &shown, language_id(&args.file, language));
    status.look_at(&mut about);
    let quiet = status.quiet(&about).or_else(|| quiet_line(&document, cursor));
    if let Some(quiet) = quiet {
        return say_quiet(args, quiet_advice(quiet), &loaded.name);
    }
    let mut reply = completer.complete(&request, &Cancel::new());
    keep_secrets(&document, cursor, &mut reply);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", as_json(&reply, &loaded.name))?;
    } else {
        if let Some(explanation) = &reply.explanation {
            explain(&mut out, explanation)?;
        }
        print(&mut out, &reply)?;
    }
    out.flush()?;
    Ok(match reply.outcome {
        Outcome::Suggest(_) => Answer::Yes,
        Outcome::Silence(_) => Answer::No,
    })
}

/// Which lines or columns there are, counted from 1 as `--at` counts.
fn room(text: &str, line: u32) -> String {
    let (mut n_lines, mut n_chars) = (0, None);
    let mut rest = Some(text);
    while let Some(now) = rest {
        let end = now.find(['\n', '\r']).unwrap_or(now.len());
        n_lines += 1;
        if n_lines == line {
            n_chars = Some(now[..end].chars().count());
        }
        let after = &now[end..];
        rest = after.strip_prefix("\r\n").or_else(|| after.strip_prefix(['\n', '\r']));
    }
    match n_chars {
        Some(n) => format!("line {line} has columns 1 to {}", n + 1),
        None => format!("it has lines 1 to {n_lines}"),
    }
}

/// As an editor would name the language.
fn language_id(path: &Path, language: Language) -> &'static str {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    match (language, extension.as_str()) {
        (_, "jsx") => "javascriptreact",
        (Language::Tsx, _) => "typescriptreact",
        (Language::Text, "sh" | "bash") => "shellscript",
        (Language::Text, "htm") => "html",
        (Language::Text, "markdown") => "markdown",
        (Language::Text, "cs") => "csharp",
        (Language::Text, ending) => language_of_ending(ending).unwrap_or("plaintext"),
        (known, _) => known.name(),
    }
}

/// A file or line that is left alone: what the model would say is not asked.
fn say_quiet(args: &Args, advice: &Advice, model: &str) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::json!({
            "outcome": "silence", "reason": advice.code, "items": [], "model": model,
            "explain": args.explain.then(|| serde_json::json!({"meaning": advice.meaning, "remedy": advice.remedy})),
        });
        writeln!(out, "{json}")?;
    } else {
        if args.explain {
            writeln!(out, "[{}] {} {}", advice.code, advice.meaning, advice.remedy)?;
        }
        crate::say(&format!("no suggestion: {}", advice.code));
    }
    Ok(Answer::No)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let meta = std::fs::metadata(path)
        .with_context(|| format!("{name} cannot be read: check the path"))?;
    if meta.is_dir() {
        bail!("{name} is a directory: give a file");
    }
    if !meta.is_file() {
        bail!("{name} is not a regular file: give a file of source code");
    }
    if meta.len() > MAX_BYTES {
        bail!(
            "{name} is {} MB, more than the {} MB that can be completed",
            meta.len() >> 20,
            MAX_BYTES >> 20
        );
    }
    let bytes = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
    if bytes.contains(&0) {
        bail!("{name} is a binary file: give a file of source code");
    }
    String::from_utf8(bytes).map_err(|e| {
        anyhow::anyhow!(
            "{name} is not UTF-8 (byte {}): convert it first",
            e.utf8_error().valid_up_to()
        )
    })
}

/// The path as the model sees it: relative to the working directory where possible, `/` between its
/// parts.
fn relative(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let shown = match absolute.strip_prefix(&here) {
        Ok(inside) => inside,
        Err(_) => absolute.file_name().map_or(path, Path::new),
    };
    shown.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn print(out: &mut impl Write, reply: &Reply) -> std::io::Result<()> {
    match &reply.outcome {
        Outcome::Suggest(items) => {
            for (i, item) in items.iter().enumerate() {
                if items.len() > 1 {
                    writeln!(out, "--- {} (log-probability {:.2})", i + 1, item.logprob)?;
                }
                writeln!(out, "{}", item.text)?;
            }
        }
        Outcome::Silence(reason) => crate::say(&format!("no suggestion: {}", reason.code())),
    }
    Ok(())
}

fn as_json(reply: &Reply, model: &str) -> serde_json::Value {
    let (outcome, reason, items) = match &reply.outcome {
        Outcome::Suggest(items) => ("suggest", None, items.as_slice()),
        Outcome::Silence(reason) => ("silence", Some(reason.code()), &[][..]),
    };
    let t = reply.tokens;
    let tokens = serde_json::json!({
        "prompt": t.prompt, "cached": t.cached + t.resumed + t.shifted, "prefilled": t.prefilled + t.repaired,
        "generated": t.generated, "drafted": t.drafted, "accepted": t.accepted,
    });
    let mut json = serde_json::json!({
        "outcome": outcome, "reason": reason, "items": items, "model": model, "tokens": tokens, "ms": reply.ms,
    });
    if let Some(explanation) = &reply.explanation {
        json["explain"] = serde_json::json!(explanation);
    }
    json
}

fn explain(out: &mut impl Write, explanation: &Explanation) -> std::io::Result<()> {
    let bold = if std::io::stdout().is_terminal() { ("\u{1b}[1m", "\u{1b}[0m") } else { ("", "") };
    for (name, text) in &explanation.prompt {
        writeln!(
            out,
            "{}[{name}]{}{}{text}",
            bold.0,
            bold.1,
            if text.is_empty() { "" } else { " " }
        )?;
    }
    for (text, score) in &explanation.excerpts {
        writeln!(out, "{}[excerpt {score:.2}]{} {text}", bold.0, bold.1)?;
    }
    for line in &explanation.lines {
        let said = if line.suffix.is_empty() {
            String::new()
        } else {
            format!(", suffix {:.2}", line.suffix.iter().sum::<f32>())
        };
        writeln!(out, "{}[line {:.2}{said}]{} {:?}", bold.0, line.score, bold.1, line.text)?;
    }
    for filter in &explanation.filters {
        match &filter.after {
            Some(after) => writeln!(
                out,
                "{}[filter {}]{} {:?} -> {after:?}",
                bold.0, filter.name, bold.1, filter.before
            )?,
            None => writeln!(
                out,
                "{}[filter {}]{} {:?} dropped",
                bold.0, filter.name, bold.1, filter.before
            )?,
        }
    }
    writeln!(out, "{}[completion]{}", bold.0, bold.1)
}
