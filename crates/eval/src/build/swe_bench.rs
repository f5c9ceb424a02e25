//! The multi-line infill set from SWE-bench instances: the blocks that gold patches add.
//!
//! Prefix, middle and suffix are the file after the patch; cross-file context is the state before
//! it, of the files that the file imports. Does not own: fields of instances (`instance`), diffs
//! (`patch`).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use lacuna_engine::Cancel;
use serde_json::Value;

use super::context;
use super::git::{self, GitError, Repository};
use super::holes::{ChangedFile, wanted_language};
use super::instance::Instance;
use super::patch::{self, FilePatch};
use super::tree::{self, Source, Tree};
use super::{BuildError, HoleLimits, Report, Sink, license};
use crate::example::{Example, ReadError};

/// Where repositories may be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Nowhere: only what lies in the folder.
    Never,
    /// `URL/owner/name`, cloned into the folder when it is missing.
    From(String),
}

/// What [`swe_bench`] builds from.
pub struct SweBenchOptions<'a> {
    /// Folder of clones: `owner/name`, `owner__name` or `name`, each with or without `.git`.
    pub repos: &'a Path,
    pub fetch: Fetch,
    pub limits: HoleLimits,
}

/// Builds examples from instances (see [`Instance`] for their fields), in their order; within one
/// by file and line.
///
/// Bad rows, instances whose repository or commit is missing, patches that do not apply, and unfit
/// blocks are noted in the report.
///
/// Errors: reading instances or running git fails altogether, the sink fails, or `cancel` was
/// raised.
pub fn swe_bench(
    instances: impl Iterator<Item = Result<Value, ReadError>>,
    options: &SweBenchOptions,
    report: &mut Report,
    cancel: &Cancel,
    sink: &mut Sink,
) -> Result<(), BuildError> {
    let mut clones = Clones { options, open: None };
    let mut seen = HashSet::new();
    for row in instances {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        report.inputs += 1;
        let row = match row {
            Ok(row) => row,
            Err(ReadError::Row(bad)) => {
                report.skip(format!("line {}", bad.line), bad.fault.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let instance = match Instance::from_row(&row) {
            Ok(instance) => instance,
            Err(reason) => {
                let id = row.get("instance_id").and_then(Value::as_str);
                report.skip(
                    id.map_or_else(|| format!("instance {}", report.inputs), str::to_owned),
                    reason,
                );
                continue;
            }
        };
        if !seen.insert(instance.id.clone()) {
            report.skip(instance.id, "the instance stands in the file twice");
            continue;
        }
        let examples = match clones.tree(&instance)? {
            Ok((repository, tree)) => {
                examples(&instance, repository, tree, &options.limits, report)?
            }
            Err(reason) => {
                report.skip(instance.id, reason);
                continue;
            }
        };
        for example in examples {
            report.rows += 1;
            sink(example)?;
        }
    }
    Ok(())
}

/// The repository that is open, with the tree read last: instances of one repository usually stand
/// together.
struct Clones<'a> {
    options: &'a SweBenchOptions<'a>,
    open: Option<(String, Repository, Option<Tree>)>,
}

impl Clones<'_> {
    /// Repository and tree of an instance; the inner error is the reason to skip it.
    fn tree(
        &mut self,
        instance: &Instance,
    ) -> Result<Result<(&mut Repository, &Tree), String>, GitError> {
        if self.open.as_ref().is_none_or(|(name, ..)| *name != instance.repo) {
            self.open = None;
            match self.clone_of(&instance.repo) {
                Ok(repository) => self.open = Some((instance.repo.clone(), repository, None)),
                Err(reason) => return reason.map(Err),
            }
        }
        let Some((_, repository, tree)) = &mut self.open else {
            return Ok(Err(format!("repository {} is not there", instance.repo)));
        };
        if tree.as_ref().is_none_or(|t| t.commit != instance.base_commit) {
            *tree = None;
            if !repository.has_commit(&instance.base_commit)? {
                let fetched = self.options.fetch != Fetch::Never
                    && repository.fetch_commit(&instance.base_commit).is_ok();
                if !fetched || !repository.has_commit(&instance.base_commit)? {
                    return Ok(Err(format!(
                        "the clone of {} lacks the base commit",
                        instance.repo
                    )));
                }
            }
            *tree = Some(Tree::read(repository, &instance.base_commit)?);
        }
        match tree {
            Some(tree) => Ok(Ok((repository, tree))),
            None => Ok(Err(format!("repository {} is not there", instance.repo))),
        }
    }

    fn clone_of(&self, repo: &str) -> Result<Repository, Result<String, GitError>> {
        let root = self.options.repos;
        if let Some(dir) = candidates(root, repo).into_iter().find(|dir| dir.is_dir()) {
            return Repository::open(&dir).map_err(|error| match error {
                GitError::NoGit(_) => Err(error),
                other => Ok(format!("repository {repo}: {other}")),
            });
        }
        match &self.options.fetch {
            Fetch::Never => Err(Ok(format!(
                "repository {repo} is not in the folder of clones (looked for {repo}, {})",
                repo.replace('/', "__")
            ))),
            Fetch::From(url) => {
                let dir = root.join(format!("{}.git", repo.replace('/', "__")));
                git::clone(&format!("{}/{repo}", url.trim_end_matches('/')), &dir)
                    .map_err(|e| Ok(format!("repository {repo}: {e}")))?;
                Repository::open(&dir).map_err(Err)
            }
        }
    }
}

fn candidates(root: &Path, repo: &str) -> Vec<PathBuf> {
    let name = repo.rsplit('/').next().unwrap_or(repo);
    let names = [repo.to_owned(), repo.replace('/', "__"), name.to_owned()];
    names.iter().flat_map(|n| [root.join(n), root.join(format!("{n}.git"))]).collect()
}

fn examples(
    instance: &Instance,
    repository: &mut Repository,
    tree: &Tree,
    limits: &HoleLimits,
    report: &mut Report,
) -> Result<Vec<Example>, GitError> {
    let files = match patch::parse(&instance.patch) {
        Ok(files) => files,
        Err(error) => {
            report.skip(instance.id.clone(), error.to_string());
            return Ok(Vec::new());
        }
    };
    let mut examples = Vec::new();
    for file in &files {
        let Some(path) = &file.new_path else { continue };
        let subject = format!("{}#{path}", instance.id);
        let language = match wanted_language(path, limits) {
            Ok(language) => language,
            Err(reason) => {
                report.skip(subject, reason);
                continue;
            }
        };
        let before = match &file.old_path {
            None => String::new(),
            Some(old) => match tree::source(repository, &tree.commit, old)? {
                Source::Text(text) => text,
                Source::Not(reason) => {
                    report.skip(subject, reason);
                    continue;
                }
            },
        };
        let (text, blocks) = match patched(&before, file) {
            Ok(patched) => patched,
            Err(error) => {
                report.skip(subject, error.to_string());
                continue;
            }
        };
        let changed = ChangedFile { path, language, text: &text, blocks };
        for mut example in changed.examples(&instance.id, limits, report) {
            let paths =
                context::imported(language, path, &example.prefix, &example.suffix, &tree.files);
            example.context = context::gather(paths, &limits.context, |path| {
                tree::source(repository, &tree.commit, path).map(|source| match source {
                    Source::Text(text) => Some(text),
                    Source::Not(_) => None,
                })
            })?;
            example.set = "swe-bench-infill".to_owned();
            example.group = instance.repo.clone();
            example.repo = Some(instance.repo.clone());
            example.license = Some(license::stated(&text).unwrap_or_else(|| tree.license.clone()));
            example.provenance.instance_id = Some(instance.id.clone());
            example.provenance.base_commit = Some(instance.base_commit.clone());
            examples.push(example);
        }
    }
    Ok(examples)
}

fn patched(
    before: &str,
    file: &FilePatch,
) -> Result<(String, Vec<patch::Block>), patch::PatchError> {
    patch::apply(before, &file.hunks)
}
