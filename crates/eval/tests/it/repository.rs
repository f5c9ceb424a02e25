//! A synthetic repository for tests: files, commits with fixed names and dates.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

pub struct Repository {
    pub dir: TempDir,
}

impl Repository {
    pub fn new() -> Repository {
        let repository = Repository { dir: TempDir::new().unwrap() };
        repository.git(&["init", "--quiet", "--initial-branch=main"], "2025-01-01");
        repository
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Commits everything at noon of `date`; the commit's id.
    pub fn commit(&self, message: &str, date: &str) -> String {
        self.git(&["add", "--all"], date);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message], date);
        self.git(&["rev-parse", "HEAD"], date).trim().to_owned()
    }

    pub fn git(&self, arguments: &[&str], date: &str) -> String {
        let date = format!("{date}T12:00:00Z");
        let identity = [
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "commit.gpgsign=false",
            "-c",
            "core.autocrlf=false",
        ];
        let output = Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(self.dir.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date)
            .output()
            .expect("git runs: these tests need it");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}
