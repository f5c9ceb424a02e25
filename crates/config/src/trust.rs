//! Where the value of a setting may come from.
//!
//! A folder that somebody opens is not somebody who may decide: its `lacuna.toml` came with a clone
//! or an archive. [`REACH`] says for every setting what such a file may do with it; the user's own
//! file, flags and the editor (which has a trust of its own) may set what they like. A folder that
//! the user's own file lists under `[trust] folders` may do the same.
//!
//! Owns: the table, where a workspace's file is looked for, whose it may be. Does not own: layers
//! and errors ([`super::resolve()`]).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value};

/// Larger configuration files are refused.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Name of the workspace's file.
const WORKSPACE_FILE: &str = "lacuna.toml";
/// What lies in the root of a workspace.
const ROOT_MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// What the file of a workspace that nobody trusts may do with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Set it: it changes what is shown in this workspace and nothing else.
    Sets,
    /// Add to the list.
    Adds,
    /// Lower the number, or switch off. `unlimited`: the value that means no limit.
    Lowers { unlimited: Option<u64> },
    /// Nothing: the user sets it.
    Nothing,
    /// Nothing, and the editor may not either: it stands in the user's own file.
    UsersFile,
}

impl Reach {
    /// As the schema says it (`x-workspace`).
    pub fn name(self) -> &'static str {
        match self {
            Reach::Sets => "sets",
            Reach::Adds => "adds",
            Reach::Lowers { .. } => "lowers",
            Reach::Nothing => "nothing",
            Reach::UsersFile => "users-file",
        }
    }
}

/// Every setting. One that is missing here fails a test: decide what a stranger may do with it.
pub const REACH: &[(&str, Reach)] = &[
    ("context.ignore", Reach::Adds),
    ("context.ignore_defaults", Reach::Nothing),
    ("context.include", Reach::Nothing),
    ("context.max_file_bytes", Reach::Lowers { unlimited: None }),
    ("context.other_files", Reach::Lowers { unlimited: None }),
    ("context.prompt_tokens", Reach::Lowers { unlimited: None }),
    // Listens, and lets in.
    ("http.listen", Reach::Nothing),
    ("http.max_connections", Reach::Nothing),
    ("http.max_requests", Reach::Nothing),
    ("http.token_file", Reach::Nothing),
    ("kv.blend_ratio", Reach::Nothing),
    ("kv.budget_mb", Reach::Lowers { unlimited: None }),
    ("kv.dtype", Reach::Nothing),
    ("kv.reuse", Reach::Nothing),
    ("latency.background", Reach::Nothing),
    ("latency.deadline_ms", Reach::Lowers { unlimited: Some(0) }),
    ("latency.drafts", Reach::Nothing),
    // Of the whole process, which other workspaces may share.
    ("latency.pin_threads", Reach::Nothing),
    ("latency.threads", Reach::Nothing),
    ("model.beam", Reach::Nothing),
    // Of the whole machine.
    ("model.device", Reach::Nothing),
    ("model.heal", Reach::Nothing),
    ("model.order", Reach::Nothing),
    // Names files that parsers read.
    ("model.path", Reach::Nothing),
    ("model.seam", Reach::Nothing),
    ("show.block_tokens", Reach::Sets),
    ("show.delay_ms", Reach::Sets),
    ("show.disabled_languages", Reach::Sets),
    ("show.eagerness", Reach::Sets),
    ("show.in_comments", Reach::Sets),
    ("show.in_doc_comments", Reach::Sets),
    ("show.in_strings", Reach::Sets),
    ("show.language", Reach::Sets),
    ("show.languages", Reach::Sets),
    ("show.line_tokens", Reach::Sets),
    ("show.lines", Reach::Sets),
    ("show.min_confidence", Reach::Sets),
    // Writes into a folder, and deletes from the record.
    ("telemetry.dir", Reach::Nothing),
    ("telemetry.enabled", Reach::Lowers { unlimited: None }),
    ("telemetry.retention_days", Reach::Nothing),
    ("trust.folders", Reach::UsersFile),
];

/// What a stranger may do with the setting `area.key`; nothing with one that is not in the table.
pub fn reach(name: &str) -> Reach {
    REACH.iter().find(|(known, _)| *known == name).map_or(Reach::Nothing, |(_, reach)| *reach)
}

/// Why a workspace that nobody trusts may not give this setting this value. `below`: what holds
/// without it.
fn refusal(name: &str, value: &Value, below: &Value) -> Option<String> {
    match reach(name) {
        Reach::Sets | Reach::Adds => None,
        Reach::Lowers { unlimited } => {
            let rank = |value: &Value| match (value, unlimited) {
                (Value::Bool(on), _) => Some(f64::from(u8::from(*on))),
                (value, Some(none)) if value.as_u64() == Some(none) => Some(f64::INFINITY),
                (value, _) => value.as_f64(),
            };
            let is_lower =
                rank(value).zip(rank(below)).is_some_and(|(value, below)| value <= below);
            (!is_lower).then(|| format!("{name} (it may be lowered only)"))
        }
        Reach::Nothing | Reach::UsersFile => Some(name.to_owned()),
    }
}

/// Splits what a workspace's file states into what it may state and the names of the rest. `below`
/// gives what holds without it.
pub fn admit(stated: &Value, below: impl Fn(&str) -> Value) -> (Value, Vec<String>) {
    let (mut admitted, mut refused) = (Map::new(), Vec::new());
    for (area, keys) in stated.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let name = format!("{area}.{key}");
            let why = if area == "experiment" {
                experiment_refusal(key, value, &below)
            } else {
                refusal(&name, value, &below(&name))
            };
            match why {
                Some(why) => refused.push(why),
                None => {
                    let entry =
                        admitted.entry(area.clone()).or_insert_with(|| Value::Object(Map::new()));
                    entry[key] = value.clone();
                }
            }
        }
    }
    (Value::Object(admitted), refused)
}

/// As [`admit`], for a folder that the user trusts: all but what only the user's own file may say.
pub fn trusted(stated: &Value) -> (Value, Vec<String>) {
    let mut admitted = stated.clone();
    let refused = admitted
        .as_object_mut()
        .and_then(|areas| areas.remove("trust"))
        .map(|_| "trust".to_owned());
    (admitted, refused.into_iter().collect())
}

/// An experiment may try what the file may state itself.
fn experiment_refusal(
    name: &str,
    definition: &Value,
    below: impl Fn(&str) -> Value,
) -> Option<String> {
    let variants = definition["variant"].as_object().into_iter().flatten();
    let settings =
        variants.flat_map(|(_, variant)| variant["settings"].as_object().into_iter().flatten());
    let mut refused: Vec<String> =
        settings.filter_map(|(setting, value)| refusal(setting, value, &below(setting))).collect();
    refused.sort();
    refused.dedup();
    (!refused.is_empty()).then(|| format!("experiment.{name} (it varies {})", refused.join(", ")))
}

/// Folders that may do what the user may, as the user's own file lists them: the folder itself, or
/// with `/*` behind it all below.
#[derive(Debug, Default)]
pub struct Trusted(Vec<(PathBuf, bool)>);

impl Trusted {
    pub fn new(folders: &[String]) -> Trusted {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let one = |folder: &String| {
            let (folder, below) =
                folder.strip_suffix("/*").map_or((folder.as_str(), false), |folder| (folder, true));
            let folder = match (
                folder.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')),
                &home,
            ) {
                (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
                _ if folder.is_empty() => PathBuf::from("/"),
                _ => PathBuf::from(folder),
            };
            // A relative path would mean another folder in every folder.
            folder.is_absolute().then(|| (folder.canonicalize().unwrap_or(folder), below))
        };
        Trusted(folders.iter().filter_map(one).collect())
    }

    pub fn lists(&self, folder: &Path) -> bool {
        let Ok(folder) = folder.canonicalize() else { return false };
        self.0
            .iter()
            .any(|(listed, below)| folder == *listed || *below && folder.starts_with(listed))
    }
}

/// Whose workspace counts.
#[derive(Clone, Copy, Debug)]
pub enum Near<'a> {
    /// The workspace is this folder: an editor says so.
    Root(&'a Path),
    /// The workspace is around this file or folder: up to the next folder with version control,
    /// else the working directory, else the file's own folder.
    Inside(&'a Path),
}

impl Near<'_> {
    /// Folders in which a file may lie, the nearest first.
    fn folders(self) -> Vec<PathBuf> {
        let near = match self {
            Near::Root(root) => return std::path::absolute(root).into_iter().collect(),
            Near::Inside(near) => near,
        };
        let Ok(near) = std::path::absolute(near) else { return Vec::new() };
        let Some(start) = (if near.is_dir() { Some(near.as_path()) } else { near.parent() }) else {
            return Vec::new();
        };
        let marked = start
            .ancestors()
            .find(|folder| ROOT_MARKS.iter().any(|mark| folder.join(mark).exists()));
        let here = std::env::current_dir().ok().filter(|here| start.starts_with(here));
        let root = marked.map(Path::to_owned).or(here).unwrap_or_else(|| start.to_owned());
        start
            .ancestors()
            .take_while(|folder| folder.starts_with(&root))
            .map(Path::to_owned)
            .collect()
    }
}

/// The file of a workspace.
pub struct WorkspaceFile {
    pub path: PathBuf,
    /// Its folder is one that the user trusts.
    pub is_trusted: bool,
    /// `None`: it is somebody else's and not read. Errors: it cannot be read, or is no
    /// configuration file.
    pub text: anyhow::Result<Option<String>>,
}

/// Finds and reads the nearest workspace file.
pub fn workspace_file(near: Near<'_>, trusted: &Trusted) -> Option<WorkspaceFile> {
    for folder in near.folders() {
        let path = folder.join(WORKSPACE_FILE);
        // Opened once, then asked: a name may come to mean another file meanwhile. A pipe must not
        // hold us.
        let mut options = File::options();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            &mut options,
            nix::fcntl::OFlag::O_NONBLOCK.bits(),
        );
        let Ok(file) = options.open(&path) else {
            // One that is there and cannot be read is told, as any configuration file.
            if path.is_file() {
                return Some(WorkspaceFile {
                    text: read(&path).map(Some),
                    path,
                    is_trusted: false,
                });
            }
            continue;
        };
        if !file.metadata().is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let is_trusted = trusted.lists(&folder);
        let text = if is_trusted || is_ours(&file) { read_from(file).map(Some) } else { Ok(None) };
        return Some(WorkspaceFile { path, is_trusted, text });
    }
    None
}

#[cfg(unix)]
fn is_ours(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|meta| meta.uid() == nix::unistd::geteuid().as_raw())
}

#[cfg(not(unix))]
fn is_ours(_: &File) -> bool {
    true
}

/// The text of a configuration file. Errors do not name the file: whoever tells them does.
pub fn read(path: &Path) -> anyhow::Result<String> {
    read_from(File::open(path).context("this file cannot be read")?)
}

fn read_from(file: File) -> anyhow::Result<String> {
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).context("this file cannot be read")?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!("this file is larger than {MAX_FILE_BYTES} bytes: is it a configuration file?");
    }
    Ok(text)
}

/// The values of a list in `layer` joined to what is there already.
pub fn joined(below: &Value, layer: &Value) -> Value {
    let mut all: Vec<Value> = below.as_array().into_iter().flatten().cloned().collect();
    for value in layer.as_array().into_iter().flatten() {
        if !all.contains(value) {
            all.push(value.clone());
        }
    }
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Config;

    #[test]
    fn every_setting_is_classified() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let mut settings: Vec<String> = Vec::new();
        for (area, keys) in
            defaults.as_object().unwrap().iter().filter(|(area, _)| *area != "experiment")
        {
            settings.extend(keys.as_object().unwrap().keys().map(|key| format!("{area}.{key}")));
        }
        settings.sort();
        let mut known: Vec<&str> = REACH.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(
            known, settings,
            "crates/config/src/trust.rs says of each setting what the file of a folder that nobody trusts may do with it"
        );
    }

    #[test]
    fn a_stranger_lowers_and_adds_and_no_more() {
        let below = |name: &str| match name {
            "context.prompt_tokens" => json!(1000),
            "latency.deadline_ms" => json!(400),
            "context.other_files" => json!(false),
            "telemetry.enabled" => json!(true),
            _ => Value::Null,
        };
        for (stated, refused) in [
            (json!({"show": {"line_tokens": 900}, "context": {"ignore": ["a"]}}), &[][..]),
            (json!({"context": {"prompt_tokens": 999}, "latency": {"deadline_ms": 100}}), &[]),
            (json!({"context": {"prompt_tokens": 1001}}), &["context.prompt_tokens"]),
            (json!({"context": {"prompt_tokens": "no"}}), &["context.prompt_tokens"]),
            (json!({"latency": {"deadline_ms": 0}}), &["latency.deadline_ms"]),
            (json!({"context": {"other_files": true}}), &["context.other_files"]),
            (json!({"telemetry": {"enabled": false, "dir": "x"}}), &["telemetry.dir"]),
            (
                json!({"trust": {"folders": ["/"]}, "model": {"path": "m"}}),
                &["model.path", "trust.folders"],
            ),
            (
                json!({"experiment": {"x": {"variant": {"a": {}, "b": {"settings": {"show.line_tokens": 3}}}}}}),
                &[],
            ),
            (
                json!({"experiment": {"x": {"variant": {"a": {"settings": {"model.path": "m"}}}}}}),
                &["experiment.x"],
            ),
        ] {
            let (admitted, named) = admit(&stated, below);
            let names: Vec<&str> = named.iter().map(|why| why.split(' ').next().unwrap()).collect();
            assert_eq!(names, refused, "{stated}");
            for name in refused {
                let (area, key) = name.split_once('.').unwrap();
                assert!(admitted[area].get(key).is_none(), "{admitted}");
            }
            assert!(!refused.is_empty() || admitted == stated);
        }
    }

    #[test]
    fn folders_are_trusted_by_name_or_by_what_is_above() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a").join("b");
        std::fs::create_dir_all(&inner).unwrap();
        let path = dir.path().display().to_string();
        let lists = |listed: &str, folder: &Path| Trusted::new(&[listed.to_owned()]).lists(folder);
        assert!(
            lists(&path, dir.path())
                && lists(&format!("{path}/"), dir.path())
                && lists(&format!("{path}/*"), &inner)
        );
        assert!(
            !lists(&path, &inner)
                && !lists(&format!("{path}/a"), dir.path())
                && !lists(&format!("{path}/a/b2"), &inner)
        );
        assert!(lists("/*", &inner));
        for nothing in ["", ".", "*", "a", "~nobody"] {
            assert!(!lists(nothing, &inner), "{nothing}");
        }
    }

    #[test]
    fn files_are_looked_for_up_to_the_root_and_not_beyond() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("repository").join("src");
        std::fs::create_dir_all(&deep).unwrap();
        let found =
            |near: Near<'_>| workspace_file(near, &Trusted::default()).map(|file| file.path);
        std::fs::write(dir.path().join(WORKSPACE_FILE), "").unwrap();
        assert_eq!(found(Near::Inside(&deep)), None, "no root is known: only the folder itself");
        assert_eq!(found(Near::Root(&deep)), None);
        std::fs::create_dir(dir.path().join("repository/.git")).unwrap();
        assert_eq!(found(Near::Inside(&deep.join("a.py"))), None, "it lies above the root");
        let inside = dir.path().join("repository").join(WORKSPACE_FILE);
        std::fs::write(&inside, "").unwrap();
        assert_eq!(found(Near::Inside(&deep.join("a.py"))), Some(inside));
        assert_eq!(found(Near::Root(&deep)), None, "an editor's root is the root");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_or_somebody_elses_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(WORKSPACE_FILE);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            workspace_file(Near::Root(dir.path()), &Trusted::default()).is_none(),
            "a pipe holds nobody"
        );
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "[show]\nline_tokens = 1\n").unwrap();
        // Only the superuser can make a file that is somebody else's.
        if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
            return;
        }
        let file = workspace_file(Near::Root(dir.path()), &Trusted::default()).unwrap();
        assert_eq!((file.text.unwrap(), file.is_trusted), (None, false));
        let trusted = Trusted::new(&[dir.path().display().to_string()]);
        assert!(workspace_file(Near::Root(dir.path()), &trusted).unwrap().text.unwrap().is_some());
    }
}
