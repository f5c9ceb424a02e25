//! In how many complete files is a name called unbound? None should be: whatever a released file
//! uses, something binds.
//!
//!     cargo run -p lacuna-context --example unbound -- FOLDER… [--show N] [--most PERCENT]
//!
//! Prints a row a language: files with a module's rules, files passed over (names come from where
//! nobody sees them), files with a name that is wrongly called unbound. With `--most`, exits with 1
//! where a language has more than so many percent of them.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lacuna_context::{Language, Names, SyntaxTree};

/// Larger files are tables or bundles.
const MAX_BYTES: u64 = 200_000;

#[derive(Default)]
struct Row {
    files: usize,
    passed_over: usize,
    wrong: usize,
}

fn main() -> ExitCode {
    let (mut folders, mut show, mut most) = (Vec::new(), 0usize, f64::INFINITY);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--show" => show = args.next().and_then(|n| n.parse().ok()).unwrap_or(20),
            "--most" => most = args.next().and_then(|n| n.parse().ok()).unwrap_or(2.0),
            _ => folders.push(PathBuf::from(arg)),
        }
    }
    if folders.is_empty() {
        eprintln!("usage: unbound FOLDER… [--show N] [--most PERCENT]");
        return ExitCode::from(2);
    }
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    while let Some(path) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(std::fs::DirEntry::path);
        for entry in entries {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind)
                    if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() <= MAX_BYTES) =>
                {
                    look(&path, &mut rows, &mut show)
                }
                _ => {}
            }
        }
    }
    let mut is_fine = true;
    println!(
        "| language | files | passed over | with a name wrongly called unbound |\n|---|---|---|---|"
    );
    for (language, Row { files, passed_over, wrong }) in rows {
        let percent = 100.0 * wrong as f64 / files.max(1) as f64;
        is_fine &= percent <= most;
        println!("| {language} | {files} | {passed_over} | {wrong} ({percent:.2} %) |");
    }
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(path: &Path, rows: &mut BTreeMap<&str, Row>, show: &mut usize) {
    let language = Language::from_path(path);
    let is_product = path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.contains(".min."));
    if matches!(language, Language::Text | Language::C | Language::Cpp) || is_product {
        return;
    }
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let tree = SyntaxTree::parse_str(language, &text);
    // A file that is no whole program of this grammar (another version, a template) proves nothing.
    if tree.n_errors() > 0 {
        return;
    }
    let row = rows.entry(language.name()).or_default();
    row.files += 1;
    match Names::of(&tree, &text, 0) {
        None => row.passed_over += 1,
        Some(names) if names.unbound.is_empty() => {}
        Some(names) => {
            row.wrong += 1;
            if *show > 0 {
                *show -= 1;
                eprintln!("{}: {}", path.display(), names.unbound.join(", "));
            }
        }
    }
}
