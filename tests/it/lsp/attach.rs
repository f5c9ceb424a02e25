//! One engine for several editors: started by the first, shared, gone after the last.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lacuna_tests::{Client, HANG, Home, ModelDir, TinyModel, binary};
use serde_json::json;

use super::{URI, options};

struct Place {
    home: Home,
    model: ModelDir,
}

impl Place {
    fn new() -> Place {
        Place { home: Home::new(), model: TinyModel::default().write() }
    }

    fn command(&self, flags: &[&str]) -> Command {
        self.command_of(binary(), flags)
    }

    fn command_of(&self, program: impl AsRef<OsStr>, flags: &[&str]) -> Command {
        let mut command = self.home.command(program);
        command
            .env_remove("XDG_RUNTIME_DIR")
            .args(["lsp", "--model", self.model.arg(), "--engine-idle", "1"])
            .args(flags);
        command
    }

    fn editor(&self, flags: &[&str]) -> Client {
        Place::connected(&mut self.command(flags))
    }

    fn connected(command: &mut Command) -> Client {
        let mut client = Client::spawn(command);
        client.initialize(json!({"initializationOptions": options()}));
        client.open(URI, "python", "def f(a):\n    ret");
        client
    }

    /// Process ids of the engines of this place.
    fn engines(&self) -> Vec<u32> {
        let folder = self.home.as_ref() as &std::path::Path;
        let mine = folder.display().to_string();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains("--engine ") && line.contains(&mine) {
                found.push(pid);
            }
        }
        found
    }

    #[track_caller]
    fn wait_for_engines(&self, n: usize) {
        let start = Instant::now();
        while self.engines().len() != n {
            assert!(start.elapsed() < HANG, "{:?} instead of {n} engines", self.engines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for pid in self.engines() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

fn end(mut editor: Client) {
    editor.result("shutdown", serde_json::Value::Null);
    editor.notify("exit", serde_json::Value::Null);
    assert!(editor.ended().success());
}

#[test]
fn editors_share_an_engine_that_outlives_them_for_a_while() {
    let place = Place::new();
    let mut first = place.editor(&["--attach"]);
    assert_eq!(place.engines().len(), 1);
    let mut second = place.editor(&["--attach"]);
    // One that does not ask for it uses what runs.
    let mut third = place.editor(&[]);
    assert_eq!(place.engines().len(), 1, "one engine for all");
    for editor in [&mut first, &mut second, &mut third] {
        assert!(!editor.items(URI, 1, 7).is_empty());
    }
    end(first);
    assert!(!second.items(URI, 1, 7).is_empty(), "the others go on");
    end(second);
    end(third);
    place.wait_for_engines(0);
    // And again from nothing.
    let mut again = place.editor(&["--attach"]);
    assert!(!again.items(URI, 1, 7).is_empty());
    end(again);
}

#[test]
fn without_an_engine_nothing_is_started_unasked() {
    let place = Place::new();
    let mut alone = place.editor(&[]);
    assert!(!alone.items(URI, 1, 7).is_empty());
    assert!(place.engines().is_empty());
    end(alone);
}

#[test]
fn editors_that_start_at_once_find_one_engine() {
    let place = Place::new();
    let mut editors: Vec<Client> =
        (0..4).map(|_| Client::spawn(&mut place.command(&["--attach"]))).collect();
    for editor in &mut editors {
        editor.initialize(json!({"initializationOptions": options()}));
    }
    place.wait_for_engines(1);
    editors.into_iter().for_each(end);
}

#[test]
fn an_engine_that_was_killed_leaves_nothing_in_the_way() {
    let place = Place::new();
    let mut editor = place.editor(&["--attach"]);
    assert!(!editor.items(URI, 1, 7).is_empty());
    for pid in place.engines() {
        assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    }
    // The editor learns that its server is gone.
    assert!(!editor.ended().success());
    let mut next = place.editor(&["--attach"]);
    assert!(!next.items(URI, 1, 7).is_empty());
    end(next);
}

#[test]
fn an_editor_that_is_killed_in_the_middle_of_a_request_takes_nobody_with_it() {
    let place = Place::new();
    let mut killed = place.editor(&["--attach"]);
    let mut other = place.editor(&["--attach"]);
    for _ in 0..50 {
        killed.complete(URI, 1, 7);
    }
    killed.child().kill().expect("it runs");
    assert!(!other.items(URI, 1, 7).is_empty());
    assert_eq!(place.engines().len(), 1);
    end(other);
    // Its place was given back, or the engine would wait for it for ever.
    place.wait_for_engines(0);
}

#[test]
fn a_program_that_is_replaced_while_it_runs_is_another_engine() {
    let place = Place::new();
    let program = place.home.work().join("lacuna");
    std::fs::copy(binary(), &program).expect("a copy");
    let mut before = Place::connected(&mut place.command_of(&program, &["--attach"]));
    // An older or newer version, put there as installers do it: a new file under the same name.
    let other = place.home.work().join("other");
    std::fs::copy(binary(), &other).expect("a copy");
    std::fs::rename(&other, &program).expect("replaced");
    let mut after = Place::connected(&mut place.command_of(&program, &["--attach"]));
    assert_eq!(place.engines().len(), 2, "one never speaks to the other's");
    for editor in [&mut before, &mut after] {
        assert!(!editor.items(URI, 1, 7).is_empty());
    }
    end(before);
    place.wait_for_engines(1);
    assert!(!after.items(URI, 1, 7).is_empty());
    end(after);
    place.wait_for_engines(0);
}

#[test]
fn doctor_tells_whether_an_engine_runs() {
    let place = Place::new();
    let doctor = || {
        let mut command = place.home.command(binary());
        command.env_remove("XDG_RUNTIME_DIR").args(["doctor", "--model", place.model.arg()]);
        let said = lacuna_tests::run(&mut command).stdout;
        said.lines().find(|line| line.starts_with("attach ")).expect("a line about it").to_owned()
    };
    assert!(doctor().contains("no engine"), "{}", doctor());
    let editor = place.editor(&["--attach"]);
    assert!(doctor().contains("runs") && doctor().contains(".sock"), "{}", doctor());
    end(editor);
}

#[test]
fn the_socket_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let editor = place.editor(&["--attach"]);
    let folder = (place.home.as_ref() as &std::path::Path).join(".cache/lacuna");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let sockets: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "sock"))
        .collect();
    let [socket] = &sockets[..] else { panic!("{sockets:?}") };
    assert_eq!(mode(socket), 0o600);
    end(editor);
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_at_once() {
    let home = Home::new();
    let mut command = home.command(binary());
    command.env_remove("XDG_RUNTIME_DIR").args(["lsp", "--attach", "--model", "nothing-here"]);
    lacuna_tests::run(&mut command).expect_failure(&["nothing-here", "does not exist"]);
}

#[test]
fn one_editor_too_many_is_told_so_and_a_place_that_is_left_is_free() {
    let place = Place::new();
    let first = place.editor(&["--attach"]);
    let mut folders = vec![AsRef::<Path>::as_ref(&place.home).to_owned()];
    let mut socket = None;
    while let Some(folder) = folders.pop() {
        for path in
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
        {
            if path.extension().is_some_and(|e| e == "sock") {
                socket = Some(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    let socket = socket.expect("an engine listens");
    let others: Vec<UnixStream> =
        (0..63).map(|_| UnixStream::connect(&socket).expect("a place")).collect();
    let mut last = Client::spawn(&mut place.command(&["--attach"]));
    let (_, message) =
        last.error("initialize", json!({"processId": null, "rootUri": null, "capabilities": {}}));
    assert!(message.contains("64 editors") && message.contains("--no-attach"), "{message}");
    drop((last, others));
    let start = Instant::now();
    loop {
        let mut next = Client::spawn(&mut place.command(&["--attach"]));
        let reply =
            next.ask("initialize", json!({"processId": null, "rootUri": null, "capabilities": {}}));
        if reply.get("result").is_some() {
            break;
        }
        assert!(start.elapsed() < HANG, "{reply}");
    }
    end(first);
}
