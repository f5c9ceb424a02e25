//! Settings that change while a client is served.
//!
//! Owns: when they are asked for, taken and told. Does not own: what they are ([`crate::settings`],
//! [`lacuna_config`]).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tower_lsp::ls_types::{ConfigurationItem, MessageType};

use crate::server::{Server, Session};
use crate::settings::ours;

/// Longest wait for a client's settings.
const ANSWER: Duration = Duration::from_secs(10);

/// `workspace/didChangeConfiguration`.
pub async fn handle(server: &Server, pushed: &Value) {
    let Some(session) = server.session.get() else { return };
    let mut sent = ours(pushed);
    if sent.is_none() && pushed.is_null() && session.has_configuration {
        let item = ConfigurationItem { scope_uri: None, section: Some("lacuna".to_owned()) };
        // A client that never answers keeps no handler here.
        let asked = tokio::time::timeout(ANSWER, server.client.configuration(vec![item])).await;
        sent =
            asked.ok().and_then(Result::ok).and_then(|mut all| all.pop()).filter(Value::is_object);
    }
    if let Some(sent) = sent {
        reconfigure(server, session, Some(sent)).await;
    }
}

/// Takes what the client says of its settings now. `None`: nothing new, but files may have
/// changed.
pub async fn reconfigure(server: &Server, session: &Session, sent: Option<Value>) {
    // Everything up to the first await is done in the order in which messages came.
    let told = match put_in_force(server, session, sent) {
        Ok(told) => told,
        Err(error) => {
            vec![(MessageType::WARNING, format!("the new settings are not taken: {error:#}"))]
        }
    };
    for (kind, message) in told {
        server.client.log_message(kind, format!("lacuna: {message}")).await;
    }
}

/// What there is to say of it.
fn put_in_force(
    server: &Server,
    session: &Session,
    sent: Option<Value>,
) -> anyhow::Result<Vec<(MessageType, String)>> {
    let mut settings = session.settings.lock().unwrap_or_else(PoisonError::into_inner);
    let since = sent.unwrap_or_else(|| settings.since().clone());
    let resolved = settings.resolve_with(&since)?;
    let old = session.completer();
    server.loaded.remember_costs(&old);
    let new = server.loaded.serving(&resolved.config)?;
    let changed = settings.take(since, &resolved, session.observer.is_some());
    *session.completer.write().unwrap_or_else(PoisonError::into_inner) = new;
    server.status.configure(
        &resolved.config,
        session.folders(),
        server.status.wants_notifications(),
    );
    server.documents().iter_mut().for_each(|document| server.look_at(document));
    record_or_not(server, session, &resolved.config);
    let mut notices = notices_of(&resolved);
    let told = changed.told().map(|text| (MessageType::INFO, text));
    if !changed.later.is_empty() {
        notices.push(format!(
            "{} take effect when the server is started again",
            changed.later.join(", ")
        ));
    }
    let fresh =
        server.status.set_notices(notices).into_iter().map(|notice| (MessageType::WARNING, notice));
    Ok(told.into_iter().chain(fresh).collect())
}

/// What becomes of suggestions is recorded from now on, or is not.
fn record_or_not(server: &Server, session: &Session, config: &lacuna_config::Config) {
    let Some(observer) = &session.observer else { return };
    observer.reconfigure(config);
    let was = session.is_recorded.swap(config.telemetry.enabled, Ordering::AcqRel);
    if was == config.telemetry.enabled {
        return;
    }
    for document in server.documents().iter() {
        if was {
            observer.closed(&document.about.uri, None);
        } else {
            observer.opened(&document.about.uri, document.view.language);
        }
    }
}

/// What the user should know of the settings, in sentences.
pub fn notices_of(resolved: &lacuna_config::Resolved) -> Vec<String> {
    resolved
        .untrusted
        .iter()
        .cloned()
        .chain(resolved.problems.iter().map(lacuna_config::Problem::told))
        .collect()
}
