//! The outside of the sandbox: starts a confined process, reads it up to a limit, and ends it when
//! its time is up.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Limits, SandboxError};

/// How to start a confined process.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Command line that ends up in [`super::confine_and_exec`] when the limits and a program are
    /// appended: `lacuna fim-eval confined`.
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
    /// Started more threads than a program needs.
    TooManyThreads,
}

/// Threads of one program at once.
const MAX_THREADS: usize = 64;
/// Between two looks at how many there are.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes that two programs may say to each other, each way.
const MAX_TALK: u64 = 64 << 20;
/// Time for a program that has hung up to be seen to have ended.
const HUNG_UP: Duration = Duration::from_secs(5);

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
    /// Runs `program` (path, then arguments) in `folder`, with `input` as its standard input.
    /// Blocks until it has ended or was ended.
    ///
    /// Errors: it could not be started.
    pub fn run(
        &self,
        program: &[OsString],
        folder: &Path,
        input: &[u8],
    ) -> Result<Outcome, SandboxError> {
        let mut child = self.start(program, folder)?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let limit = self.limits.output_bytes;
        let (events, news) = channel();
        let pid = Pid::from_raw(child.id() as i32);
        thread::scope(|scope| {
            let (to_out, to_err) = (events.clone(), events.clone());
            let out = scope.spawn(move || {
                stdout.map(|pipe| read_up_to(pipe, limit, &to_out)).unwrap_or_default()
            });
            let err = scope.spawn(move || {
                stderr.map(|pipe: ChildStderr| read_up_to(pipe, limit, &to_err)).unwrap_or_default()
            });
            scope.spawn(move || feed(stdin, input));
            scope.spawn(move || wait(pid, &events));
            let cut = self.watch(&news, &[pid]);
            let ended = finish(&mut child, cut)?;
            let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
            // The last bytes may have been read after the process had ended.
            let over = stdout.len().max(stderr.len()) >= limit;
            Ok(Outcome { ended: if over { Ended::OutputLimit } else { ended }, stdout, stderr })
        })
    }

    /// Runs two programs that talk to each other: what one prints the other reads, behind a first
    /// line of its own. Ends when the first has ended; the second is ended then. Returns how each
    /// ended (`None`: the second still ran) and what the first said on standard error.
    ///
    /// Errors: one could not be started.
    pub fn run_pair(
        &self,
        (first, first_line): (&[OsString], &[u8]),
        (second, second_line): (&[OsString], &[u8]),
        folder: &Path,
    ) -> Result<(Outcome, Option<Ended>), SandboxError> {
        let mut one = self.start(first, folder)?;
        let mut other = match self.start(second, folder) {
            Ok(other) => other,
            Err(error) => {
                finish(&mut one, Some(Ended::TimedOut))?;
                return Err(error);
            }
        };
        let (one_in, one_out, one_err) = (one.stdin.take(), one.stdout.take(), one.stderr.take());
        let (other_in, other_out, other_err) =
            (other.stdin.take(), other.stdout.take(), other.stderr.take());
        let limit = self.limits.output_bytes;
        let (events, news) = channel();
        let pids = [&one, &other].map(|child| Pid::from_raw(child.id() as i32));
        thread::scope(|scope| {
            let (to_said, to_err) = (events.clone(), events.clone());
            let said = scope.spawn(move || {
                one_err.map(|pipe| read_up_to(pipe, limit, &to_said)).unwrap_or_default()
            });
            scope.spawn(move || other_err.map(|pipe| read_up_to(pipe, limit, &to_err)));
            scope.spawn(move || relay(first_line, other_out, one_in));
            scope.spawn(move || relay(second_line, one_out, other_in));
            scope.spawn(move || wait(pids[0], &events));
            let cut = self.watch(&news, &pids);
            let ended = finish(&mut one, cut)?;
            // It may have hung up and be about to end.
            let until = Instant::now() + if cut.is_none() { HUNG_UP } else { Duration::ZERO };
            let mut status = other.try_wait()?;
            while status.is_none() && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
                status = other.try_wait()?;
            }
            let other_ended = status.map(ended_as);
            if status.is_none() {
                finish(&mut other, Some(Ended::TimedOut))?;
            }
            let said = said.join().unwrap_or_default();
            Ok((Outcome { ended, stdout: Vec::new(), stderr: said }, other_ended))
        })
    }

    /// Waits until a program has ended (`None`) or must be ended.
    fn watch(&self, news: &Receiver<Event>, pids: &[Pid]) -> Option<Ended> {
        let until = Instant::now() + self.limits.wall;
        loop {
            match news.recv_timeout(LOOK.min(until.saturating_duration_since(Instant::now()))) {
                Ok(Event::Ended) => return None,
                Ok(Event::OutputLimit) => return Some(Ended::OutputLimit),
                Err(RecvTimeoutError::Disconnected) => return Some(Ended::TimedOut),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= until => {
                    return Some(Ended::TimedOut);
                }
                Err(RecvTimeoutError::Timeout)
                    if pids.iter().any(|pid| threads(*pid) > MAX_THREADS) =>
                {
                    return Some(Ended::TooManyThreads);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Starts a confined program with pipes to it.
    fn start(&self, program: &[OsString], folder: &Path) -> Result<Child, SandboxError> {
        // What this process holds (its environment, the tests) is not for its children to read.
        nix::sys::prctl::set_dumpable(false)
            .map_err(|e| SandboxError::Confine(format!("not dumpable: {e}")))?;
        let [launcher, args @ ..] = &self.launcher[..] else {
            return Err(SandboxError::Confine("no launcher".to_owned()));
        };
        let child = Command::new(launcher)
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
        Ok(child)
    }
}

/// Tells when a process has ended. It is not reaped here: until [`finish`] does, the process id is
/// the child's and nobody else's.
fn wait(pid: Pid, events: &Sender<Event>) {
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    let _ = events.send(Event::Ended);
}

fn threads(pid: Pid) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task"))
        .map_or(0, |entries| entries.take(MAX_THREADS + 1).count())
}

/// Writes `line`, then what comes from `from`, until either side hangs up or has said too much.
fn relay(line: &[u8], from: Option<std::process::ChildStdout>, to: Option<ChildStdin>) {
    let (Some(from), Some(mut to)) = (from, to) else { return };
    if to.write_all(line).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush()).is_ok() {
        let _ = std::io::copy(&mut from.take(MAX_TALK), &mut to);
    }
}

fn finish(child: &mut Child, cut: Option<Ended>) -> Result<Ended, SandboxError> {
    if cut.is_some() {
        // One that has ended meanwhile is no error.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok(cut.unwrap_or_else(|| ended_as(status)))
}

fn ended_as(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(libc::SIGXCPU)) => Ended::TimedOut,
        (None, signal) => Ended::Killed(signal.unwrap_or(0)),
    }
}

/// Reads until the end or the limit; at the limit says so and stops reading, which stops the writer
/// until it is killed.
///
/// The pipe is closed only after the word is given: a writer that hangs up on us by the broken pipe
/// is then later news than the limit.
fn read_up_to(mut pipe: impl Read, limit: usize, events: &Sender<Event>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(limit as u64).read_to_end(&mut bytes);
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
