//! A folder that is merely opened decides nothing: hostile `lacuna.toml` files, at every command
//! that reads one.

use std::path::Path;

use lacuna_tests::{Client, Home, TinyModel, binary};
use serde_json::json;

/// What a folder would like to set, with what it must not reach below `victim`.
fn hostile(victim: &Path) -> String {
    format!(
        "[show]\nline_tokens = 9\n[telemetry]\ndir = {victim:?}\nenabled = false\nretention_days = 1\n[model]\npath = {victim:?}\n\
         [http]\nlisten = \"0.0.0.0:0\"\ntoken_file = {token:?}\n[context]\nignore = [\"theirs\"]\nignore_defaults = false\ninclude = [\"**\"]\n\
         other_files = true\nprompt_tokens = 32768\n[kv]\nbudget_mb = 1048576\n[latency]\ndeadline_ms = 0\nthreads = 256\n\
         [trust]\nfolders = [\"/*\"]\n[experiment.e.variant.control]\n[experiment.e.variant.b.settings]\n\"model.path\" = {victim:?}\n\
         [experiment.fine.variant.control]\n[experiment.fine.variant.b.settings]\n\"show.line_tokens\" = 3\n",
        token = victim.join("token"),
    )
}

const REFUSED: [&str; 14] = [
    "telemetry.dir",
    "telemetry.retention_days",
    "model.path",
    "http.listen",
    "http.token_file",
    "context.ignore_defaults",
    "context.include",
    "context.other_files",
    "context.prompt_tokens",
    "kv.budget_mb",
    "latency.deadline_ms",
    "latency.threads",
    "trust.folders",
    "experiment.e",
];

fn setting(doctor: &str, name: &str) -> String {
    let line =
        doctor.lines().map(str::trim_start).find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {doctor}")).to_owned()
}

#[test]
fn a_folders_file_is_obeyed_where_it_is_harmless_and_named_once_where_it_is_not() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let victim = home.write("victim/file", "kept").parent().expect("a folder").to_owned();
    home.write("lacuna.toml", hostile(&victim));
    home.write("a.py", "x = fo\n");
    let doctor = home.lacuna(["doctor", "--model", model.arg()]);
    let told = doctor
        .stdout
        .lines()
        .find(|line| line.starts_with("not trusted"))
        .unwrap_or_else(|| panic!("{}", doctor.stdout));
    for name in REFUSED {
        assert!(told.contains(name), "{name}: {told}");
        assert!(
            !name.contains('.')
                || name.starts_with("experiment")
                || !setting(&doctor.stdout, name).contains("lacuna.toml"),
            "{name}"
        );
    }
    assert!(
        told.contains("[trust] folders") && doctor.stderr.matches("is not trusted").count() == 1,
        "{told}\n{}",
        doctor.stderr
    );
    assert!(setting(&doctor.stdout, "show.line_tokens").contains("lacuna.toml"));
    assert!(setting(&doctor.stdout, "context.ignore").contains("theirs"));
    assert!(
        setting(&doctor.stdout, "telemetry.enabled").contains("lacuna.toml"),
        "less may be recorded, not more"
    );

    let completed = home.lacuna(["complete", "a.py", "--at", "1:7", "--model", model.arg()]);
    assert!(
        completed.code.is_some_and(|code| code < 2)
            && completed.stderr.matches("is not trusted").count() == 1,
        "{completed:?}"
    );

    // What it tries to try is not tried; what it may set it may try.
    let experiment = |args: &[&str]| home.lacuna([&["telemetry", "experiment"], args].concat());
    let refused = experiment(&["start", "e"]).expect_code(2).stderr;
    assert!(
        ["lacuna: experiment e", "it varies model.path", "[trust] folders"]
            .iter()
            .all(|told| refused.contains(told)),
        "{refused}"
    );
    assert!(experiment(&["status"]).expect_code(0).stdout.contains("fine  configured"));

    // The user has the last word.
    home.write(
        "lacuna.toml",
        format!("[telemetry]\ndir = {victim:?}\n[latency]\ndeadline_ms = 0\n"),
    );
    home.configure(format!("[trust]\nfolders = [{:?}]\n", home.work().display().to_string()));
    let trusted = home.lacuna(["doctor", "--model", model.arg()]).stdout;
    assert!(
        setting(&trusted, "telemetry.dir").contains("victim")
            && setting(&trusted, "latency.deadline_ms").contains("lacuna.toml")
    );
    assert!(setting(&trusted, "trust.folders").contains("config.toml"));
    assert_eq!(
        std::fs::read_dir(&victim).expect("the folder").count(),
        1,
        "nothing was written there"
    );
}

#[test]
fn opening_a_hostile_folder_in_an_editor_writes_nothing_into_it() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let victim = home.write("victim/file", "kept").parent().expect("a folder").to_owned();
    home.write("lacuna.toml", hostile(&victim).replace("enabled = false\n", ""));
    let folders = json!([{"uri": format!("file://{}", home.work().display()), "name": "w"}]);
    let mut editor =
        Client::spawn(home.command(binary()).args(["lsp", "--no-attach", "--model", model.arg()]));
    editor.initialize(json!({"workspaceFolders": folders, "initializationOptions": {"trust": {"folders": ["/*"]}}}));
    let told = editor.notifications("window/logMessage", 2);
    let told: Vec<&str> = told.iter().filter_map(|message| message["message"].as_str()).collect();
    assert!(REFUSED.iter().all(|name| told[0].contains(name)), "{told:?}");
    assert!(told[1].contains("trust"), "nor does an editor say whom to trust: {told:?}");
    editor.open("file:///w/a.py", "python", "x = fo\n");
    editor.items("file:///w/a.py", 0, 6);
    let status = editor.result("lacuna/status", json!({}));
    assert!(
        status["notices"][0].as_str().is_some_and(|notice| notice.contains("telemetry.dir")),
        "{status}"
    );
    assert_eq!(editor.finish(), Some(0));
    assert_eq!(std::fs::read_dir(&victim).expect("the folder").count(), 1);
    assert!(
        home.work().join("../.local/share/lacuna/telemetry.db").exists(),
        "it is recorded where the user's things are"
    );
}

#[test]
fn the_editors_root_is_where_files_are_looked_for_and_nothing_above() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("lacuna.toml", "[shwo]\n");
    home.write("inner/a.py", "");
    let mut editor = Client::spawn(
        home.command(binary())
            .args(["lsp", "--no-attach", "--model", model.arg()])
            .current_dir("/"),
    );
    let folders =
        json!([{"uri": format!("file://{}/inner", home.work().display()), "name": "inner"}]);
    editor.initialize(json!({"workspaceFolders": folders}));
    assert_eq!(editor.finish(), Some(0));
}

#[test]
fn the_command_line_leaves_alone_what_an_editor_leaves_alone() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write(
        "lacuna.toml",
        "[context]\nignore = [\"generated/**\"]\n[show]\ndisabled_languages = [\"go\"]\n",
    );
    home.write(".lacunaignore", "private.py\n");
    let secret = ["token = \"ghp_", "16C7e42F292c6912E7710c838347Ae178B4a\"\n"].concat();
    let long = format!("x = {}\n", "1".repeat(5000));
    for (file, text, reason) in [
        (".ENV.prod", "A=\n", "ignored-path"),
        ("keys/server.pem", "A=\n", "ignored-path"),
        ("generated/a.py", "x = fo\n", "ignored-path"),
        ("private.py", "x = fo\n", "ignored-path"),
        ("a.go", "x = fo\n", "language-off"),
        ("a.py", secret.as_str(), "secret-line"),
        ("b.py", long.as_str(), "long-line"),
    ] {
        home.write(file, text);
        let complete = |more: &[&str]| {
            home.lacuna([&["complete", file, "--at", "1:3", "--model", model.arg()], more].concat())
                .expect_code(1)
        };
        assert!(complete(&[]).stderr.contains(reason), "{file}");
        assert!(complete(&["--explain"]).stdout.starts_with(&format!("[{reason}] ")), "{file}");
        assert!(
            complete(&["--json"]).stdout.contains(&format!("\"reason\":\"{reason}\"")),
            "{file}"
        );
    }
}

#[cfg(unix)]
#[test]
fn what_is_written_is_the_owners_alone_and_strange_stores_hold_nobody() {
    use std::os::unix::fs::PermissionsExt;
    let model = TinyModel::default().write();
    let session = |home: &Home| {
        let record = home.work().join("trace.jsonl");
        let mut command = home.command(binary());
        command.args(["lsp", "--no-attach", "--model", model.arg(), "--record"]).arg(&record);
        let mut editor = Client::spawn(&mut command);
        editor.initialize(json!({"initializationOptions": {"latency": {"deadline_ms": 0}}}));
        editor.open("file:///w/a.py", "python", "x = fo\n");
        editor.items("file:///w/a.py", 0, 6);
        assert_eq!(editor.finish(), Some(0));
    };
    let home = Home::new();
    session(&home);
    let root = home.work().join("..");
    let mode = |path: &str| {
        let path = root.join(path);
        std::fs::metadata(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
            .permissions()
            .mode()
            & 0o777
    };
    for (path, expected) in [
        (".local/share/lacuna/telemetry.db", 0o600),
        (".local/share/lacuna", 0o700),
        (".cache/lacuna/costs.json", 0o600),
        (".cache/lacuna", 0o700),
        ("work/trace.jsonl", 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    // A pipe and a link in the store's place: nothing waits, nothing is followed.
    for link in [false, true] {
        let home = Home::new();
        let folder = home.work().join("../.local/share/lacuna");
        std::fs::create_dir_all(&folder).expect("a folder");
        let (store, victim) = (folder.join("telemetry.db"), home.write("victim.db", ""));
        if link {
            std::os::unix::fs::symlink(&victim, &store).expect("a link");
        } else {
            assert!(
                std::process::Command::new("mkfifo")
                    .arg(&store)
                    .status()
                    .expect("mkfifo")
                    .success()
            );
        }
        session(&home);
        assert_eq!(std::fs::metadata(&victim).expect("the victim").len(), 0);
        assert!(home.lacuna(["telemetry", "report"]).expect_code(2).stderr.contains("no file"));
    }
}
