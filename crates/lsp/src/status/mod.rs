//! Why nothing is shown, what the last answer cost, and where the user has paused: what editors
//! show in a status bar.
//!
//! Owns: pauses, the snooze, the settings that keep whole files quiet, the protocol extension
//! `lacuna/status` (docs/protocol.md). Does not own: the documents and their last answers
//! ([`super::document`]), the reasons that completing itself gives ([`lacuna_complete::Reason`]).
//!
//! Start reading at [`Status::quiet`], which is asked before every completion, and
//! [`Status::report`].

mod last;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lacuna_config::{Config, ShowConfig};
use lacuna_serving::languages::Languages;
use lacuna_serving::left_alone::LeftAlone;
use serde::Serialize;
use serde_json::Value;
use tower_lsp::ls_types::notification::Notification;

use super::about::About;
use super::reasons::Quiet;

pub use last::Last;

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
    show: Arc<ShowConfig>,
    /// The client wants notifications.
    notify: bool,
}

#[derive(Default)]
struct Inner {
    pauses: Pauses,
    snooze: Option<Snooze>,
    notices: Vec<String>,
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
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(Rules {
            languages,
            left_alone,
            show: Arc::new(config.show.clone()),
            notify,
        }));
    }

    /// `None` before `initialize`.
    fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in force of the settings on when something is shown.
    pub fn show(&self) -> Arc<ShowConfig> {
        self.rules().map(|rules| Arc::clone(&rules.show)).unwrap_or_default()
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

    /// Whether a document is to be left alone, and why.
    pub fn quiet(&self, about: &About) -> Option<Quiet> {
        let inner = self.inner();
        if inner.pauses.everywhere {
            return Some(Quiet::Paused);
        }
        if inner.pauses.documents.contains(&about.uri) {
            return Some(Quiet::PausedHere);
        }
        if inner.pauses.languages.contains(&about.language_id) {
            return Some(Quiet::PausedLanguage);
        }
        if about.is_left {
            return Some(Quiet::IgnoredPath);
        }
        self.rules()?.languages.off(&about.language_id, &about.path).map(Quiet::LanguageOff)
    }

    /// Looks at what patterns and files say of a document that was opened or saved: not at every
    /// key.
    pub fn look_at(&self, about: &mut About) {
        // Before the settings are known nothing is shown to others.
        let rules = self.rules();
        let left_alone = rules.as_ref().map(|rules| &rules.left_alone);
        about.is_left = left_alone.is_some_and(|rules| rules.names(&about.uri, &about.path));
        about.stays_home = left_alone.is_none_or(|rules| rules.stays_home(&about.uri, &about.path));
    }

    /// The state as seen from a document, in this language if it is open. `last`: its last answer.
    pub fn report(
        &self,
        uri: Option<&str>,
        language_id: Option<&str>,
        last: Option<&Last>,
    ) -> Report {
        let inner = self.inner();
        let pauses = &inner.pauses;
        let snooze = inner.snooze.filter(|snooze| snooze.lasts((self.clock)()));
        let paused = pauses.everywhere
            || uri.is_some_and(|uri| pauses.documents.contains(uri))
            || language_id.is_some_and(|language| pauses.languages.contains(language));
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
            last: last.cloned(),
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
        status
    }

    /// Whether a document in this language is quiet, and why.
    fn quiet(status: &Status, uri: &str, path: &str, language_id: &str) -> Option<Quiet> {
        let mut about = About::new(uri, path, language_id);
        status.look_at(&mut about);
        status.quiet(&about)
    }

    #[test]
    fn a_snooze_lasts_as_long_as_it_was_said_and_no_longer() {
        thread_local!(static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(1_000_000) });
        let at = |seconds: u64| NOW.set(seconds);
        let status =
            Status { clock: || UNIX_EPOCH + Duration::from_secs(NOW.get()), ..status(&[], &[]) };
        let state = || {
            let report = status.report(None, None, None);
            (status.is_snoozed(), report.state, report.snoozed_until)
        };
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
            let quiet = || {
                [(URI, "python"), ("file:///w/b.py", "python"), ("file:///w/c.go", "go")]
                    .map(|(uri, language_id)| quiet(&status, uri, "x", language_id).is_some())
            };
            assert_eq!(quiet(), [false; 3]);
            status.pause(std::slice::from_ref(&argument)).unwrap();
            assert_eq!(quiet(), [here, other_file, other_language], "{argument}");
            let report = status.report(Some(URI), Some("python"), None);
            assert_eq!(report.state, if here { "paused" } else { "ready" });
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
        assert_eq!(quiet(&status, URI, "src/a.py", "python"), None);
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
        assert_eq!(quiet(&status, URI, "src/a.py", "python"), None);
    }

    #[test]
    fn settings_keep_languages_and_paths_quiet() {
        assert_eq!(
            quiet(&status(&[], &["python"]), URI, "src/a.py", "python"),
            Some(Quiet::LanguageOff(Off::Disabled))
        );
        assert_eq!(quiet(&status(&[], &["py"]), URI, "src/a.py", "python"), None);
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
                quiet(&status(&[pattern], &[]), &format!("file:///nowhere/{path}"), path, ""),
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
                quiet(&status, &format!("file:///nowhere/{path}"), path, ""),
                Some(Quiet::IgnoredPath),
                "{path}"
            );
        }
        for path in ["environment.py", "src/key.rs", "pem.go", ".env.example"] {
            let uri = format!("file:///nowhere/{path}");
            assert_eq!(quiet(&status, &uri, path, ""), None, "{path}");
        }
    }
}
