//! Lists the candidate files below a sources folder: language by extension, build products and
//! vendored copies left out by folder name.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Language, MineError, Split};

/// A file that may become a document.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub file: PathBuf,
    pub path: String,
    pub package: String,
    pub language: Language,
    pub split: Split,
}

/// The candidates and the counts of what was left out, by reason.
#[derive(Debug, Default)]
pub struct Listing {
    pub files: Vec<Candidate>,
    pub dropped: BTreeMap<String, usize>,
}

/// Folders that hold build products, bundles, other people's code, or translations.
const SKIPPED_FOLDERS: &[&str] = &[
    "dist",
    "umd",
    "bundles",
    "bundle",
    "min",
    "amd",
    "_cjs",
    "_esm",
    "_types",
    "cjs",
    "commonjs",
    "lib.commonjs",
    "lib.esm",
    "node_modules",
    "vendor",
    "_vendor",
    "_vendored_packages",
    "third_party",
    "thirdparty",
    "_internal_vendor",
    "locale",
    "locales",
    "i18n",
    "lang",
    "languages",
    "__pycache__",
    "dist-cjs",
    "dist-es",
    "fesm2015",
    "fesm2020",
    "fesm2022",
    "esm2015",
    "generated",
    "_generated",
    "migrations",
    "lib2to3",
    "__testfixtures__",
    "flow-typed",
    "wwwroot",
];

/// When a package ships its sources in one of these folders, compiled copies beside them are left
/// out.
const SOURCE_FOLDERS: &[&str] = &["src", "src.ts", "source", "Source"];
const COMPILED_FOLDERS: &[&str] =
    &["lib", "es", "esm", "es6", "module", "modules", "build", "out", "lib-esm", "browser"];

/// Lists the files of `languages` in `<root>/<split>/<ecosystem>/<package>/…` in sorted order.
///
/// Errors: [`MineError::NoSources`] without a `train` folder; unreadable folders.
pub fn list(
    root: &Path,
    languages: &[Language],
    forbidden: &HashSet<String>,
) -> Result<Listing, MineError> {
    let mut listing = Listing::default();
    if !root.join("train").is_dir() {
        return Err(MineError::NoSources { path: root.to_owned() });
    }
    for split in [Split::Validation, Split::Train] {
        let split_folder = root.join(split.name());
        if !split_folder.is_dir() {
            continue;
        }
        for ecosystem in folders(&split_folder)? {
            for package in folders(&ecosystem)? {
                let name =
                    format!("{}/{}", file_name(&ecosystem), file_name(&package).replace("__", "/"));
                if !name.ends_with(".partial") {
                    list_package(&package, &name, split, languages, forbidden, &mut listing)?;
                }
            }
        }
    }
    Ok(listing)
}

fn list_package(
    folder: &Path,
    package: &str,
    split: Split,
    languages: &[Language],
    forbidden: &HashSet<String>,
    listing: &mut Listing,
) -> Result<(), MineError> {
    let mut found = Vec::new();
    visit(folder, folder, 0, &mut found)?;
    found.sort();
    let mut candidates = Vec::new();
    for path in found {
        let Some(language) = Language::of_path(plain_name(&path)).filter(|l| languages.contains(l))
        else {
            *listing.dropped.entry("other file type".to_owned()).or_default() += 1;
            continue;
        };
        if is_forbidden(&path, forbidden) {
            *listing.dropped.entry("named like an evaluation source".to_owned()).or_default() += 1;
            continue;
        }
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if folders.split('/').any(|f| SKIPPED_FOLDERS.contains(&f)) || is_product_name(name) {
            *listing
                .dropped
                .entry("build product, vendored or translation folder".to_owned())
                .or_default() += 1;
            continue;
        }
        candidates.push((path, language));
    }
    // The archive's own top folder (`package/`, `name-1.2/`) says nothing about the file.
    let strip_top = !package.starts_with("pypi/")
        && !package.starts_with("local-python/")
        && !package.starts_with("crates/");
    let ships_sources = package.starts_with("npm/")
        && candidates
            .iter()
            .filter(|(p, _)| p.split('/').nth(1).is_some_and(|f| SOURCE_FOLDERS.contains(&f)))
            .count()
            >= 5;
    for (path, language) in candidates {
        let inner = if strip_top {
            path.split_once('/').map_or(path.as_str(), |(_, rest)| rest)
        } else {
            &path
        };
        if ships_sources && inner.split('/').next().is_some_and(|f| COMPILED_FOLDERS.contains(&f)) {
            *listing.dropped.entry("compiled copy of shipped sources".to_owned()).or_default() += 1;
            continue;
        }
        listing.files.push(Candidate {
            file: folder.join(&path),
            path: plain_name(inner).to_owned(),
            package: package.to_owned(),
            language,
            split,
        });
    }
    Ok(())
}

/// True if a folder or the file's stem has a forbidden name, also with a version (`flask-2.0`).
/// Names shorter than five letters must be a folder's whole name: `echo.c` is an ordinary file.
pub fn is_forbidden(path: &str, forbidden: &HashSet<String>) -> bool {
    path.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        let stem = part.split_once('.').map_or(part.as_str(), |(stem, _)| stem);
        let base = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        forbidden.contains(&part) || (base != part && base.len() >= 5 && forbidden.contains(base))
    })
}

/// Cargo keeps the manifest that people wrote beside the one it made.
fn plain_name(path: &str) -> &str {
    path.strip_suffix(".orig").filter(|p| p.ends_with("Cargo.toml")).unwrap_or(path)
}

/// Whether a file name is one that bundlers, compilers and generators give.
pub fn is_product_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.contains(".min.")
        || lower.contains("-min.")
        || lower.contains(".bundle.")
        || lower.contains(".umd.")
        || lower.contains(".prod.")
        || lower.ends_with("_pb2.py")
        || lower.ends_with("_pb2_grpc.py")
        || lower.ends_with(".pb.go")
        || lower.ends_with(".cjs.js")
        || lower.ends_with("_generated.rs")
        || lower == "bindings.rs"
        || lower.ends_with(".designer.cs")
        || lower.ends_with(".g.cs")
        || ["package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "composer.json.lock"]
            .contains(&lower.as_str())
        || is_legal_text(&lower)
}

/// Licences and their kin, which everybody copies and nobody writes.
fn is_legal_text(lower: &str) -> bool {
    let Some((stem, _)) =
        lower.rsplit_once('.').filter(|(_, e)| ["md", "markdown", "html", "htm"].contains(e))
    else {
        return false;
    };
    ["license", "licence", "copying", "notice", "code_of_conduct", "code-of-conduct", "third"]
        .iter()
        .any(|mark| stem.starts_with(mark))
}

fn visit(
    root: &Path,
    folder: &Path,
    depth: usize,
    found: &mut Vec<String>,
) -> Result<(), MineError> {
    if depth > 24 {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(MineError::io(folder))? {
        let entry = entry.map_err(MineError::io(folder))?;
        let kind = entry.file_type().map_err(MineError::io(entry.path()))?;
        if kind.is_dir() {
            visit(root, &entry.path(), depth + 1, found)?;
        } else if kind.is_file()
            && let Ok(relative) = entry.path().strip_prefix(root)
            && let Some(text) = relative.to_str()
        {
            found.push(text.replace('\\', "/"));
        }
    }
    Ok(())
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>, MineError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(MineError::io(parent))? {
        let entry = entry.map_err(MineError::io(parent))?;
        if entry.file_type().is_ok_and(|t| t.is_dir())
            && !entry.file_name().to_string_lossy().starts_with('.')
        {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
