//! Holes at nodes of the syntax tree: calls, argument lists, blocks, conditions, loop bodies,
//! imports, types.

use std::path::{Path, PathBuf};

use lacuna_context::{NodeSpan, SpanKind, spans};
use lacuna_engine::Cancel;
use sha2::{Digest, Sha256};

use super::holes::wanted_language;
use super::tree::{self, Source};
use super::{
    BuildError, ContextLimits, HoleLimits, MAX_FILE_BYTES, Report, Sink, context, license,
    resolve::FileIndex, vendored,
};
use crate::example::{Example, Provenance, Task};

/// Folders deeper than this are not entered.
const MAX_DEPTH: usize = 40;
/// Characters that a middle has at least, blanks aside: a `()` is no task.
const MIN_CHARS: usize = 4;

/// What [`ast`] builds from.
pub struct AstOptions<'a> {
    pub src: &'a Path,
    /// Name of the set's origin in ids and rows.
    pub name: &'a str,
    pub kinds: Vec<SpanKind>,
    /// Holes of one kind in one file.
    pub per_file: usize,
    pub seed: u64,
    /// SPDX identifier; none: that of the folder's licence file.
    pub license: Option<String>,
    pub limits: HoleLimits,
}

/// Builds examples from the files below a folder, in order of path, place and kind. Which nodes are
/// taken depends on seed, path and place alone. Hidden, vendored and generated files and links are
/// left out.
///
/// Errors: the folder cannot be read, the sink fails, or `cancel` was raised.
pub fn ast(
    options: &AstOptions,
    report: &mut Report,
    cancel: &Cancel,
    sink: &mut Sink,
) -> Result<(), BuildError> {
    let mut paths = Vec::new();
    walk(options.src, "", 0, &mut paths)?;
    let files = FileIndex::new(paths);
    let read = |path: &str| read(&options.src.join(path));
    let of_folder = match license::licence_file(files.paths()) {
        Some(path) => match read(path)? {
            Source::Text(text) => license::identify(&text),
            Source::Not(_) => license::UNKNOWN,
        },
        None => license::UNKNOWN,
    };
    let license = options.license.clone().unwrap_or_else(|| of_folder.to_owned());
    for path in files.paths() {
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        report.inputs += 1;
        let language = match wanted_language(path, &options.limits) {
            Ok(language) => language,
            Err(reason) => {
                report.skip(path, reason);
                continue;
            }
        };
        if vendored::is_vendored(path) {
            report.skip(path, "a folder of vendored or generated files, or of test data");
            continue;
        }
        let text = match read(path)? {
            Source::Text(text) => text,
            Source::Not(reason) => {
                report.skip(path, reason);
                continue;
            }
        };
        if vendored::is_generated(path, &text) {
            report.skip(path, "the file says that it is generated");
            continue;
        }
        for span in chosen(options, path, &text, spans(language, &text)) {
            let mut example = example(options, path, &text, &span);
            example.language = language.name().to_owned();
            example.license = Some(license::stated(&text).unwrap_or_else(|| license.clone()));
            let imported =
                context::imported(language, path, &example.prefix, &example.suffix, &files);
            example.context = context_files(imported, &options.limits.context, &read)?;
            report.rows += 1;
            sink(example)?;
        }
    }
    Ok(())
}

fn context_files(
    paths: Vec<String>,
    limits: &ContextLimits,
    read: &impl Fn(&str) -> Result<Source, BuildError>,
) -> Result<Vec<crate::example::ContextFile>, BuildError> {
    context::gather(paths, limits, |path| {
        read(path).map(|source| match source {
            Source::Text(text) => Some(text),
            Source::Not(_) => None,
        })
    })
}

/// `per_file` spans of each kind that fit, by a hash of where they are.
fn chosen(options: &AstOptions, path: &str, text: &str, spans: Vec<NodeSpan>) -> Vec<NodeSpan> {
    let mut chosen = Vec::new();
    for kind in &options.kinds {
        let fits = |span: &&NodeSpan| {
            let middle = &text[span.range.clone()];
            let n_lines = middle.lines().count();
            span.kind == *kind
                && (options.limits.min_lines..=options.limits.max_lines).contains(&n_lines)
                && middle.chars().filter(|c| !c.is_whitespace()).count() >= MIN_CHARS
                && middle.len() < text.trim().len()
        };
        let mut ranked: Vec<(u64, NodeSpan)> =
            spans.iter().filter(fits).map(|s| (rank(options.seed, path, s), s.clone())).collect();
        ranked.sort_by_key(|(rank, span)| (*rank, span.range.start, span.range.end));
        chosen.extend(ranked.into_iter().take(options.per_file).map(|(_, span)| span));
    }
    chosen.sort_by_key(|s| (s.range.start, s.range.end, s.kind));
    chosen
}

fn rank(seed: u64, path: &str, span: &NodeSpan) -> u64 {
    let hash = Sha256::digest(format!(
        "{seed}\0{path}\0{}\0{}\0{}",
        span.kind.name(),
        span.range.start,
        span.range.end
    ));
    hash.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

fn example(options: &AstOptions, path: &str, text: &str, span: &NodeSpan) -> Example {
    let middle = &text[span.range.clone()];
    let prefix = &text[..span.range.start];
    let line = prefix.matches('\n').count() + 1;
    let column = prefix.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Example {
        id: format!("{}#{path}#L{line}C{column}-{}", options.name, span.kind.name()),
        set: "ast".to_owned(),
        task: Task::Block,
        path: Some(path.to_owned()),
        repo: Some(options.name.to_owned()),
        // Holes of one file share everything but the hole.
        group: format!("{}#{path}", options.name),
        node_kind: Some(span.kind.name().to_owned()),
        n_lines: u32::try_from(middle.lines().count()).ok(),
        prefix: prefix.to_owned(),
        middle: middle.to_owned(),
        suffix: text[span.range.end..].to_owned(),
        provenance: Provenance { start_line: u32::try_from(line).ok(), ..Provenance::default() },
        ..Example::default()
    }
}

fn read(path: &Path) -> Result<Source, BuildError> {
    let io = |source| BuildError::Io { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES as u64 {
        return Ok(Source::Not("the file is longer than 1 MiB"));
    }
    Ok(tree::text(std::fs::read(path).map_err(io)?))
}

/// Paths of ordinary files below `root`, with `/`.
fn walk(root: &Path, below: &str, depth: usize, paths: &mut Vec<String>) -> Result<(), BuildError> {
    let folder: PathBuf = if below.is_empty() { root.to_owned() } else { root.join(below) };
    let io = |source| BuildError::Io { path: folder.clone(), source };
    for entry in std::fs::read_dir(&folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let kind = entry.file_type().map_err(io)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if kind.is_dir()
            && depth < MAX_DEPTH
            && !matches!(path.rsplit('/').next(), Some("node_modules" | "target"))
        {
            walk(root, &path, depth + 1, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}
