//! Reading a local clone with the `git` command: commits, files at a commit, diffs. Bare and
//! ordinary clones.
//!
//! Nothing is written and nothing is fetched: transports are forbidden for every call but
//! [`fetch`]. What a repository's configuration could make git run is pinned ([`PINS`]): hooks,
//! signature checkers, external diff programs, text converters, pagers. One `cat-file` process
//! serves all files of a repository.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Output of one git call that is kept at most.
const MAX_OUTPUT: u64 = 1 << 30;

/// Settings of a repository that could run a program, with values that do not. Aliases are none of
/// them: git's own commands go first. What drivers of `.gitattributes` run (`diff.*.textconv`,
/// `diff.*.command`) is switched off where diffs are made; filters run where files are written,
/// which is nowhere.
const PINS: [&str; 23] = [
    "log.showSignature=false",
    "merge.verifySignatures=false",
    // An empty program cannot be started; formats that ask for signatures (`%G?`) then get none.
    "gpg.program=",
    "gpg.openpgp.program=",
    "gpg.x509.program=",
    "gpg.ssh.program=",
    "gpg.ssh.defaultKeyCommand=",
    "format.pretty=medium",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.editor=false",
    "core.askPass=",
    "core.sshCommand=ssh",
    "core.gitProxy=",
    "core.alternateRefsCommand=true",
    "core.attributesFile=/dev/null",
    "credential.helper=",
    "diff.external=",
    "interactive.diffFilter=",
    "uploadpack.packObjectsHook=",
    "protocol.ext.allow=never",
];
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
        Err(GitError::Failed {
            dir: self.dir.clone(),
            what: what.to_owned(),
            message: first_line(&message),
        })
    }

    /// Gets a commit that the clone lacks from where it was cloned from. Uses the network.
    pub fn fetch_commit(&mut self, commit: &str) -> Result<(), GitError> {
        self.batch = None;
        run(
            self.command(true).args([
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--upload-pack=git-upload-pack",
                "--no-recurse-submodules",
                "--no-auto-maintenance",
                "origin",
                commit,
            ]),
            &self.dir,
            "fetch",
        )
    }

    fn command(&self, network: bool) -> Command {
        let mut command = git(network);
        // A folder that only lies inside of some other repository is not taken for a clone.
        if let Some(parent) =
            self.dir.canonicalize().ok().and_then(|d| d.parent().map(Path::to_owned))
        {
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
        let message =
            "ended early; is this a partial clone? Fetch all of it, or allow --fetch".to_owned();
        GitError::Failed { dir: self.dir.clone(), what: "cat-file".to_owned(), message }
    }
}

impl Batch {
    /// `None`: the process has ended.
    fn object(&mut self, name: &str, max: usize) -> std::io::Result<Option<Blob>> {
        if self
            .requests
            .write_all(format!("{name}\n").as_bytes())
            .and_then(|()| self.requests.flush())
            .is_err()
        {
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
    let Some(size) = size.filter(|_| matches!(kind, Some("blob" | "commit" | "tree" | "tag")))
    else {
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
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
    ] {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").env("GIT_OPTIONAL_LOCKS", "0");
    for name in [
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_ASKPASS",
        "GIT_EXTERNAL_DIFF",
        "GIT_PAGER",
        "GIT_EDITOR",
        "GIT_PROXY_COMMAND",
    ] {
        command.env_remove(name);
    }
    command.args(["--no-pager", "--no-replace-objects", "-c", "core.quotePath=true"]);
    command.args(PINS.iter().flat_map(|pin| ["-c", pin]));
    // The environment's word counts more than a repository's, which could allow `ext::`, a program.
    command.env("GIT_ALLOW_PROTOCOL", if network { "https:http:ssh:git:file" } else { "none" });
    if !network {
        command.env("GIT_NO_LAZY_FETCH", "1").args(["-c", "protocol.allow=never"]);
    }
    command
}

fn first_line(message: &str) -> String {
    message.lines().find(|l| !l.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Runs plain git in `dir`.
    fn plain(dir: &Path, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_hostile_configuration_runs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("clone");
        std::fs::create_dir(&dir).unwrap();
        plain(&dir, &["init", "-q", "-b", "main"], b"");
        let blob = plain(&dir, &["hash-object", "-w", "--stdin"], b"x = 1\n");
        let attributes =
            plain(&dir, &["hash-object", "-w", "--stdin"], b"* diff=evil filter=evil merge=evil\n");
        let listing =
            format!("100644 blob {attributes}\t.gitattributes\n100644 blob {blob}\ta.py\n");
        let tree = plain(&dir, &["mktree"], listing.as_bytes());
        // Signed, so that whoever checks signatures has one to check.
        let who = "A <a@example.org> 1700000000 +0000";
        let signature =
            "gpgsig -----BEGIN PGP SIGNATURE-----\n \n aaaa\n -----END PGP SIGNATURE-----";
        let commit =
            format!("tree {tree}\nauthor {who}\ncommitter {who}\n{signature}\n\nmessage\n");
        let commit =
            plain(&dir, &["hash-object", "-t", "commit", "-w", "--stdin"], commit.as_bytes());
        plain(&dir, &["update-ref", "refs/heads/main", &commit], b"");
        std::fs::write(dir.join("a.py"), "x = 2\n").unwrap();
        std::fs::write(dir.join(".gitattributes"), "* diff=evil filter=evil merge=evil\n").unwrap();
        let (evil, told) = (folder.path().join("evil"), folder.path().join("told"));
        std::fs::write(&evil, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", told.display()))
            .unwrap();
        std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o755)).unwrap();
        let hooks = folder.path().join("hooks");
        std::fs::create_dir(&hooks).unwrap();
        for hook in [
            "post-checkout",
            "reference-transaction",
            "post-index-change",
            "fsmonitor-watchman",
            "pre-auto-gc",
        ] {
            std::fs::copy(&evil, hooks.join(hook)).unwrap();
        }
        for (key, value) in [
            ("log.showSignature", "true"),
            ("merge.verifySignatures", "true"),
            ("format.pretty", "%G? %H"),
            ("protocol.allow", "always"),
        ]
        .into_iter()
        .chain([
            ("protocol.ext.allow", "always"),
            ("pager.log", "true"),
            ("core.hooksPath", hooks.to_str().unwrap()),
        ]) {
            plain(&dir, &["config", key, value], b"");
        }
        let evil = evil.to_str().unwrap();
        for key in [
            "gpg.program",
            "gpg.openpgp.program",
            "gpg.x509.program",
            "gpg.ssh.program",
            "gpg.ssh.defaultKeyCommand",
            "core.fsmonitor",
            "core.pager",
            "core.editor",
            "core.askPass",
            "core.sshCommand",
            "core.gitProxy",
            "core.alternateRefsCommand",
            "credential.helper",
            "diff.external",
            "diff.evil.command",
            "diff.evil.textconv",
            "filter.evil.clean",
            "filter.evil.smudge",
            "filter.evil.process",
            "merge.evil.driver",
            "interactive.diffFilter",
            "uploadpack.packObjectsHook",
            "remote.origin.uploadpack",
            "pager.diff-tree",
            "sequence.editor",
        ] {
            plain(&dir, &["config", key, evil], b"");
        }
        for command in ["log", "diff-tree", "ls-tree", "cat-file", "rev-parse", "fetch"] {
            plain(&dir, &["config", &format!("alias.{command}"), &format!("!{evil}")], b"");
        }
        plain(&dir, &["config", "remote.origin.url", &format!("ext::{evil} x")], b"");
        // Plain git is caught: the trap works.
        let trap = Command::new("git")
            .arg("-C")
            .arg(&dir)
            .args(["log", "-p", "--ext-diff", "-1"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(told.exists(), "{trap:?}");
        std::fs::remove_file(&told).unwrap();

        let mut repository = Repository::open(&dir).unwrap();
        assert!(repository.has_commit(&commit).unwrap());
        assert_eq!(
            repository.blob(&commit, "a.py", 100).unwrap(),
            Blob::Bytes(b"x = 1\n".to_vec())
        );
        assert_eq!(repository.files(&commit).unwrap(), [".gitattributes", "a.py"]);
        let listed = repository
            .output("log", &["log", "--format=%H", "--end-of-options", "main", "--"])
            .unwrap();
        assert_eq!(String::from_utf8(listed).unwrap().trim(), commit);
        repository.output("log", &["log", "main"]).unwrap();
        let diff = [
            "diff-tree",
            "-p",
            "--root",
            "--no-ext-diff",
            "--no-textconv",
            "--end-of-options",
            &commit,
        ];
        assert!(repository.output("diff-tree", &diff).unwrap().windows(5).any(|w| w == b"x = 1"));
        assert!(repository.fetch_commit("0123456789012345678901234567890123456789").is_err());
        assert!(!told.exists(), "{}", std::fs::read_to_string(&told).unwrap_or_default());
    }
}
