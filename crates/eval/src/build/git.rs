//! Reading a local clone with the `git` command: commits, files at a commit, diffs. Bare and ordinary clones.
//!
//! Nothing is written and nothing is fetched: transports are forbidden for every call but [`fetch`]. Hooks, external diff
//! programs and text converters of a repository are never run. One `cat-file` process serves all files of a repository.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Output of one git call that is kept at most.
const MAX_OUTPUT: u64 = 1 << 30;

/// Why a repository cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot run git ({0}): install it, `fim-eval build` reads repositories with it")]
    NoGit(std::io::Error),
    #[error("{dir} is no git repository: give the folder of a clone, bare or not", dir = dir.display())]
    NotARepository { dir: PathBuf },
    #[error("git {what} in {dir}: {message}", dir = dir.display())]
    Failed { dir: PathBuf, what: String, message: String },
    #[error("git {what} in {dir}: {source}", dir = dir.display())]
    Io { dir: PathBuf, what: String, source: std::io::Error },
}

/// A file at a commit.
#[derive(Debug, PartialEq, Eq)]
pub enum Blob {
    Bytes(Vec<u8>),
    /// Not there, or no file.
    Missing,
    /// Longer than was asked for.
    TooLong,
}

/// A clone on this machine.
pub struct Repository {
    dir: PathBuf,
    /// `--git-dir=…` of a bare clone, or none.
    bare: bool,
    batch: Option<Batch>,
}

struct Batch {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Drop for Batch {
    fn drop(&mut self) {
        // It would end by itself when its input closes; a reply that nobody reads must not keep it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Repository {
    /// Errors: no git, or `dir` is neither a bare nor an ordinary clone.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        let bare = !dir.join(".git").exists();
        if bare && !(dir.join("HEAD").is_file() && dir.join("objects").is_dir()) {
            return Err(GitError::NotARepository { dir: dir.to_owned() });
        }
        let mut repository = Repository { dir: dir.to_owned(), bare, batch: None };
        repository.output("rev-parse", &["rev-parse", "--git-dir"])?;
        Ok(repository)
    }

    /// Whether the commit, and so all that was committed with it, is here.
    pub fn has_commit(&mut self, commit: &str) -> Result<bool, GitError> {
        Ok(self.object(&format!("{commit}^{{commit}}"), 1 << 20)? != Blob::Missing)
    }

    /// The file at `path`, if it is no longer than `max` bytes.
    pub fn blob(&mut self, commit: &str, path: &str, max: usize) -> Result<Blob, GitError> {
        self.object(&format!("{commit}:{path}"), max)
    }

    /// Paths of all ordinary files at a commit, in git's order (by bytes).
    pub fn files(&mut self, commit: &str) -> Result<Vec<String>, GitError> {
        let listing = self.output("ls-tree", &["ls-tree", "-r", "-z", "--full-tree", commit])?;
        let mut paths = Vec::new();
        for entry in listing.split(|b| *b == 0) {
            // `100644 blob <id>\t<path>`; links and submodules are no files.
            let Ok(entry) = std::str::from_utf8(entry) else { continue };
            if let Some((facts, path)) = entry.split_once('\t')
                && facts.starts_with("100")
            {
                paths.push(path.to_owned());
            }
        }
        Ok(paths)
    }

    /// Standard output of a git command that only reads.
    pub fn output(&mut self, what: &str, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let mut child = self
            .command(false)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(GitError::NoGit)?;
        let io = |source| GitError::Io { dir: self.dir.clone(), what: what.to_owned(), source };
        // Errors of git are short: a pipe holds them until the output has been read.
        let mut bytes = Vec::new();
        if let Some(out) = child.stdout.take() {
            out.take(MAX_OUTPUT).read_to_end(&mut bytes).map_err(io)?;
        }
        let mut message = String::new();
        if let Some(mut err) = child.stderr.take() {
            let _ = err.read_to_string(&mut message);
        }
        if child.wait().map_err(io)?.success() {
            return Ok(bytes);
        }
        Err(GitError::Failed { dir: self.dir.clone(), what: what.to_owned(), message: first_line(&message) })
    }

    /// Gets a commit that the clone lacks from where it was cloned from. Uses the network.
    pub fn fetch_commit(&mut self, commit: &str) -> Result<(), GitError> {
        self.batch = None;
        run(self.command(true).args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "origin", commit]), &self.dir, "fetch")
    }

    fn command(&self, network: bool) -> Command {
        let mut command = git(network);
        // A folder that only lies inside of some other repository is not taken for a clone.
        if let Some(parent) = self.dir.canonicalize().ok().and_then(|d| d.parent().map(Path::to_owned)) {
            command.env("GIT_CEILING_DIRECTORIES", parent);
        }
        if self.bare {
            let mut option = std::ffi::OsString::from("--git-dir=");
            option.push(&self.dir);
            command.arg(option);
        } else {
            command.arg("-C").arg(&self.dir);
        }
        command
    }

    fn object(&mut self, name: &str, max: usize) -> Result<Blob, GitError> {
        if name.contains(['\n', '\0']) {
            return Ok(Blob::Missing);
        }
        if self.batch.is_none() {
            let mut child = self
                .command(false)
                .args(["cat-file", "--batch"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .map_err(GitError::NoGit)?;
            let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(self.died());
            };
            self.batch = Some(Batch { child, requests, replies: BufReader::new(replies) });
        }
        let reply = self.batch.as_mut().map(|batch| batch.object(name, max));
        match reply {
            Some(Ok(Some(blob))) => Ok(blob),
            Some(Ok(None)) | None => Err(self.died()),
            Some(Err(source)) => {
                self.batch = None;
                Err(GitError::Io { dir: self.dir.clone(), what: "cat-file".to_owned(), source })
            }
        }
    }

    /// A promised object of a partial clone ends the process: it may not be fetched.
    fn died(&mut self) -> GitError {
        self.batch = None;
        let message = "ended early; is this a partial clone? Fetch all of it, or allow --fetch".to_owned();
        GitError::Failed { dir: self.dir.clone(), what: "cat-file".to_owned(), message }
    }
}

impl Batch {
    /// `None`: the process has ended.
    fn object(&mut self, name: &str, max: usize) -> std::io::Result<Option<Blob>> {
        if self.requests.write_all(format!("{name}\n").as_bytes()).and_then(|()| self.requests.flush()).is_err() {
            return Ok(None);
        }
        read_object(&mut self.replies, max)
    }
}

/// One reply of `git cat-file --batch`. `None`: the process has ended.
pub fn read_object(replies: &mut impl BufRead, max: usize) -> std::io::Result<Option<Blob>> {
    let mut header = Vec::new();
    replies.by_ref().take(1 << 16).read_until(b'\n', &mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    let header = String::from_utf8_lossy(&header).into_owned();
    let mut parts = header.trim_end().rsplit(' ');
    let (size, kind) = (parts.next().and_then(|n| n.parse::<u64>().ok()), parts.next());
    let Some(size) = size.filter(|_| matches!(kind, Some("blob" | "commit" | "tree" | "tag"))) else {
        return Ok(Some(Blob::Missing));
    };
    let mut blob = match (kind, usize::try_from(size)) {
        // Grown as bytes arrive: a lying size allocates nothing.
        (Some("blob" | "commit"), Ok(n)) if n <= max => Blob::Bytes(Vec::new()),
        (Some("blob" | "commit"), _) => Blob::TooLong,
        _ => Blob::Missing,
    };
    let mut body = replies.by_ref().take(size);
    let n = match &mut blob {
        Blob::Bytes(bytes) => body.read_to_end(bytes)? as u64,
        _ => std::io::copy(&mut body, &mut std::io::sink())?,
    };
    let mut end = [0u8];
    if n < size || replies.read(&mut end)? == 0 {
        return Ok(None);
    }
    Ok(Some(blob))
}

/// Makes a bare clone of `url` at `dir`. Uses the network.
pub fn clone(url: &str, dir: &Path) -> Result<(), GitError> {
    run(git(true).args(["clone", "--quiet", "--bare", "--", url]).arg(dir), dir, "clone")
}

fn run(command: &mut Command, dir: &Path, what: &str) -> Result<(), GitError> {
    let output = command.stdin(Stdio::null()).output().map_err(GitError::NoGit)?;
    if output.status.success() {
        return Ok(());
    }
    let message = first_line(&String::from_utf8_lossy(&output.stderr));
    Err(GitError::Failed { dir: dir.to_owned(), what: what.to_owned(), message })
}

fn git(network: bool) -> Command {
    let mut command = Command::new("git");
    // What a calling git (a hook) says about its own repository is not about this one.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"]
    {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    command.args(["--no-pager", "--no-replace-objects", "-c", "core.fsmonitor=false", "-c", "core.quotePath=true"]);
    if !network {
        command.env("GIT_NO_LAZY_FETCH", "1").args(["-c", "protocol.allow=never"]);
    }
    command
}

fn first_line(message: &str) -> String {
    message.lines().find(|l| !l.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}
