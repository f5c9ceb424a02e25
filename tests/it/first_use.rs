//! What somebody meets first: mistakes on the command line and in the configuration, and what tells
//! how things are.

use lacuna_tests::{Client, Home, TinyModel, binary};
use serde_json::{Value, json};

const TYPOS: &str = "[show]\nline_token = 7\nmin_confidence = \"high\"\nblock_tokens = 12\ndisabled_languages = [\"pyhton\"]\n";

#[test]
fn a_mistake_on_the_command_line_names_the_argument() {
    let home = Home::new();
    for (args, names) in [
        (&["complete", "a.py"][..], &["--at <LINE:COL>", "lacuna complete", "--help"][..]),
        (&["telemetry", "experiment", "start"], &["<NAME>"]),
        (&["telemetry", "experiment", "report"], &["<NAME>"]),
        (&["finetune", "mine"], &["--out", "--sources"]),
        (&["complete", "a.py", "--at", "1"], &["--at", "LINE:COL"]),
        (&["docter"], &["docter", "doctor"]),
    ] {
        home.lacuna(args).expect_failure(names);
    }
}

#[test]
fn lines_and_columns_are_told_as_they_are_counted() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("a.py", "x = 1\r\n\u{1f980}\n");
    for (at, told) in [
        ("999:1", "--at 999:1 is outside a.py: it has lines 1 to 3"),
        ("1:99", "--at 1:99 is outside a.py: line 1 has columns 1 to 6"),
        ("2:3", "--at 2:3 is outside a.py: line 2 has columns 1 to 2"),
        ("3:2", "--at 3:2 is outside a.py: line 3 has columns 1 to 1"),
    ] {
        let output =
            home.lacuna(["complete", "a.py", "--at", at, "--model", model.arg()]).expect_code(2);
        assert_eq!(output.stderr, format!("lacuna: {told}\n"));
    }
    let missing = home.lacuna(["complete", "gone.py", "--at", "1:1"]).expect_code(2).stderr;
    assert_eq!(missing.matches("No such file").count(), 1, "{missing}");
}

#[test]
fn a_typo_in_a_file_ends_no_server_and_is_told_with_line_key_and_hint() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("lacuna.toml", TYPOS);
    let mut command = home.command(binary());
    command.args(["lsp", "--model", model.arg()]);
    let mut client = Client::spawn(&mut command);
    let root = format!("file://{}", home.work().display());
    client.initialize(json!({
        "workspaceFolders": [{"uri": root, "name": "w"}],
        "initializationOptions": {"latency": {"deadline_ms": 0}, "show": {"lineTokens": 3}},
    }));
    let uri = format!("{root}/a.py");
    client.open(&uri, "python", "x = fo\n");
    client.items(&uri, 0, 6);
    let report = client.result("lacuna/status", json!({"textDocument": {"uri": uri}}));
    let notices: Vec<&str> =
        report["notices"].as_array().expect("notices").iter().filter_map(Value::as_str).collect();
    let told = |text: &str| {
        assert!(notices.iter().any(|n| n.contains(text)), "no {text:?} in {notices:?}")
    };
    told("lacuna.toml:2: show.line_token is not a setting: did you mean show.line_tokens?");
    told(
        "lacuna.toml:3: show.min_confidence = \"high\" is of the wrong kind: a number (0 to 1) is wanted",
    );
    told(
        "lacuna.toml:5: show.disabled_languages: no editor is known to call a language \"pyhton\": did you mean \"python\"?",
    );
    told("editor settings: show.lineTokens is not a setting: did you mean show.line_tokens?");
    // The log has the same.
    let logged = client.notifications("window/logMessage", notices.len());
    assert!(
        logged
            .iter()
            .any(|m| m["message"].as_str().is_some_and(|m| m.contains("show.line_tokens?"))),
        "{logged:?}"
    );
    assert_eq!(client.finish(), Some(0));
}

#[test]
fn doctor_tells_what_is_wrong_with_the_configuration_and_where_telemetry_lies() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let well = home.lacuna(["doctor", "--model", model.arg()]);
    assert!(
        well.stdout.contains("telemetry    recorded on this machine only: ")
            && well.stdout.contains("telemetry.db"),
        "{}",
        well.stdout
    );
    assert!(
        !well.stdout.contains("problems") && well.stdout.contains(" 0.15 "),
        "numbers as one writes them: {}",
        well.stdout
    );

    home.write("lacuna.toml", TYPOS);
    let output = home.lacuna(["doctor", "--model", model.arg()]).expect_code(1);
    assert!(
        output.stdout.contains("lacuna.toml:2: show.line_token is not a setting"),
        "{}",
        output.stdout
    );
    let json = home.lacuna(["doctor", "--json", "--model", model.arg()]).expect_code(1);
    let json: Value = serde_json::from_str(&json.stdout).expect("one object");
    assert_eq!(
        (json["problems"].as_array().unwrap().len(), &json["ok"], &json["telemetry"]["enabled"]),
        (3, &json!(false), &json!(true))
    );
    let setting = |name: &str| {
        json["settings"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone()
    };
    assert_eq!(setting("show.block_tokens")["value"], 12);
    assert!(setting("show.block_tokens")["origin"].as_str().unwrap().ends_with("lacuna.toml"));
    assert_eq!(
        (&setting("kv.blend_ratio")["value"], &setting("kv.blend_ratio")["origin"]),
        (&json!(0.15), &json!("default"))
    );
    assert_eq!(json["self_test"].as_array().unwrap().len(), 3);

    // A file that nobody can read may have said that nothing is to be recorded.
    home.write("lacuna.toml", "[telemetry\nenabled = false\n");
    let output = home.lacuna(["doctor", "--model", model.arg()]).expect_code(1);
    assert!(
        output.stdout.contains("telemetry    not recorded")
            && output.stdout.contains("lacuna.toml:1: this is not TOML"),
        "{}",
        output.stdout
    );
}

#[test]
fn doctor_tells_which_languages_are_on() {
    let home = Home::new();
    let mut tiny = TinyModel::default();
    tiny.config["code_languages"] = json!(["python", "go"]);
    let model = tiny.write();
    let doctor =
        |args: &[&str]| home.lacuna(["doctor", "--model", model.arg()].iter().chain(args)).stdout;
    assert!(doctor(&[]).contains("languages    trained for python, go; all others are off\n"));
    home.configure("[show]\nlanguages = [\"trained\", \"lua\"]\ndisabled_languages = [\"go\"]\n");
    assert!(doctor(&[]).contains(
        "languages    trained for python, go; on: python, lua; off: go and all others\n"
    ));
    let json: Value = serde_json::from_str(&doctor(&["--json"])).expect("one object");
    assert_eq!(
        json["languages"],
        json!({"trained": ["python", "go"], "on": ["python", "lua"], "off": ["go"]})
    );
}

#[test]
fn the_document_of_the_settings_is_printed_by_the_binary() {
    let output = Home::new().lacuna(["config", "docs"]).expect_code(0);
    let committed = std::fs::read_to_string(lacuna_tests::workspace().join("docs/settings.md"))
        .expect("docs/settings.md");
    assert_eq!(output.stdout, committed, "run `lacuna config docs > docs/settings.md`");
}

#[test]
fn shells_and_man_know_every_command() {
    let home = Home::new();
    let commands = [
        "complete",
        "lsp",
        "serve",
        "model",
        "finetune",
        "fim-eval",
        "telemetry",
        "bench",
        "config",
        "doctor",
    ];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.lacuna(["completions", shell]).expect_code(0).stdout;
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    home.lacuna(["man", "pages"]).expect_code(0);
    for name in [
        "lacuna.1",
        "lacuna-complete.1",
        "lacuna-telemetry-report.1",
        "lacuna-telemetry-experiment-start.1",
    ] {
        let page = std::fs::read_to_string(home.work().join("pages").join(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(page.contains(".TH") && page.contains(".SH NAME"), "{name}: {page}");
    }
    // A shell that is there takes its script.
    let script = home.lacuna(["completions", "bash"]).stdout;
    home.write("lacuna.bash", script);
    let mut bash = home.command("bash");
    bash.args(["--norc", "-c", "source ./lacuna.bash && complete -p lacuna"]);
    assert!(lacuna_tests::run(&mut bash).expect_code(0).stdout.contains("lacuna"));
}
