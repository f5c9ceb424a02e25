//! The outside of the sandbox: starts a confined process, reads it up to a limit, and ends it when its time is up.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Limits, SandboxError};

/// How to start a confined process.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Command line that ends up in [`super::confine_and_exec`] when the limits and a program are appended: `lacuna fim-eval confined`.
    pub launcher: Vec<OsString>,
    pub limits: Limits,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// Used up its CPU time or its time on the clock.
    TimedOut,
    /// Printed more than the limit.
    OutputLimit,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub ended: Ended,
    /// At most [`Limits::output_bytes`] of each.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

enum Event {
    Ended,
    OutputLimit,
}

impl Sandbox {
    /// Runs `program` (path, then arguments) in `folder`, with `input` as its standard input. Blocks until it has ended or was ended.
    ///
    /// Errors: it could not be started.
    pub fn run(&self, program: &[OsString], folder: &Path, input: &[u8]) -> Result<Outcome, SandboxError> {
        let [launcher, args @ ..] = &self.launcher[..] else { return Err(SandboxError::Confine("no launcher".to_owned())) };
        let mut child = Command::new(launcher)
            .args(args)
            .arg("--cpu-seconds")
            .arg(self.limits.cpu.as_secs().max(1).to_string())
            .arg("--memory-bytes")
            .arg(self.limits.memory_bytes.to_string())
            .arg("--")
            .args(program)
            .current_dir(folder)
            .env_clear()
            // Ctrl-C is for us: a program that it ended would be noted as failed.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let limit = self.limits.output_bytes;
        let (events, news) = channel();
        let pid = Pid::from_raw(child.id() as i32);
        thread::scope(|scope| {
            let (to_out, to_err) = (events.clone(), events.clone());
            let out = scope.spawn(move || stdout.map(|pipe| read_up_to(pipe, limit, &to_out)).unwrap_or_default());
            let err = scope.spawn(move || stderr.map(|pipe: ChildStderr| read_up_to(pipe, limit, &to_err)).unwrap_or_default());
            scope.spawn(move || feed(stdin, input));
            scope.spawn(move || {
                // Not reaped here: until `finish` does, the process id is the child's and nobody else's.
                while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
                let _ = events.send(Event::Ended);
            });
            let cut = match news.recv_timeout(self.limits.wall) {
                Ok(Event::Ended) => None,
                Ok(Event::OutputLimit) => Some(Ended::OutputLimit),
                Err(_) => Some(Ended::TimedOut),
            };
            let ended = finish(&mut child, cut)?;
            let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
            // The last bytes may have been read after the process had ended.
            let over = stdout.len().max(stderr.len()) >= limit;
            Ok(Outcome { ended: if over { Ended::OutputLimit } else { ended }, stdout, stderr })
        })
    }
}

fn finish(child: &mut Child, cut: Option<Ended>) -> Result<Ended, SandboxError> {
    if cut.is_some() {
        child.kill()?;
    }
    let status = child.wait()?;
    Ok(match (cut, status.code(), status.signal()) {
        (Some(cut), ..) => cut,
        (None, Some(code), _) => Ended::Exited(code),
        (None, None, Some(libc::SIGXCPU)) => Ended::TimedOut,
        (None, None, signal) => Ended::Killed(signal.unwrap_or(0)),
    })
}

/// Reads until the end or the limit; at the limit says so and stops reading, which stops the writer until it is killed.
fn read_up_to(pipe: impl Read, limit: usize, events: &Sender<Event>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.take(limit as u64).read_to_end(&mut bytes);
    if bytes.len() >= limit {
        let _ = events.send(Event::OutputLimit);
    }
    bytes
}

/// A program that does not read its input leaves a broken pipe, which is no news.
fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut pipe) = stdin {
        let _ = pipe.write_all(input);
    }
}
