//! Runs mining, tokenizer training and packing from a shell until `lacuna finetune mine` does.
//!
//! `mine documents SOURCES OUT [--decontaminate DIR]... [--sources-toml FILE]`, `mine tokenizer OUT`, `mine shards OUT TOKENS SEED`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use lacuna_train::{mine, tokenizer};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["documents", sources, out, rest @ ..] => documents(sources, Path::new(out), rest),
        ["tokenizer", out] => train_tokenizer(Path::new(out)),
        ["shards", out, tokens, seed] => shards(Path::new(out), tokens.parse()?, seed.parse()?),
        _ => Err("see the module comment".into()),
    }
}

fn documents(sources: &str, out: &Path, rest: &[&str]) -> Outcome {
    std::fs::create_dir_all(out)?;
    let mut decontaminate = Vec::new();
    let mut forbidden = Vec::new();
    for pair in rest.chunks(2) {
        match pair {
            ["--decontaminate", folder] => decontaminate.push(PathBuf::from(folder)),
            ["--forbidden", names] => forbidden.extend(names.split(',').map(str::to_owned)),
            _ => return Err("flags: --decontaminate DIR, --forbidden NAMES".into()),
        }
    }
    let config = mine::MineConfig {
        sources: sources.into(),
        decontaminate,
        forbidden,
        seed: 1,
        limits: Default::default(),
        balance: Default::default(),
    };
    let (documents, report) = mine::run(&config, &|p| eprintln!("{} {}/{}", p.step, p.done, p.total), &AtomicBool::new(false))?;
    mine::document::write(&out.join("documents.jsonl.zst"), &documents)?;
    std::fs::write(out.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

fn train_tokenizer(out: &Path) -> Outcome {
    let documents = mine::document::read(&out.join("documents.jsonl.zst"))?;
    let json = tokenizer::train(&documents, &Default::default(), &AtomicBool::new(false))?;
    std::fs::write(out.join("tokenizer.json"), json)?;
    Ok(())
}

fn shards(out: &Path, tokens: f64, seed: u64) -> Outcome {
    let bytes = std::fs::read(out.join("tokenizer.json"))?;
    let documents = mine::document::read(&out.join("documents.jsonl.zst"))?;
    let config = lacuna_train::pack::ShardConfig { train_tokens: tokens as u64, seed, ..Default::default() };
    let built = lacuna_train::pack::build(
        &documents,
        &bytes,
        &config,
        &out.join("../shards"),
        &|done, total| {
            if done % 10_000 == 0 {
                eprintln!("{done}/{total}")
            }
        },
        &AtomicBool::new(false),
    )?;
    println!("{built:#?}");
    Ok(())
}
