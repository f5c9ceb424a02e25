//! The same holes from recent commits of any repository: sets that no model has been trained on.

use std::collections::HashSet;
use std::path::Path;

use lacuna_engine::Cancel;
use sha2::{Digest, Sha256};

use super::context;
use super::git::{GitError, Repository};
use super::holes::{ChangedFile, wanted_language};
use super::patch::{self, Block, FilePatch, Line};
use super::tree::{self, Source, Tree};
use super::{BuildError, HoleLimits, Report, Sink, license, vendored};

/// Bytes of a commit's diff above which it is no hand-written change.
const MAX_DIFF_BYTES: usize = 8 << 20;

/// What [`commits`] builds from.
pub struct CommitOptions<'a> {
    pub repo: &'a Path,
    /// `YYYY-MM-DD`, from midnight UTC on, by the committer's date.
    pub since: &'a str,
    /// Name of the repository in rows (`owner/name`).
    pub name: &'a str,
    /// Where to start; `HEAD` if nothing else is said.
    pub revision: &'a str,
    pub limits: HoleLimits,
}

struct Commit {
    id: String,
    parent: Option<String>,
    date: String,
}

/// Whether a text is a date as [`CommitOptions::since`] has it. Git itself takes any text for some
/// date.
pub fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |i: usize, digits: usize, range: std::ops::RangeInclusive<u32>| {
        parts[i].len() == digits
            && parts[i].bytes().all(|b| b.is_ascii_digit())
            && parts[i].parse().is_ok_and(|n| range.contains(&n))
    };
    parts.len() == 3 && number(0, 4, 1970..=2099) && number(1, 2, 1..=12) && number(2, 2, 1..=31)
}

/// Builds examples from the blocks that commits added, oldest commit first; within one by file and
/// line.
///
/// Left out: merges, vendored and generated files, blocks that the commit only moved, blocks that
/// an earlier commit added already. Cross-file context is the state before the commit, so that it
/// does not tell what the commit is about.
///
/// Errors: not a repository, git fails, the sink fails, or `cancel` was raised.
pub fn commits(
    options: &CommitOptions,
    report: &mut Report,
    cancel: &Cancel,
    sink: &mut Sink,
) -> Result<(), BuildError> {
    let mut repository = Repository::open(options.repo)?;
    let mut seen: HashSet<[u8; 32]> = HashSet::new();
    for commit in list(&mut repository, options)? {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        report.inputs += 1;
        let short = &commit.id[..10];
        let Some(files) = diff(&mut repository, &commit, report)? else { continue };
        let removed = removed_lines(&files);
        let mut tree: Option<Tree> = None;
        for file in &files {
            let Some(path) = &file.new_path else { continue };
            let subject = format!("{short}#{path}");
            let (language, text) = match source_of(&mut repository, &commit, path, &options.limits)?
            {
                Ok(found) => found,
                Err(reason) => {
                    report.skip(subject, reason);
                    continue;
                }
            };
            let changed = ChangedFile { path, language, text: &text, blocks: blocks(&text, file) };
            for mut example in
                changed.examples(&format!("{}@{short}", options.name), &options.limits, report)
            {
                if removed.contains(&trimmed(&example.middle)) {
                    report.skip(example.id, "the commit only moved the block");
                    continue;
                }
                if !seen.insert(Sha256::digest(trimmed(&example.middle)).into()) {
                    report.skip(example.id, "an earlier block is the same");
                    continue;
                }
                // Read only for commits that make rows.
                let tree = match &mut tree {
                    Some(tree) => tree,
                    none => none.insert(Tree::read(
                        &mut repository,
                        commit.parent.as_deref().unwrap_or(&commit.id),
                    )?),
                };
                if commit.parent.is_some() {
                    let paths = context::imported(
                        language,
                        path,
                        &example.prefix,
                        &example.suffix,
                        &tree.files,
                    );
                    example.context = context::gather(paths, &options.limits.context, |path| {
                        tree::source(&mut repository, &tree.commit, path).map(|source| match source
                        {
                            Source::Text(text) => Some(text),
                            Source::Not(_) => None,
                        })
                    })?;
                }
                example.set = "commits".to_owned();
                // A set of one repository has no other clusters.
                example.group = format!("{}@{}", options.name, commit.id);
                example.repo = Some(options.name.to_owned());
                example.license =
                    Some(license::stated(&text).unwrap_or_else(|| tree.license.clone()));
                example.provenance.base_commit.clone_from(&commit.parent);
                example.provenance.commit = Some(commit.id.clone());
                example.provenance.commit_date = Some(commit.date.clone());
                report.rows += 1;
                sink(example)?;
            }
        }
    }
    Ok(())
}

/// Commits without merges, oldest first.
fn list(repository: &mut Repository, options: &CommitOptions) -> Result<Vec<Commit>, GitError> {
    let since = format!("--since={}T00:00:00Z", options.since);
    let arguments = [
        "log",
        "--no-merges",
        "--reverse",
        "--topo-order",
        "--format=%H %cs %P",
        &since,
        "--end-of-options",
        options.revision,
        "--",
    ];
    Ok(read_listing(&repository.output("log", &arguments)?))
}

/// Lines `%H %cs %P`; others are skipped.
fn read_listing(listing: &[u8]) -> Vec<Commit> {
    let commit = |line: &str| {
        let mut parts = line.split(' ');
        let (id, date) = (parts.next()?, parts.next()?);
        let parent = parts.next().filter(|p| !p.is_empty()).map(str::to_owned);
        let is_id = id.len() >= 40 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then(|| Commit { id: id.to_owned(), parent, date: date.to_owned() })
    };
    String::from_utf8_lossy(listing).lines().filter_map(commit).collect()
}

/// Ids of the commits in what `git log` printed as this module asks for it.
pub fn listed(listing: &[u8]) -> Vec<String> {
    read_listing(listing).into_iter().map(|commit| commit.id).collect()
}

/// The commit's changes without lines around them; `None` when it has been noted why not.
fn diff(
    repository: &mut Repository,
    commit: &Commit,
    report: &mut Report,
) -> Result<Option<Vec<FilePatch>>, GitError> {
    let arguments = [
        "diff-tree",
        "-p",
        "-U0",
        "-M",
        "--root",
        "--no-commit-id",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "--end-of-options",
        &commit.id,
    ];
    let bytes = repository.output("diff-tree", &arguments)?;
    if bytes.len() > MAX_DIFF_BYTES {
        report.skip(&commit.id[..10], "the commit changes more than 8 MiB");
        return Ok(None);
    }
    match patch::parse(&String::from_utf8_lossy(&bytes)) {
        Ok(files) => Ok(Some(files)),
        Err(error) => {
            report.skip(&commit.id[..10], error.to_string());
            Ok(None)
        }
    }
}

/// Language and text of a file that was written by hand; the inner error is the reason to skip it.
fn source_of(
    repository: &mut Repository,
    commit: &Commit,
    path: &str,
    limits: &HoleLimits,
) -> Result<Result<(lacuna_context::Language, String), &'static str>, GitError> {
    let language = match wanted_language(path, limits) {
        Ok(language) => language,
        Err(reason) => return Ok(Err(reason)),
    };
    if vendored::is_vendored(path) {
        return Ok(Err("a folder of vendored or generated files, or of test data"));
    }
    match tree::source(repository, &commit.id, path)? {
        Source::Not(reason) => Ok(Err(reason)),
        Source::Text(text) if vendored::is_generated(path, &text) => {
            Ok(Err("the file says that it is generated"))
        }
        Source::Text(text) => Ok(Ok((language, text))),
    }
}

/// Where the added lines of a diff without context lie in the new file.
fn blocks(text: &str, file: &FilePatch) -> Vec<Block> {
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .chain([text.len()])
        .collect();
    let mut blocks = Vec::new();
    for hunk in &file.hunks {
        let n_lines = hunk.lines.iter().filter(|l| matches!(l, Line::Added(_))).count();
        let first = hunk.new_start.saturating_sub(1);
        if n_lines > 0
            && let (Some(start), Some(end)) = (starts.get(first), starts.get(first + n_lines))
        {
            let replaces = hunk.lines.iter().any(|l| matches!(l, Line::Removed(_)));
            blocks.push(Block {
                range: *start..*end,
                start_line: hunk.new_start,
                n_lines,
                replaces,
            });
        }
    }
    blocks
}

/// All lines that a commit took away, trimmed; runs that do not belong together are parted by a
/// blank line.
struct Removed(String);

impl Removed {
    /// Whether the block was taken away elsewhere in the commit.
    fn contains(&self, block: &str) -> bool {
        self.0.contains(block)
    }
}

fn removed_lines(files: &[FilePatch]) -> Removed {
    let mut all = String::from("\n");
    for hunk in files.iter().flat_map(|f| &f.hunks) {
        let removed = hunk
            .lines
            .iter()
            .filter_map(|l| if let Line::Removed(text) = l { Some(text.as_str()) } else { None });
        all.push_str(&trimmed(&removed.collect::<String>()));
        all.push('\n');
    }
    Removed(all)
}

/// Lines without indentation and blank lines: a moved block is often indented anew.
fn trimmed(text: &str) -> String {
    let mut lines: String =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n");
    lines.insert(0, '\n');
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert!(is_date("2025-07-01") && is_date("1999-12-31"));
        for wrong in [
            "yesterday",
            "2025-7-1",
            "2025-13-01",
            "2025-07-01T00:00",
            "2025-07-32",
            "",
            "--all",
            "+025-07-01",
        ] {
            assert!(!is_date(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_moved_block_is_found_whatever_its_indentation() {
        let diff =
            "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -3,4 +3,0 @@\n-  one\n-\n-  two\n-  three\n";
        let removed = removed_lines(&patch::parse(diff).unwrap());
        assert!(removed.contains(&trimmed("one\ntwo\n")));
        assert!(removed.contains(&trimmed("      two\n      three\n")));
        assert!(!removed.contains(&trimmed("one\nthree\n")));
        assert!(!removed.contains(&trimmed("ne\ntwo\n")));
    }
}
