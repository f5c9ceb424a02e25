//! Running programs that a model wrote, so that they can harm nothing: pass@k by execution.
//!
//! Owns: the confinement (`confine`), watching over one run (`supervise`), the Python at hand
//! (`python`), programs from tests (`judge`). Linux only. What holds a program, in this order:
//! 1. rlimits: CPU time, address space, no core dump, few open files, no byte into any regular
//!    file;
//! 2. a seccomp filter that allows what an interpreter needs to compute and refuses everything
//!    else: no file is opened for writing, no name made, moved or removed, no socket, no second
//!    process, no signal to others, no namespaces, no io_uring;
//! 3. an empty environment, no standard input, an empty scratch directory of its own, and pipes
//!    that are read up to a limit;
//! 4. a wall-clock limit, after which it is killed. As it can start no process, its tree is itself.
//!
//! 5. Landlock, where the kernel has it (5.13): it reads its interpreter, the system's libraries
//!    and the scratch directory, and nothing of the user's; where there is none it may read what
//!    the user may read, but not what this process holds (it is not dumpable), and what it reads
//!    goes nowhere: there is no socket, its output is cut and thrown away, of its errors only the
//!    class is kept;
//! 6. a limit on threads.
//!
//! The tests that judge it run in a second such process; see `judge`. `seccomp` needs no privilege,
//! so containers that forbid user namespaces can still run this. Start reading at [`Sandbox::run`].

#[cfg(target_os = "linux")]
mod confine;
#[cfg(not(target_os = "linux"))]
#[path = "confine_nowhere.rs"]
mod confine;
mod judge;
mod python;
mod supervise;

use std::path::PathBuf;
use std::time::Duration;

pub use confine::confine_and_exec;
pub use judge::{Verdict, judge, judges};
pub use python::find_python;
pub use supervise::{Ended, Outcome, Sandbox};

/// What one program may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// CPU time. A busy machine does not turn a pass into a failure.
    pub cpu: Duration,
    /// Time on the clock, against programs that sleep.
    pub wall: Duration,
    /// Address space in bytes.
    pub memory_bytes: u64,
    /// Standard output and standard error, each.
    pub output_bytes: usize,
}

impl Default for Limits {
    /// 5 s of CPU, 20 s on the clock, 1 GiB, 1 MiB of output.
    fn default() -> Limits {
        Limits {
            cpu: Duration::from_secs(5),
            wall: Duration::from_secs(20),
            memory_bytes: 1 << 30,
            output_bytes: 1 << 20,
        }
    }
}

/// Why nothing could be run. A program that fails is no error: see [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("running generated code needs Linux (seccomp): leave it out with --no-execution")]
    NotLinux,
    #[error(
        "this processor ({0}) has no seccomp filter here: leave running generated code out with --no-execution"
    )]
    Architecture(&'static str),
    #[error("{python} was not found or does not run: install Python 3, name one with --python, or leave out running generated code with --no-execution", python = .0.display())]
    NoPython(PathBuf),
    #[error("{python} is Python {version}: Python 3.8 or later is needed; name one with --python", python = .path.display())]
    OldPython { path: PathBuf, version: String },
    #[error(
        "the sandbox could not be entered: {0}; leave running generated code out with --no-execution"
    )]
    Confine(String),
    #[error("cannot start a program in the sandbox: {0}")]
    Io(#[from] std::io::Error),
}
