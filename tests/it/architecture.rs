//! The crate graph is the architecture: a forbidden import is a failing test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use lacuna_tests::{run, workspace};
use serde_json::Value;

/// Our crates from leaf to root: each may import those before it.
const ORDER: [&str; 20] = [
    "lacuna-kernels",
    "lacuna-ptxsim",
    "lacuna-text",
    "lacuna-plot",
    "lacuna-context",
    "lacuna-prompt",
    "lacuna-retrieval",
    "lacuna-model",
    "lacuna-engine",
    "lacuna-complete",
    "lacuna-telemetry",
    "lacuna-train",
    "lacuna-eval",
    "lacuna-config",
    "lacuna-serving",
    "lacuna-lsp",
    "lacuna-http",
    "lacuna-bench",
    "lacuna",
    "lacuna-tests",
];
/// Joined by `complete`, unknown to each other.
const STRANGERS: [&str; 3] = ["lacuna-context", "lacuna-prompt", "lacuna-engine"];
/// For tests alone: no crate may need it to be built.
const FOR_TESTS: &str = "lacuna-ptxsim";
/// What the program is made of, and may tell an error by what was being done; libraries have an enum.
const ANYHOW: [&str; 7] = [
    "lacuna-config",
    "lacuna-serving",
    "lacuna-lsp",
    "lacuna-http",
    "lacuna-bench",
    "lacuna",
    "lacuna-tests",
];
/// Two ways to speak to a client: neither knows the other.
const PROTOCOLS: [&str; 2] = ["lacuna-lsp", "lacuna-http"];
/// Dependencies (by prefix) and the only crates that may have them.
const CONFINED: [(&str, &[&str]); 8] = [
    ("tree-sitter", &["lacuna-context"]),
    ("tokio", &["lacuna-lsp", "lacuna-http", "lacuna", "lacuna-tests"]),
    ("tower", &["lacuna-lsp", "lacuna-http"]),
    ("axum", &["lacuna-http"]),
    ("clap", &["lacuna-config", "lacuna-lsp", "lacuna-http", "lacuna-bench", "lacuna"]),
    ("anyhow", &ANYHOW),
    ("tokenizers", &["lacuna-prompt", "lacuna-train"]),
    ("cudarc", &["lacuna-kernels"]),
];

/// A dependency as its manifest states it.
struct Dependency {
    /// Name of the crate that states it.
    of: String,
    name: String,
    /// It is one of this workspace.
    ours: bool,
    /// Only tests need it.
    for_tests: bool,
}

/// All dependencies of our crates: normal, for building, for tests.
fn dependencies() -> Vec<Dependency> {
    // Read as plain JSON: the `cargo_metadata` crate turns on features of serde_json, and every
    // build of the workspace would then compile most crates twice, once with them and once (`cargo
    // build -p lacuna`) without.
    let mut command = std::process::Command::new(env!("CARGO"));
    let output = run(command
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(workspace()))
    .expect_code(0);
    let metadata: Value = serde_json::from_str(&output.stdout).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() >= 10, "all crates are seen");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let mut all = Vec::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let ours = dependency["path"].is_string();
            let for_tests = dependency["kind"] == "dev";
            all.push(Dependency {
                of: text(&package["name"]),
                name: text(&dependency["name"]),
                ours,
                for_tests,
            });
        }
    }
    all
}

#[test]
fn our_crates_import_downwards_only() {
    let rank = |name: &str| {
        ORDER
            .iter()
            .position(|n| *n == name)
            .unwrap_or_else(|| panic!("{name} is not in the design's list"))
    };
    for Dependency { of, name, .. } in dependencies().iter().filter(|d| d.ours) {
        assert!(rank(name) < rank(of), "{of} imports {name}, which lies above it");
        for strangers in [&STRANGERS[..], &PROTOCOLS] {
            assert!(
                !(strangers.contains(&of.as_str()) && strangers.contains(&name.as_str())),
                "{of} and {name} must not see each other"
            );
        }
    }
}

#[test]
fn the_simulator_is_for_tests_alone() {
    for Dependency { of, name, for_tests, .. } in dependencies() {
        assert!(
            name != FOR_TESTS || for_tests || of == "lacuna-tests",
            "{of} needs {name} to be built"
        );
    }
}

#[test]
fn some_dependencies_are_confined_to_their_crates() {
    for Dependency { of, name, .. } in dependencies() {
        for (prefix, homes) in CONFINED {
            let confined = name == prefix || name.starts_with(&format!("{prefix}-"));
            assert!(!confined || homes.contains(&of.as_str()), "{of} imports {name}");
        }
    }
}

/// The fuzzer's workspace has a lock file of its own, which no ordinary build looks at: with a
/// dependency too few or too many no target can be built.
#[test]
fn the_fuzzers_lock_file_knows_every_dependency() {
    let lock = std::fs::read_to_string(workspace().join("fuzz/Cargo.lock")).expect("a lock file");
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Dependency { of, name, for_tests, .. } in dependencies() {
        let names = wanted.entry(of).or_default();
        if !for_tests {
            names.insert(name);
        }
    }
    for package in lock.split("[[package]]") {
        let quoted: Vec<&str> = package.split('"').skip(1).step_by(2).collect();
        let Some((of, names)) = quoted.first().and_then(|name| wanted.get_key_value(*name)) else {
            continue;
        };
        // A version follows a name that several have.
        let listed = package.split_once("dependencies = [").map_or("", |(_, list)| list);
        let name = |quoted: &str| quoted.split(' ').next().unwrap_or_default().to_owned();
        let known: BTreeSet<String> = listed.split('"').skip(1).step_by(2).map(name).collect();
        assert_eq!(
            known, *names,
            "{of}: `cargo update --offline --workspace --manifest-path fuzz/Cargo.toml`"
        );
    }
}

/// Who is sent to a place that is gone looks for it in vain.
#[test]
fn where_to_add_things_is_told_by_places_that_are_there() {
    let text = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("a document");
    let (_, table) = text.split_once("## Where do I add").expect("the table");
    let table = table.split("\n## ").next().unwrap_or_default();
    let places: Vec<&str> =
        table.split('`').skip(1).step_by(2).filter(|p| p.contains('/')).collect();
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        assert!(workspace().join(place).exists(), "{place} is not there");
    }
}

/// A second device takes the place of the first one only if nobody goes around it.
#[test]
fn the_engine_computes_through_its_device_alone() {
    let root = workspace().join("crates/engine/src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 20, "the engine is seen");
    for file in files {
        let shown = file.strip_prefix(&root).expect("below the root");
        let source = std::fs::read_to_string(&file).expect("source is UTF-8");
        // The crate's root hands on the settings of the machine.
        let is_allowed = shown.starts_with("device") || shown == Path::new("lib.rs");
        assert!(
            is_allowed || !without_comments_and_strings(&source).contains("lacuna_kernels"),
            "{} names the kernels",
            shown.display()
        );
    }
}

#[test]
fn machine_code_and_unsafe_stay_where_they_are_confined() {
    let root = workspace();
    let mut files = Vec::new();
    for dir in ["kernels", "crates", "server", "tests"] {
        rust_files(&root.join(dir), &mut files);
    }
    assert!(files.len() > 50, "the source tree is seen");
    for file in files {
        let shown =
            file.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        let source = std::fs::read_to_string(&file).expect("source is UTF-8");
        let code = without_comments_and_strings(&source);
        // The simulator is safe code, though its folder lies there.
        let in_kernels = shown.starts_with("kernels/") && !shown.starts_with("kernels/ptxsim/");
        for word in ["std::arch", "core::arch", "asm!", "global_asm!"] {
            assert!(
                in_kernels || !code.contains(word),
                "{shown} mentions {word}: machine code belongs to kernels/"
            );
        }
        // A counting allocator cannot be written without; it is a test's.
        let may = in_kernels
            || ["crates/model/src/source/map.rs", "crates/engine/tests/allocations.rs"]
                .contains(&shown.as_str());
        assert!(
            may || !has_word(&code, "unsafe"),
            "{shown} has an unsafe block: only kernels/ and model's memory map may"
        );
    }
}

pub fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// The code of a file with comments and the insides of string literals blanked. Good enough for
/// rustfmt-formatted source.
pub fn without_comments_and_strings(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw_string(rest, &code) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = 2 + hashes;
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(rest.len(), |at| at + 2)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// The number of `#` if a raw string starts here.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    let after = rest
        .strip_prefix('r')
        .filter(|_| !before.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Bytes of an ordinary string literal, quotes included.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn the_scan_sees_code_and_nothing_else() {
    let code = without_comments_and_strings(concat!(
        "let a = \"unsafe \\\" std::arch\"; // unsafe\n/* asm! */ let b = r#\"unsafe \" x\"#; let c = '\"'; un",
        "safe { f() } let unsafe_code = 1;"
    ));
    assert!(has_word(&code, "unsafe") && !code.contains("std::arch") && !code.contains("asm!"));
    assert_eq!(code.matches("unsafe").count(), 2, "{code}");
    assert!(!has_word("unsafe_code", "unsafe"));
}
