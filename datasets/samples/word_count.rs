//! Counts the words of the files named on the command line, most frequent first.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::ExitCode;

struct Options {
    limit: usize,
    paths: Vec<String>,
}

fn parse_options(args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { limit: 10, paths: Vec::new() };
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--limit" => {
                let value = args.next().ok_or("--limit needs a number")?;
                options.limit = value.parse().map_err(|_| format!("{value} is not a number"))?;
            }
            flag if flag.starts_with("--") => return Err(format!("unknown option {flag}")),
            _ => options.paths.push(arg),
        }
    }
    if options.paths.is_empty() {
        return Err("no files given".to_string());
    }
    Ok(options)
}

fn count_words(text: &str, counts: &mut HashMap<String, usize>) {
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.is_empty() {
            continue;
        }
        *counts.entry(word.to_lowercase()).or_insert(0) += 1;
    }
}

fn most_frequent(counts: &HashMap<String, usize>, limit: usize) -> Vec<(&str, usize)> {
    let mut pairs: Vec<(&str, usize)> = counts.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    pairs.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    pairs.truncate(limit);
    pairs
}

fn run(options: &Options) -> Result<(), String> {
    let mut counts = HashMap::new();
    for path in &options.paths {
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        count_words(&text, &mut counts);
    }
    for (word, count) in most_frequent(&counts, options.limit) {
        println!("{count:>7} {word}");
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse_options(env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
