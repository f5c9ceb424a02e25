//! From an example and a completion to a verdict: builds the program that the set's makers mean,
//! and runs it.

use std::path::Path;

use serde::Deserialize;

use super::python::command_line;
use super::{Ended, Sandbox, SandboxError};
use crate::Example;
use crate::example::Test;

/// What a run says about a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub passed: bool,
    /// Why not: `timeout`, `output limit`, `thread limit`, `signal 11`, or the class of the error.
    /// Empty for a pass.
    pub reason: String,
}

/// Whether this example can be judged by execution here: it has a test, and the test is Python.
pub fn judges(example: &Example) -> bool {
    example.test.is_some() && example.language == "python"
}

/// Runs `completion` in its file under the example's test.
///
/// The tests run in a process of their own, the code that is judged in another one, which is only
/// asked for values: it holds neither the pipe on which the verdict comes nor the word that must
/// stand in it, so nothing it does or returns can be a pass but the right values. Programs that are
/// judged by what they print (`Cases`) do not know what is expected of them.
///
/// Errors: the sandbox itself failed.
pub fn judge(
    sandbox: &Sandbox,
    python: &Path,
    example: &Example,
    completion: &str,
) -> Result<Verdict, SandboxError> {
    let Example { prefix, suffix, .. } = example;
    let scratch = tempfile::Builder::new().prefix("lacuna-run-").tempdir()?;
    match &example.test {
        None => Ok(Verdict { passed: false, reason: "no test".to_owned() }),
        Some(Test::Check { entry_point, test }) => under_test(
            sandbox,
            python,
            scratch.path(),
            prefix,
            &format!("{prefix}{completion}{suffix}\n"),
            test,
            Some(entry_point),
        ),
        Some(Test::Append { test }) => under_test(
            sandbox,
            python,
            scratch.path(),
            prefix,
            &format!("{prefix}{completion}{suffix}\n"),
            test,
            None,
        ),
        Some(Test::Cases { frame, cases }) => {
            std::fs::write(
                scratch.path().join("program.py"),
                frame.replacen(Test::HOLE, completion, 1),
            )?;
            for case in cases {
                let outcome = sandbox.run(
                    &command_line(python, &["program.py"]),
                    scratch.path(),
                    case.input.as_bytes(),
                )?;
                let printed = String::from_utf8_lossy(&outcome.stdout);
                let right = case
                    .output
                    .iter()
                    .any(|expected| printed.split_whitespace().eq(expected.split_whitespace()));
                if outcome.ended != Ended::Exited(0) || !right {
                    let reason = reason(&outcome.ended, &outcome.stderr)
                        .unwrap_or_else(|| "wrong output".to_owned());
                    return Ok(Verdict { passed: false, reason });
                }
            }
            Ok(Verdict { passed: true, reason: String::new() })
        }
    }
}

/// The two sides of a test: `tester.py` in a process that holds the tests, `candidate.py` in one
/// that holds the program.
const TESTER: &str = include_str!("tester.py");
const CANDIDATE: &str = include_str!("candidate.py");

/// What the tester says in the end.
#[derive(Deserialize)]
struct Told {
    nonce: String,
    passed: bool,
    reason: String,
}

fn under_test(
    sandbox: &Sandbox,
    python: &Path,
    folder: &Path,
    prefix: &str,
    program: &str,
    test: &str,
    entry: Option<&str>,
) -> Result<Verdict, SandboxError> {
    // The scratch folder's random part, which nobody had when the completion was written.
    let nonce = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tests = serde_json::json!({"prefix": prefix, "test": test, "entry": entry, "nonce": nonce})
        .to_string();
    let judged = serde_json::json!({"program": program}).to_string();
    let [tester, candidate] = [TESTER, CANDIDATE].map(|code| command_line(python, &["-c", code]));
    let (outcome, other) =
        sandbox.run_pair((&tester, tests.as_bytes()), (&candidate, judged.as_bytes()), folder)?;
    let told: Option<Told> =
        serde_json::from_slice(&outcome.stderr).ok().filter(|told: &Told| told.nonce == nonce);
    let reason = match told {
        Some(told) if told.passed && outcome.ended == Ended::Exited(0) => {
            return Ok(Verdict { passed: true, reason: String::new() });
        }
        Some(told) if told.reason == "gone" => match other {
            None | Some(Ended::Exited(_)) => "ended before the test did".to_owned(),
            Some(ended) => reason(&ended, b"").unwrap_or_default(),
        },
        Some(told) => told.reason,
        None => reason(&outcome.ended, &outcome.stderr).unwrap_or_else(|| "no verdict".to_owned()),
    };
    Ok(Verdict { passed: false, reason })
}

/// `None` for a clean exit. Of an error only the class is kept, and only if it is one of Python's
/// own: the message may be what the program has read.
fn reason(ended: &Ended, stderr: &[u8]) -> Option<String> {
    match ended {
        Ended::Exited(0) => None,
        Ended::TimedOut => Some("timeout".to_owned()),
        Ended::OutputLimit => Some("output limit".to_owned()),
        Ended::TooManyThreads => Some("thread limit".to_owned()),
        Ended::Killed(signal) => Some(format!("signal {signal}")),
        Ended::Exited(code) => {
            let text = String::from_utf8_lossy(stderr);
            let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("");
            let class = last.split(':').next().unwrap_or("").trim();
            Some(if CLASSES.contains(&class) { class.to_owned() } else { format!("exit {code}") })
        }
    }
}

/// Python's own classes of errors.
const CLASSES: [&str; 56] = [
    "ArithmeticError",
    "AssertionError",
    "AttributeError",
    "BaseException",
    "BaseExceptionGroup",
    "BlockingIOError",
    "BrokenPipeError",
    "BufferError",
    "ChildProcessError",
    "ConnectionAbortedError",
    "ConnectionError",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "EOFError",
    "Exception",
    "ExceptionGroup",
    "FileExistsError",
    "FileNotFoundError",
    "FloatingPointError",
    "GeneratorExit",
    "ImportError",
    "IndentationError",
    "IndexError",
    "InterruptedError",
    "IsADirectoryError",
    "KeyError",
    "KeyboardInterrupt",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "ProcessLookupError",
    "RecursionError",
    "ReferenceError",
    "RuntimeError",
    "StopAsyncIteration",
    "StopIteration",
    "SyntaxError",
    "SystemError",
    "SystemExit",
    "TabError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "UnicodeError",
    "UnicodeTranslateError",
    "ValueError",
    "Warning",
    "ZeroDivisionError",
];
