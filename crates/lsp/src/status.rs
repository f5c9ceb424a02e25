//! Why nothing is shown, what the last answer cost, and where the user has paused: what editors
//! show in a status bar.
//!
//! Owns: pauses, the snooze, the settings that keep whole files quiet, the last answer of each
//! document, the protocol extension `lacuna/status` (docs/protocol.md). Does not own: the reasons
//! that completing itself gives ([`lacuna_complete::Reason`]).
//!
//! Start reading at [`Status::quiet`], which is asked before every completion, and
//! [`Status::report`].

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lacuna_complete::{Outcome, Reply};
use lacuna_config::Config;
use lacuna_serving::languages::Languages;
use lacuna_serving::left_alone::LeftAlone;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_lsp::ls_types::notification::Notification;

use super::reasons::{Advice, Quiet, advice, quiet_advice};

/// Commands for `workspace/executeCommand`. Without argument they mean everywhere.
pub const PAUSE: &str = "lacuna.pause";
pub const RESUME: &str = "lacuna.resume";
/// `{"minutes": N}`: nothing unasked so long; 0 ends it.
pub const SNOOZE: &str = "lacuna.snooze";
/// For clients that can run commands but not send requests of their own; answers like the request
/// `lacuna/status`.
pub const STATUS: &str = "lacuna.status";

/// `lacuna/status` from the server, to clients with the experimental capability `lacunaStatus`.
pub enum StatusNotification {}

impl Notification for StatusNotification {
    /// A [`Report`].
    type Params = Value;
    const METHOD: &'static str = "lacuna/status";
}

/// Parameters of the request `lacuna/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusParams {
    text_document: Option<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    uri: String,
}

/// Parameters of `textDocument/didShowCompletion` and `textDocument/didPartiallyAcceptCompletion`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventParams {
    pub item: Value,
    /// Of a partial accept: UTF-16 units from the start of `insertText`.
    pub accepted_length: Option<u64>,
}

impl EventParams {
    /// The item's id, which is the argument of its command.
    pub fn id(&self) -> Option<&str> {
        self.item["command"]["arguments"][0].as_str()
    }
}

/// Where a pause holds: one document, one language (LSP language id), or everywhere.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Everywhere,
    Language(String),
    Document(String),
}

impl Scope {
    fn from_arguments(arguments: &[Value]) -> Result<Scope, String> {
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        match arguments {
            [] | [Value::Null] => Ok(Scope::Everywhere),
            [one] if one.is_object() => match (text(one, "language"), text(one, "uri")) {
                (Some(language), None) => Ok(Scope::Language(language)),
                (None, Some(uri)) => Ok(Scope::Document(uri)),
                (None, None) if one.as_object().is_some_and(serde_json::Map::is_empty) => Ok(Scope::Everywhere),
                _ => Err(format!("argument {one}: give {{\"language\": ID}}, {{\"uri\": URI}} or nothing for everywhere")),
            },
            _ => Err("too many arguments: give {\"language\": ID}, {\"uri\": URI} or nothing for everywhere".to_owned()),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Pauses {
    everywhere: bool,
    languages: BTreeSet<String>,
    documents: BTreeSet<String>,
}

/// Tokens of the last answer, as a status bar shows them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct ReportedTokens {
    prompt: usize,
    /// Already in the KV cache.
    cached: usize,
    /// Computed for this answer.
    new: usize,
    generated: usize,
}

/// The last answer of a document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Last {
    uri: String,
    outcome: &'static str,
    reason: Option<&'static str>,
    meaning: Option<&'static str>,
    remedy: Option<&'static str>,
    /// How likely the first line of the suggestion is right, shown or not; null where the model
    /// does not say.
    probability: Option<f64>,
    /// Milliseconds from the request to the answer.
    ms: f64,
    /// Answered from the ghost text in memory, without the model.
    from_memory: bool,
    tokens: ReportedTokens,
}

impl Last {
    fn silence(uri: &str, advice: &Advice) -> Last {
        Last {
            uri: uri.to_owned(),
            outcome: "silence",
            reason: Some(advice.code),
            meaning: Some(advice.meaning),
            remedy: Some(advice.remedy),
            probability: None,
            ms: 0.0,
            from_memory: false,
            tokens: ReportedTokens::default(),
        }
    }
}

/// Nothing is suggested unasked in between, by the clock on the wall: a clock that is set back does
/// not prolong it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Snooze {
    since: SystemTime,
    until: SystemTime,
}

impl Snooze {
    fn lasts(&self, now: SystemTime) -> bool {
        (self.since..self.until).contains(&now)
    }
}

/// Longest snooze, in minutes: a day. Longer is a pause.
const MAX_SNOOZE: f64 = 1440.0;

/// The argument of [`SNOOZE`].
fn minutes(arguments: &[Value]) -> Result<f64, String> {
    let given = match arguments {
        [one] => one.as_f64().or_else(|| one["minutes"].as_f64()),
        _ => None,
    };
    given
        .filter(|minutes| (0.0..=MAX_SNOOZE).contains(minutes))
        .ok_or_else(|| format!("give {{\"minutes\": N}}, from 0, which ends it, to {MAX_SNOOZE}"))
}

/// What `lacuna/status` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `ready`; `paused` where the document that was asked about is quiet; `snoozed` where it is
    /// for some minutes, unless asked by hand.
    state: &'static str,
    model: String,
    version: &'static str,
    paused: Pauses,
    /// When the snooze ends, in milliseconds since 1970; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    snoozed_until: Option<u64>,
    /// Of the document that was asked about, else of the document completed last.
    last: Option<Last>,
    /// What the user should know about the settings, in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notices: Vec<String>,
}

impl Report {
    pub fn into_value(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What settings keep quiet.
#[derive(Default)]
struct Rules {
    languages: Languages,
    left_alone: LeftAlone,
    /// The client wants notifications.
    notify: bool,
}

#[derive(Default)]
struct Inner {
    pauses: Pauses,
    snooze: Option<Snooze>,
    /// Language ids of open documents.
    languages: HashMap<String, String>,
    last: HashMap<String, Last>,
    /// Document answered last.
    latest: Option<String>,
    notices: Vec<String>,
    standings: HashMap<String, Standing>,
}

/// What names and files say of a document.
struct Standing {
    is_left: bool,
    stays_home: bool,
}

/// One client's state.
pub struct Status {
    model: String,
    /// What the model was trained for; `None`: it does not say.
    trained: Option<Vec<String>>,
    rules: RwLock<Option<Arc<Rules>>>,
    inner: Mutex<Inner>,
    clock: fn() -> SystemTime,
}

impl Status {
    pub fn new(model: &str, trained: Option<Vec<String>>) -> Status {
        Status {
            model: model.to_owned(),
            trained,
            rules: RwLock::default(),
            inner: Mutex::default(),
            clock: SystemTime::now,
        }
    }

    /// Takes settings, those of `initialize` or later ones. The configuration's globs have been
    /// checked when it was read.
    pub fn configure(&self, config: &Config, roots: Vec<PathBuf>, notify: bool) {
        let left_alone = LeftAlone::new(&config.context, roots);
        let languages = Languages::new(&config.show, self.trained.as_deref());
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(Rules { languages, left_alone, notify }));
    }

    /// `None` before `initialize`.
    fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps sentences that the user should read, for the log and the status; the earlier ones are
    /// of no account any more. Returns those that are new.
    pub fn set_notices(&self, notices: Vec<String>) -> Vec<String> {
        let old = std::mem::replace(&mut self.inner().notices, notices.clone());
        notices.into_iter().filter(|notice| !old.contains(notice)).collect()
    }

    pub fn notices(&self) -> Vec<String> {
        self.inner().notices.clone()
    }

    pub fn wants_notifications(&self) -> bool {
        self.rules().is_some_and(|rules| rules.notify)
    }

    pub fn opened(&self, uri: &str, language_id: &str) {
        self.inner().languages.insert(uri.to_owned(), language_id.to_owned());
    }

    /// LSP language id of an open document, as its client calls it.
    pub fn language_id(&self, uri: &str) -> String {
        self.inner().languages.get(uri).cloned().unwrap_or_default()
    }

    pub fn closed(&self, uri: &str) {
        let mut inner = self.inner();
        inner.languages.remove(uri);
        inner.standings.remove(uri);
        inner.last.remove(uri);
        if inner.latest.as_deref() == Some(uri) {
            inner.latest = None;
        }
    }

    /// Whether a document is to be left alone, and why. `path` is relative to the workspace.
    pub fn quiet(&self, uri: &str, path: &str) -> Option<Quiet> {
        let inner = self.inner();
        let language = inner.languages.get(uri).map_or("", String::as_str);
        if inner.pauses.everywhere {
            return Some(Quiet::Paused);
        }
        if inner.pauses.documents.contains(uri) {
            return Some(Quiet::PausedHere);
        }
        if inner.pauses.languages.contains(language) {
            return Some(Quiet::PausedLanguage);
        }
        let rules = self.rules()?;
        // What is there of files is looked at when a document is opened, not at every key.
        let is_left = |entry: &Standing| entry.is_left;
        let left =
            inner.standings.get(uri).map_or_else(|| rules.left_alone.names(uri, path), is_left);
        let off = || rules.languages.off(language, path).map(Quiet::LanguageOff);
        if left { Some(Quiet::IgnoredPath) } else { off() }
    }

    /// Whether a document's text must not show in the prompts of others, whatever else holds.
    pub fn stays_home(&self, uri: &str, path: &str) -> bool {
        let known = self.inner().standings.get(uri).map(|entry| entry.stays_home);
        known.unwrap_or_else(|| {
            self.rules().is_none_or(|rules| rules.left_alone.stays_home(uri, path))
        })
    }

    /// Looks at what patterns and files say of a document that was opened or saved. `path` is
    /// relative to the workspace.
    pub fn look_at(&self, uri: &str, path: &str) {
        let Some(rules) = self.rules() else { return };
        let entry = Standing {
            is_left: rules.left_alone.names(uri, path),
            stays_home: rules.left_alone.stays_home(uri, path),
        };
        self.inner().standings.insert(uri.to_owned(), entry);
    }

    /// Keeps the answer of a document that was left alone.
    pub fn note_quiet(&self, uri: &str, quiet: Quiet) {
        self.keep(uri, Last::silence(uri, quiet_advice(quiet)));
    }

    /// Keeps what a request ended in.
    pub fn note(&self, uri: &str, reply: &Reply) {
        let mut last = match &reply.outcome {
            Outcome::Silence(reason) => Last::silence(uri, advice(*reason)),
            Outcome::Suggest(_) => Last {
                uri: uri.to_owned(),
                outcome: "suggest",
                reason: None,
                meaning: None,
                remedy: None,
                probability: None,
                ms: 0.0,
                from_memory: reply.from_memory,
                tokens: ReportedTokens::default(),
            },
        };
        let tokens = &reply.tokens;
        last.probability = reply.probability.map(|p| (f64::from(p) * 1e3).round() / 1e3);
        last.ms = (reply.ms.total * 1e3).round() / 1e3;
        last.tokens = ReportedTokens {
            prompt: tokens.prompt,
            cached: tokens.cached + tokens.resumed + tokens.shifted,
            new: tokens.prefilled + tokens.repaired,
            generated: tokens.generated,
        };
        self.keep(uri, last);
    }

    fn keep(&self, uri: &str, last: Last) {
        let mut inner = self.inner();
        // A document that was closed meanwhile leaves nothing behind.
        if inner.languages.contains_key(uri) {
            inner.last.insert(uri.to_owned(), last);
            inner.latest = Some(uri.to_owned());
        }
    }

    /// What the request `lacuna/status` answers.
    pub fn answer(&self, params: &StatusParams) -> Report {
        self.report(params.text_document.as_ref().map(|named| named.uri.as_str()))
    }

    /// The state as seen from a document.
    pub fn report(&self, uri: Option<&str>) -> Report {
        let inner = self.inner();
        let uri = uri.or(inner.latest.as_deref());
        let language = uri.and_then(|uri| inner.languages.get(uri));
        let pauses = &inner.pauses;
        let snooze = inner.snooze.filter(|snooze| snooze.lasts((self.clock)()));
        let paused = pauses.everywhere
            || uri.is_some_and(|uri| pauses.documents.contains(uri))
            || language.is_some_and(|language| pauses.languages.contains(language));
        Report {
            state: match snooze {
                _ if paused => "paused",
                Some(_) => "snoozed",
                None => "ready",
            },
            model: self.model.clone(),
            version: env!("CARGO_PKG_VERSION"),
            paused: pauses.clone(),
            snoozed_until: snooze.map(|snooze| {
                snooze.until.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
            }),
            last: uri.and_then(|uri| inner.last.get(uri)).cloned(),
            notices: inner.notices.clone(),
        }
    }

    /// `lacuna.pause`.
    pub fn pause(&self, arguments: &[Value]) -> Result<(), String> {
        let mut inner = self.inner();
        match Scope::from_arguments(arguments)? {
            Scope::Everywhere => inner.pauses.everywhere = true,
            Scope::Language(language) => {
                inner.pauses.languages.insert(language);
            }
            Scope::Document(uri) => {
                inner.pauses.documents.insert(uri);
            }
        }
        Ok(())
    }

    /// `lacuna.resume`; without argument every pause ends, also those of languages and documents.
    pub fn resume(&self, arguments: &[Value]) -> Result<(), String> {
        let mut inner = self.inner();
        match Scope::from_arguments(arguments)? {
            Scope::Everywhere => inner.pauses = Pauses::default(),
            Scope::Language(language) => {
                inner.pauses.languages.remove(&language);
            }
            Scope::Document(uri) => {
                inner.pauses.documents.remove(&uri);
            }
        }
        Ok(())
    }

    /// `lacuna.snooze`.
    pub fn snooze(&self, arguments: &[Value]) -> Result<(), String> {
        let minutes = minutes(arguments)?;
        let since = (self.clock)();
        self.inner().snooze =
            Some(Snooze { since, until: since + Duration::from_secs_f64(minutes * 60.0) });
        Ok(())
    }

    /// Whether nothing is to be suggested unasked.
    pub fn is_snoozed(&self) -> bool {
        self.inner().snooze.is_some_and(|snooze| snooze.lasts((self.clock)()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacuna_serving::languages::Off;
    use serde_json::json;

    const URI: &str = "file:///w/src/a.py";

    fn status(ignore: &[&str], disabled: &[&str]) -> Status {
        let mut config = Config::default();
        config.context.ignore = ignore.iter().map(ToString::to_string).collect();
        config.show.disabled_languages = disabled.iter().map(ToString::to_string).collect();
        let status = Status::new("m", None);
        status.configure(&config, Vec::new(), false);
        status.opened(URI, "python");
        status
    }

    #[test]
    fn a_snooze_lasts_as_long_as_it_was_said_and_no_longer() {
        thread_local!(static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(1_000_000) });
        let at = |seconds: u64| NOW.set(seconds);
        let status =
            Status { clock: || UNIX_EPOCH + Duration::from_secs(NOW.get()), ..status(&[], &[]) };
        let state =
            || (status.is_snoozed(), status.report(None).state, status.report(None).snoozed_until);
        assert_eq!(state(), (false, "ready", None));
        status.snooze(&[json!({"minutes": 5})]).unwrap();
        let asleep = (true, "snoozed", Some(1_000_300_000));
        assert_eq!(state(), asleep);
        at(1_000_299);
        assert_eq!(state(), asleep);
        at(1_000_300);
        assert_eq!(state(), (false, "ready", None));
        // A clock that is set back before it began ends it, too.
        at(999_999);
        assert_eq!(state(), (false, "ready", None));
        // Half a minute; then it is ended by hand. Pauses say more.
        status.snooze(&[json!(0.5)]).unwrap();
        assert!(state().0);
        status.pause(&[]).unwrap();
        assert_eq!(state().1, "paused");
        status.resume(&[]).unwrap();
        assert_eq!(state().1, "snoozed");
        status.snooze(&[json!({"minutes": 0})]).unwrap();
        assert_eq!(state(), (false, "ready", None));
        for wrong in [
            json!(-1),
            json!({"minutes": 1441}),
            json!({"minutes": "5"}),
            json!({}),
            json!(null),
            json!(f64::MAX),
        ] {
            assert!(
                status.snooze(std::slice::from_ref(&wrong)).unwrap_err().contains("from 0"),
                "{wrong}"
            );
        }
        assert!(status.snooze(&[]).is_err() && status.snooze(&[json!(1), json!(2)]).is_err());
    }

    #[test]
    fn a_pause_holds_where_it_was_asked_for() {
        for (argument, here, other_file, other_language) in [
            (json!({}), true, true, true),
            (json!({"language": "python"}), true, true, false),
            (json!({"uri": URI}), true, false, false),
            (json!({"language": "go"}), false, false, true),
        ] {
            let status = status(&[], &[]);
            status.opened("file:///w/b.py", "python");
            status.opened("file:///w/c.go", "go");
            let quiet = || {
                [URI, "file:///w/b.py", "file:///w/c.go"]
                    .map(|uri| status.quiet(uri, "x").is_some())
            };
            assert_eq!(quiet(), [false; 3]);
            status.pause(std::slice::from_ref(&argument)).unwrap();
            assert_eq!(quiet(), [here, other_file, other_language], "{argument}");
            assert_eq!(status.report(Some(URI)).state, if here { "paused" } else { "ready" });
            status.resume(std::slice::from_ref(&argument)).unwrap();
            assert_eq!(quiet(), [false; 3], "{argument}");
        }
    }

    #[test]
    fn resuming_everywhere_ends_every_pause() {
        let status = status(&[], &[]);
        status.pause(&[json!({"language": "python"})]).unwrap();
        status.pause(&[json!({"uri": URI})]).unwrap();
        status.resume(&[]).unwrap();
        assert_eq!(status.quiet(URI, "src/a.py"), None);
    }

    #[test]
    fn arguments_that_mean_nothing_are_refused() {
        let status = status(&[], &[]);
        for arguments in [
            vec![json!(1)],
            vec![json!({"language": 1})],
            vec![json!({"uri": "a", "language": "b"})],
            vec![json!({}), json!({})],
        ] {
            assert!(status.pause(&arguments).is_err(), "{arguments:?}");
            assert!(status.resume(&arguments).is_err(), "{arguments:?}");
        }
        assert_eq!(status.quiet(URI, "src/a.py"), None);
    }

    #[test]
    fn settings_keep_languages_and_paths_quiet() {
        assert_eq!(
            status(&[], &["python"]).quiet(URI, "src/a.py"),
            Some(Quiet::LanguageOff(Off::Disabled))
        );
        assert_eq!(status(&[], &["py"]).quiet(URI, "src/a.py"), None);
        for (pattern, path, ignored) in [
            (".env", ".env", true),
            (".env", "deep/below/.env", true),
            ("names", "x.names", false),
            ("*.gem", "keys/a.gem", true),
            ("vendor/**", "vendor/a/b.py", true),
            ("vendor/**", "src/vendor/a.py", false),
            ("/src/*.py", "src/a.py", true),
            ("/src/*.py", "src/deep/a.py", false),
        ] {
            let expected = ignored.then_some(Quiet::IgnoredPath);
            assert_eq!(
                status(&[pattern], &[]).quiet(&format!("file:///nowhere/{path}"), path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn the_default_keeps_away_from_secrets() {
        let status = Status::new("m", None);
        status.configure(&Config::default(), Vec::new(), false);
        for path in [".env", "a/.env.local", "id_rsa", "keys/server.pem", "x.key"] {
            assert_eq!(
                status.quiet(&format!("file:///nowhere/{path}"), path),
                Some(Quiet::IgnoredPath),
                "{path}"
            );
        }
        for path in ["environment.py", "src/key.rs", "pem.go", ".env.example"] {
            assert_eq!(status.quiet(&format!("file:///nowhere/{path}"), path), None, "{path}");
        }
    }

    #[test]
    fn a_closed_document_leaves_nothing_behind() {
        let status = status(&[], &[]);
        status.note_quiet(URI, Quiet::Paused);
        assert_eq!(status.report(None).last.unwrap().reason, Some("paused"));
        status.closed(URI);
        assert_eq!(status.report(None).last, None);
        status.note_quiet(URI, Quiet::Paused);
        assert_eq!(status.report(Some(URI)).last, None);
        assert!(status.inner().last.is_empty() && status.inner().languages.is_empty());
    }
}
