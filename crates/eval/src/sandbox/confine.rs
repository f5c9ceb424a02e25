//! The inside of the sandbox: a process gives up what it could do harm with, then becomes the
//! program.
//!
//! This runs in a process of its own (`lacuna fim-eval confined`), started by `supervise`: `fork`
//! without `exec` is not to be had without `unsafe`, and a fresh process has one thread, which a
//! filter needs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::c_long;
use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Limits, SandboxError};

/// Most files that may be open at once.
const MAX_OPEN_FILES: u64 = 64;

/// Confines this process for good and replaces it by `program` (path, then arguments). Comes back
/// only with an error.
///
/// Inherited files beyond the standard three are closed first: they may be anything of the
/// caller's.
pub fn confine_and_exec(limits: &Limits, program: &[OsString]) -> Result<Infallible, SandboxError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        SandboxError::Confine(format!("{what}: {error}"))
    };
    let [path, args @ ..] = program else {
        return Err(SandboxError::Confine("no program given".to_owned()));
    };
    let filter = filter()?;
    close_inherited().map_err(|e| failed("closing files", &e))?;
    let cpu = limits.cpu.as_secs().max(1);
    for (what, soft, hard) in [
        // SIGXCPU at the soft limit tells a time-out from a crash; the hard one is for programs
        // that ignore it.
        (Resource::RLIMIT_CPU, cpu, cpu + 1),
        (Resource::RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (Resource::RLIMIT_FSIZE, 0, 0),
        (Resource::RLIMIT_CORE, 0, 0),
        (Resource::RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES),
    ] {
        setrlimit(what, soft, hard).map_err(|e| failed(&format!("{what:?}"), &e))?;
    }
    // Whoever started this and is gone cannot end it any more.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .map_err(|e| failed("death signal", &e))?;
    // A kernel without it is no error (the crate falls back by itself): the other walls stand.
    read_only_what_is_needed(std::path::Path::new(path)).map_err(|e| failed("landlock", &e))?;
    let mut command = Command::new(path);
    command.args(args).env_clear();
    seccompiler::apply_filter(&filter).map_err(|e| failed("seccomp", &e))?;
    Err(SandboxError::Io(command.exec()))
}

/// Landlock, where the kernel has it: the program's own files, the system's libraries, and the
/// working folder may be read, nothing else; not `/proc`, not the user's files.
fn read_only_what_is_needed(program: &std::path::Path) -> Result<(), landlock::RulesetError> {
    use landlock::{
        ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, path_beneath_rules,
    };
    let abi = ABI::V3;
    let here = std::env::current_dir().unwrap_or_default();
    let mut readable: Vec<std::path::PathBuf> = [
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/opt",
        "/nix/store",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/dev/null",
        "/dev/urandom",
    ]
    .map(Into::into)
    .to_vec();
    // An interpreter lies in `PREFIX/bin`, its library beside that; a link to it, as in a virtual
    // environment, likewise.
    let real = std::fs::canonicalize(program).unwrap_or_default();
    for place in [program, &real] {
        readable.extend(
            place
                .parent()
                .and_then(|bin| bin.parent())
                .filter(|prefix| prefix.parent().is_some())
                .map(Into::into),
        );
        readable.push(place.to_owned());
    }
    readable.push(here);
    Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
        .restrict_self()?;
    Ok(())
}

fn close_inherited() -> std::io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in open {
        // The folder's own is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// Allowed whatever the arguments: memory, time, reading, and the process looking at itself.
const FREE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Whatever is executed stands under the same filter, and no new privilege can come with it.
    libc::SYS_execve,
];

/// The old forms that this processor's C library still calls.
#[cfg(target_arch = "x86_64")]
const FREE_HERE: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_dup2,
    libc::SYS_arch_prctl,
    libc::SYS_getrlimit,
    libc::SYS_time,
    libc::SYS_poll,
    libc::SYS_select,
];
#[cfg(not(target_arch = "x86_64"))]
const FREE_HERE: &[c_long] = &[];

/// Flags that open a file for something else than reading: `O_WRONLY | O_RDWR`, `O_CREAT`,
/// `O_TRUNC`. `O_TMPFILE` needs one of the first two.
const WRITING: u64 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;

/// The filter: what is not allowed answers `ENOSYS`, as an old kernel would, so that C libraries
/// fall back to older calls (`clone3` to `clone`, whose flags can be looked at) and programs see an
/// error that they can report.
fn filter() -> Result<BpfProgram, SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| SandboxError::Architecture(std::env::consts::ARCH))?;
    let invalid =
        |e: seccompiler::BackendError| SandboxError::Confine(format!("seccomp filter: {e}"));
    let only = |index, op, value| {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value)?;
        SeccompRule::new(vec![condition])
    };
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> =
        FREE.iter().chain(FREE_HERE).map(|call| (*call, Vec::new())).collect();
    let reading = |index| only(index, SeccompCmpOp::MaskedEq(WRITING), 0);
    rules.insert(libc::SYS_openat, vec![reading(2).map_err(invalid)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![reading(1).map_err(invalid)?]);
    // Threads, not processes.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(
        libc::SYS_clone,
        vec![only(0, SeccompCmpOp::MaskedEq(thread), thread).map_err(invalid)?],
    );
    // Limits are looked up, not changed: the new value is a null pointer.
    rules.insert(libc::SYS_prlimit64, vec![only(2, SeccompCmpOp::Eq, 0).map_err(invalid)?]);
    // Is it a terminal, close it on exec: not what a terminal could be made to type.
    let requests: [libc::Ioctl; 4] =
        [libc::TCGETS, libc::TIOCGWINSZ, libc::FIOCLEX, libc::FIONCLEX];
    let ioctls: Result<_, _> =
        requests.into_iter().map(|r| only(1, SeccompCmpOp::Eq, request(r))).collect();
    rules.insert(libc::SYS_ioctl, ioctls.map_err(invalid)?);
    let commands =
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_DUPFD, libc::F_DUPFD_CLOEXEC];
    let fcntls: Result<_, _> =
        commands.iter().map(|c| only(1, SeccompCmpOp::Eq, *c as u64)).collect();
    rules.insert(libc::SYS_fcntl, fcntls.map_err(invalid)?);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
        arch,
    )
    .map_err(invalid)?;
    filter.try_into().map_err(invalid)
}

/// As the register holds it: the type of a request is wider with some C libraries than with others.
#[allow(clippy::unnecessary_cast)]
fn request(number: libc::Ioctl) -> u64 {
    number as u64
}
