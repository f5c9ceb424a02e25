//! Every parser of bytes that others made, as a function of those bytes: what fuzzers drive, and
//! tests with the committed corpora.
//!
//! `fuzz/` holds the corpora and the libFuzzer program; a target must neither panic nor take memory
//! or time that its input does not account for. What a parser answers is asserted where the parsers
//! are tested, not here.

use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lacuna_config::ContextConfig;
use lacuna_context::Language;
use lacuna_engine::{Model, Precision};
use lacuna_lsp::documents::Documents;
use lacuna_lsp::notebooks::{self, ChangedNotebook, OpenedNotebook};
use lacuna_lsp::settings;
use lacuna_lsp::wire::{self, Changed, Closed, Opened};
use lacuna_serving::json;
use lacuna_serving::left_alone::LeftAlone;
use lacuna_telemetry::Names;
use lacuna_telemetry::store::{Store, Window};
use lacuna_text::Encoding;
use serde::Deserialize;
use serde_json::Value;

/// A parser, as a function of bytes.
pub type Target = fn(&[u8]);

/// Name and function of every target; the name is also that of its corpus.
pub const TARGETS: [(&str, Target); 18] = [
    ("lsp", lsp),
    ("documents", documents),
    ("http", http),
    ("configuration", configuration),
    ("ignore", ignore),
    ("config-json", config_json),
    ("safetensors", safetensors),
    ("packed", packed),
    ("tokenizer", tokenizer),
    ("shards", shards),
    ("checkpoint", checkpoint),
    ("table", table),
    ("export", export),
    ("store", store),
    ("patch", patch),
    ("git", git),
    ("sse", sse),
    ("trace", trace),
];

/// The target of that name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

/// Framing of LSP messages.
fn lsp(bytes: &[u8]) {
    block_on(lacuna_lsp::read_messages(bytes));
}

/// What editors say of documents, notebooks and settings: a message a line, and what the server's
/// texts become by them.
fn documents(bytes: &[u8]) {
    let mut documents = Documents::default();
    let encodings = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32];
    for (i, line) in bytes.split(|b| *b == b'\n').take(64).enumerate() {
        let Ok(Value::Object(mut message)) = serde_json::from_str(&json::readable(line)) else {
            continue;
        };
        let mut params = message.remove("params").unwrap_or_default();
        let encoding = encodings[i % 3];
        match message.get("method").and_then(Value::as_str).unwrap_or_default() {
            "initialize" => wire::mend_initialize(&mut params),
            "textDocument/didOpen" => open(&mut documents, &params),
            "textDocument/didChange" => change(&mut documents, &params, encoding),
            "textDocument/didClose" => drop(
                Closed::deserialize(&params)
                    .map(|closed| documents.close(&closed.text_document.uri)),
            ),
            "workspace/didChangeConfiguration" => drop(settings::ours(&params)),
            "notebookDocument/didOpen" => {
                let Ok(opened) = OpenedNotebook::deserialize(&params) else { continue };
                documents.notebooks.opened(opened.notebook_document);
                for cell in opened.cell_text_documents {
                    open(&mut documents, &notebooks::opening(cell));
                }
            }
            "notebookDocument/didChange" => {
                let Ok(changed) = ChangedNotebook::deserialize(&params) else { continue };
                let cells = changed.change.cells;
                if let Some(structure) = cells.structure {
                    documents.notebooks.changed(&changed.notebook_document.uri, structure.array);
                }
                for content in cells.text_content {
                    change(&mut documents, &notebooks::changing(content), encoding);
                }
            }
            _ => drop(documents.lose_named_in(&String::from_utf8_lossy(line))),
        }
    }
    for document in documents.iter() {
        let (own, end) = (document.view.document.text(), document.view.document.len_bytes());
        let (joined, cursor) = documents.joined(&document.about.uri, document.view.clone(), end);
        assert!(joined.document.text()[..cursor].ends_with(&own), "a cell stands before its end");
    }
}

fn open(documents: &mut Documents, params: &Value) {
    let Ok(Opened { text_document: document }) = Opened::deserialize(params) else { return };
    let version = document.identifier.version.unwrap_or(0);
    documents.open(&document.identifier.uri, Language::Python, version, &document.text.0);
}

fn change(documents: &mut Documents, params: &Value, encoding: Encoding) {
    let Ok(Changed { text_document: document, content_changes }) = Changed::deserialize(params)
    else {
        return;
    };
    let changes = wire::changes(&content_changes).unwrap_or_default();
    drop(documents.change(&document.uri, document.version, &changes, encoding));
}

/// Bodies of HTTP requests, in every dialect.
fn http(bytes: &[u8]) {
    block_on(lacuna_http::send_to_parsers(bytes));
}

fn block_on<T>(future: impl Future<Output = T>) -> Option<T> {
    static RUNTIME: OnceLock<Option<tokio::runtime::Runtime>> = OnceLock::new();
    let runtime = RUNTIME
        .get_or_init(|| tokio::runtime::Builder::new_current_thread().enable_all().build().ok());
    runtime.as_ref().map(|runtime| runtime.block_on(future))
}

/// `lacuna.toml` and editors' settings.
fn configuration(bytes: &[u8]) {
    lacuna_config::read_any(&String::from_utf8_lossy(bytes));
}

/// `.gitignore` and its like, and the name of a file that they may name: the first line.
fn ignore(bytes: &[u8]) {
    let Some(folder) =
        as_folder(&[(".gitignore", bytes), (".ignore", bytes), (".lacunaignore", bytes)])
    else {
        return;
    };
    let name = String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    let rules = LeftAlone::new(&ContextConfig::default(), vec![folder.clone()]);
    for uri in [format!("file://{}/a/{name}", folder.display()), name.clone()] {
        rules.names(&uri, &name);
        rules.stays_home(&uri, &name);
    }
}

/// A folder of training data: its list, and behind the first zero byte one file of rows.
fn shards(bytes: &[u8]) {
    let [list, rows] = parts(bytes);
    if let Some(folder) =
        as_folder(&[("shards.json", list), ("rows.zst", rows), ("tokenizer.json", b"{}")])
    {
        drop(lacuna_train::trainer::Shards::load(&folder));
    }
}

/// A checkpoint of the trainer: `config.json`, `state.json` and weights, with a zero byte after
/// each of the first two.
fn checkpoint(bytes: &[u8]) {
    let [config, rest] = parts(bytes);
    let [state, weights] = parts(rest);
    let files = [
        ("config.json", config),
        ("state.json", state),
        ("model.safetensors", weights),
        ("adapter_model.safetensors", weights),
    ];
    let Some(folder) = as_folder(&files) else { return };
    drop(lacuna_train::trainer::locate(&folder));
    if let Ok(shape) = lacuna_train::trainer::read_shape(&folder) {
        drop(lacuna_train::trainer::read_weights(&folder, &shape));
    }
}

/// What stands before the first zero byte, and behind it.
fn parts(bytes: &[u8]) -> [&[u8]; 2] {
    let at = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    [&bytes[..at], bytes.get(at + 1..).unwrap_or_default()]
}

/// `config.json` of a model.
fn config_json(bytes: &[u8]) {
    if let Ok(spec) = lacuna_model::read_spec(bytes) {
        spec.tensors();
    }
}

/// `config.json` of the checkpoints that the target `safetensors` reads.
const TINY: &[u8] = br#"{"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "vocab_size": 8, "max_position_embeddings": 64, "tie_word_embeddings": true}"#;

/// A Hugging Face checkpoint.
fn safetensors(bytes: &[u8]) {
    drop(Model::from_checkpoint(TINY, bytes, Precision::Int4));
}

/// Our packed file.
fn packed(bytes: &[u8]) {
    drop(Model::from_packed(bytes));
}

/// `tokenizer.json`, and what it makes of a line of code.
fn tokenizer(bytes: &[u8]) {
    let Ok(tokenizer) = lacuna_prompt::Tokenizer::from_json(bytes) else { return };
    let ids = tokenizer.encode("def f(x):\n\treturn x \u{1f980}\n");
    tokenizer.decode(&ids);
}

/// Evaluation sets: JSON lines, plain, gzip or zstd, and Parquet.
fn table(bytes: &[u8]) {
    let Some(path) = as_file(bytes, "rows") else { return };
    let Ok(examples) = lacuna_eval::format::open(&path) else { return };
    examples.take(100).for_each(drop);
}

/// Exports of telemetry: the first byte says which format.
fn export(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let ending = ["export.parquet", "export.jsonl", "export.csv"][usize::from(kind % 3)];
    let Some(path) = as_file(rest, ending) else { return };
    let mut merged = lacuna_telemetry::exchange::Merged::default();
    drop(merged.add_file(&path));
}

/// The store of telemetry, which is a SQLite file.
fn store(bytes: &[u8]) {
    let Some(path) = as_file(bytes, "telemetry.db") else { return };
    let Ok(store) = Store::open_to_read(&path) else { return };
    drop((store.census(), store.experiments(), store.exposures()));
    let columns = lacuna_telemetry::Columns::ALL;
    drop(store.scan(
        &(i64::MIN..i64::MAX),
        &Window::ALL,
        &columns,
        &mut Names::default(),
        |_, _| (),
    ));
}

/// Diffs, and their application to a text: the part before the first zero byte.
fn patch(bytes: &[u8]) {
    let at = bytes.iter().position(|b| *b == 0).unwrap_or(0);
    let (old, patch) =
        (String::from_utf8_lossy(&bytes[..at]), String::from_utf8_lossy(&bytes[at..]));
    for file in
        lacuna_eval::build::patch::parse(patch.trim_start_matches('\0')).into_iter().flatten()
    {
        if let Ok((new, blocks)) = lacuna_eval::build::patch::apply(&old, &file.hunks) {
            assert!(
                blocks.iter().all(|block| new.get(block.range.clone()).is_some()),
                "blocks lie in the new text"
            );
        }
    }
}

/// What git prints: lists of commits and the replies of `cat-file`.
fn git(bytes: &[u8]) {
    lacuna_eval::build::listed(bytes);
    let mut replies = BufReader::new(bytes);
    while let Ok(Some(_)) = lacuna_eval::build::read_object(&mut replies, 1 << 16) {}
}

/// Streams of completion servers.
fn sse(bytes: &[u8]) {
    drop(lacuna_eval::generate::sse::events(bytes, drop));
}

/// Recorded keystrokes.
fn trace(bytes: &[u8]) {
    let Some(path) = as_file(bytes, "trace.jsonl") else { return };
    drop(lacuna_bench::replay::trace::read(&path, 1000));
}

/// The bytes as a file, for parsers that take nothing else. One file a thread and name.
fn as_file(bytes: &[u8], name: &str) -> Option<PathBuf> {
    // Tests of several targets run at once.
    let path = place()?.join(format!("{:?}-{name}", std::thread::current().id()));
    std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).ok()?;
    Some(path)
}

/// Files in a folder. One folder a thread: those of another target that are not named stay.
fn as_folder(files: &[(&str, &[u8])]) -> Option<PathBuf> {
    let folder = place()?.join(format!("{:?}", std::thread::current().id()));
    std::fs::create_dir_all(&folder).ok()?;
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes)).ok()?;
    Some(folder)
}

/// Where files of inputs are put.
fn place() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<tempfile::TempDir>> = OnceLock::new();
    // Memory where there is a folder of it: millions of files are written.
    let make = || {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.ok()
    };
    FOLDER.get_or_init(make).as_ref().map(tempfile::TempDir::path)
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::SplitMix64;
    use rand_xoshiro::rand_core::{RngCore, SeedableRng};

    use super::*;

    /// Inputs that are made of each committed one, with a fixed seed: no coverage guides them, but
    /// they are the same everywhere.
    const CHANGES_AN_INPUT: usize = 60;

    fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    struct Random(SplitMix64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0.next_u64() as usize % n.max(1)
        }
    }

    /// Bits flipped, numbers enlarged, parts cut, doubled, or taken from another input.
    fn changed(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut new = bytes.to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(new.len());
            let end = at + random.below((new.len() - at).min(64) + 1);
            match random.below(7) {
                0 if !new.is_empty() => new[at] ^= 1 << random.below(8),
                1 if !new.is_empty() => {
                    new[at] = [0, 0xff, 0x7f, 0x80, b'9', b'-', b'{', b'"', b'\n'][random.below(9)]
                }
                2 => drop(new.drain(at..end)),
                3 => {
                    let part = new[at..end].to_vec();
                    new.splice(at..at, part);
                }
                4 => new.truncate(at),
                5 if !other.is_empty() => {
                    let from = random.below(other.len());
                    let to = (from + random.below(64)).min(other.len());
                    new.splice(at..end, other[from..to].iter().copied());
                }
                _ => drop(new.splice(at..at, *b"99999999999")),
            }
        }
        new
    }

    #[test]
    fn every_target_bears_its_corpus_and_what_is_made_of_it() {
        for (name, run) in TARGETS {
            let corpus = corpus(name);
            assert!(corpus.len() >= 2, "{name} has a corpus");
            let mut random = Random(SplitMix64::seed_from_u64(0x9e37_79b9_7f4a_7c15));
            for (i, (path, bytes)) in corpus.iter().enumerate() {
                assert!(bytes.len() <= 64 << 10, "{} is small", path.display());
                let check = |bytes: &[u8], what: &str| {
                    let ran = std::panic::catch_unwind(|| run(bytes));
                    assert!(
                        ran.is_ok(),
                        "{name}: {what} of {}: {:?}",
                        path.display(),
                        String::from_utf8_lossy(bytes)
                    );
                };
                check(bytes, "all");
                for n in 0..CHANGES_AN_INPUT {
                    let other = &corpus[(i + n) % corpus.len()].1;
                    check(&changed(&mut random, bytes, other), &format!("change {n}"));
                }
            }
        }
    }

    #[test]
    fn the_program_of_the_fuzzer_knows_every_target() {
        assert!(
            TARGETS.iter().all(|(name, _)| target(name).is_some()) && target("nonsense").is_none()
        );
    }
}
