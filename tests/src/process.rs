//! Runs of the command line: an environment of their own, a time limit, and everything they said.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;

/// What has not come by then never will. It ends a test that hangs and decides nothing else, so it
/// may be far beyond what a busy machine takes; where the time itself is what is tested, count
/// processor seconds ([`Home::lacuna_cpu_within`]).
pub const HANG: Duration = Duration::from_secs(900);

/// A place to run in: an empty working directory and an empty configuration directory.
pub struct Home {
    root: TempDir,
}

impl Default for Home {
    fn default() -> Home {
        Home::new()
    }
}

impl Home {
    pub fn new() -> Home {
        let root = TempDir::new().expect("a temporary directory");
        for name in ["work", "config"] {
            std::fs::create_dir(root.path().join(name)).expect("a writable temporary directory");
        }
        Home { root }
    }

    /// The working directory.
    pub fn work(&self) -> std::path::PathBuf {
        self.root.path().join("work")
    }

    /// What `XDG_CONFIG_HOME` points to.
    pub fn config(&self) -> std::path::PathBuf {
        self.root.path().join("config")
    }

    /// Writes a file into the working directory, folders included, and returns its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("below the working directory"))
            .expect("a new folder");
        std::fs::write(&path, text).expect("a new file");
        path
    }

    /// As [`Home::write`], for a file that only its owner may read, such as a token.
    pub fn write_secret(&self, name: &str, text: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.write(name, text);
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("a file of ours");
        path
    }

    /// Writes the user's own configuration file.
    pub fn configure(&self, text: impl AsRef<[u8]>) {
        let folder = self.config().join("lacuna");
        std::fs::create_dir_all(&folder).expect("a new folder");
        std::fs::write(folder.join("config.toml"), text).expect("a new file");
    }

    /// `program` in this place, with nothing of the user's settings.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env("XDG_CONFIG_HOME", self.config())
            .env("HOME", self.root.path())
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME");
        command.env_remove("LACUNA_LOG").env_remove("LACUNA_ISA");
        command
    }

    /// Runs `lacuna` here.
    pub fn lacuna<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Output {
        let mut command = self.command(binary());
        command.args(args);
        run(&mut command)
    }

    /// Runs `lacuna` here with at most `kilobytes` of address space, so that an allocation of a
    /// lying size fails loudly.
    pub fn lacuna_within<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        kilobytes: u64,
        args: I,
    ) -> Output {
        self.lacuna_limited("-v", kilobytes, args)
    }

    /// Runs `lacuna` here with at most `kilobytes` of data: what it allocates, stacks of threads
    /// included.
    pub fn lacuna_data_within<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        kilobytes: u64,
        args: I,
    ) -> Output {
        self.lacuna_limited("-d", kilobytes, args)
    }

    /// Runs `lacuna` here with at most `kilobytes` of address space and `seconds` of processor
    /// time, whatever else the machine does.
    pub fn lacuna_cpu_within<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        kilobytes: u64,
        seconds: u64,
        args: I,
    ) -> Output {
        self.lacuna_limited(&format!("-t {seconds} && ulimit -v"), kilobytes, args)
    }

    fn lacuna_limited<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(
        &self,
        limit: &str,
        kilobytes: u64,
        args: I,
    ) -> Output {
        let mut command = self.command("sh");
        command
            .arg("-c")
            .arg(format!("ulimit {limit} {kilobytes} && exec \"$0\" \"$@\""))
            .arg(binary())
            .args(args);
        run(&mut command)
    }
}

/// What a run said and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// `None`: killed by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end. Panics if it cannot be started, does not end ([`HANG`]), or does not
/// speak UTF-8.
pub fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{shown}: {e}"));
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let text = |from: Receiver<Vec<u8>>, child: &mut Child| match from.recv_timeout(HANG) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_else(|e| panic!("{shown}: not UTF-8: {e}")),
        Err(_) => {
            let _ = child.kill();
            panic!("{shown}: still running after {HANG:?}");
        }
    };
    let (stdout, stderr) = (text(stdout, &mut child), text(stderr, &mut child));
    // Both pipes are at their end: the process has ended or is about to.
    let status = child.wait().unwrap_or_else(|e| panic!("{shown}: {e}"));
    Output { code: status.code(), stdout, stderr }
}

fn read_all(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = to.send(bytes);
    });
    from
}

impl Output {
    /// Panics unless the run ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Panics unless the run failed the way a failure looks: exit code 2, nothing on stdout, one
    /// line on stderr with every text of `names` in it, and no trace of a panic.
    #[track_caller]
    pub fn expect_failure(self, names: &[&str]) -> Output {
        assert_eq!(self.code, Some(2), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "stderr: {}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{:?}", self.stderr);
        assert!(self.stderr.starts_with("lacuna: "), "{:?}", self.stderr);
        assert!(self.stderr.len() < 1000, "a short line: {:?}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{:?}", self.stderr);
        for name in names {
            assert!(self.stderr.contains(name), "no {name:?} in {:?}", self.stderr);
        }
        self
    }
}

/// A path as an argument.
impl AsRef<Path> for Home {
    fn as_ref(&self) -> &Path {
        self.root.path()
    }
}
