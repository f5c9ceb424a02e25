//! From an example and a completion to a verdict: builds the program that the set's makers mean, and runs it.

use std::path::Path;

use super::python::command_line;
use super::{Ended, Sandbox, SandboxError};
use crate::Example;
use crate::example::Test;

/// What a run says about a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub passed: bool,
    /// Why not: `timeout`, `output limit`, `signal 11`, or the last line of the error message. Empty for a pass.
    pub reason: String,
}

/// Longest reason that is kept, in bytes.
const MAX_REASON: usize = 200;

/// Whether this example can be judged by execution here: it has a test, and the test is Python.
pub fn judges(example: &Example) -> bool {
    example.test.is_some() && example.language == "python"
}

/// Runs `completion` in its file under the example's test.
///
/// A pass is more than a clean exit: the program must reach its last line, which prints a word drawn after the completion was
/// written. So `exit(0)` in a completion is a failure, as it is in the original harnesses.
///
/// Errors: the sandbox itself failed.
pub fn judge(sandbox: &Sandbox, python: &Path, example: &Example, completion: &str) -> Result<Verdict, SandboxError> {
    let Example { prefix, suffix, .. } = example;
    let scratch = tempfile::Builder::new().prefix("lacuna-run-").tempdir()?;
    let run = |program: &str, input: &[u8]| {
        std::fs::write(scratch.path().join("program.py"), program)?;
        sandbox.run(&command_line(python, "program.py"), scratch.path(), input)
    };
    match &example.test {
        None => Ok(Verdict { passed: false, reason: "no test".to_owned() }),
        Some(Test::Check { entry_point, test }) => {
            let word = word(scratch.path());
            let program = format!("{prefix}{completion}{suffix}\n{test}\ncheck({entry_point})\nimport sys\nsys.stdout.write({word:?})\n");
            verdict_of_word(&run(&program, &[])?, &word)
        }
        Some(Test::Append { test }) => {
            let word = word(scratch.path());
            let program = format!("{prefix}{completion}{suffix}\n{test}\nimport sys\nsys.stdout.write({word:?})\n");
            verdict_of_word(&run(&program, &[])?, &word)
        }
        Some(Test::Cases { frame, cases }) => {
            let program = frame.replacen(Test::HOLE, completion, 1);
            for case in cases {
                let outcome = run(&program, case.input.as_bytes())?;
                let printed = String::from_utf8_lossy(&outcome.stdout);
                let right = case.output.iter().any(|expected| printed.split_whitespace().eq(expected.split_whitespace()));
                if outcome.ended != Ended::Exited(0) || !right {
                    let reason = reason(&outcome.ended, &outcome.stderr).unwrap_or_else(|| "wrong output".to_owned());
                    return Ok(Verdict { passed: false, reason });
                }
            }
            Ok(Verdict { passed: true, reason: String::new() })
        }
    }
}

/// The scratch directory's random name, which nobody had when the completion was written.
fn word(scratch: &Path) -> String {
    format!("done:{}", scratch.file_name().unwrap_or_default().to_string_lossy())
}

fn verdict_of_word(outcome: &super::Outcome, word: &str) -> Result<Verdict, SandboxError> {
    let passed = outcome.ended == Ended::Exited(0) && outcome.stdout.ends_with(word.as_bytes());
    let reason = match reason(&outcome.ended, &outcome.stderr) {
        _ if passed => String::new(),
        Some(reason) => reason,
        None => "ended before the test did".to_owned(),
    };
    Ok(Verdict { passed, reason })
}

/// `None` for a clean exit.
fn reason(ended: &Ended, stderr: &[u8]) -> Option<String> {
    match ended {
        Ended::Exited(0) => None,
        Ended::TimedOut => Some("timeout".to_owned()),
        Ended::OutputLimit => Some("output limit".to_owned()),
        Ended::Killed(signal) => Some(format!("signal {signal}")),
        Ended::Exited(code) => {
            let text = String::from_utf8_lossy(stderr);
            let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
            let short = &last[..last.floor_char_boundary(MAX_REASON)];
            Some(if short.is_empty() { format!("exit {code}") } else { short.to_owned() })
        }
    }
}
