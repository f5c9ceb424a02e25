//! Answering: from a request at a place to the suggestions for it, and what clients say became of
//! them.
//!
//! The same for every dialect ([`super::dialects`] and the standard request); what keeps a request
//! from being answered is asked here and decided elsewhere: [`super::status`], [`super::secrets`],
//! [`super::manners`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lacuna_complete::{Caller, Completer, Milliseconds, Outcome, Reason, Reply, Tokens};
use lacuna_config::EagernessSetting;
use lacuna_context::Excerpt;
use lacuna_prompt::excerpts::other_files_bytes;
use lacuna_serving::RaiseOnDrop;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};

use super::about::About;
use super::event::Event;
use super::inline::{Params, Place, Site, site};
use super::manners::{Asking, waited};
use super::reasons::{Quiet, quiet_advice};
use super::requests::Ticket;
use super::secrets::{keep_secrets, quiet_line};
use super::server::{Server, Session, error};
use super::status::Last;
use super::telemetry::Answered as Observation;
use super::view::View;

/// A superseded or cancelled request; clients keep what they show.
const REQUEST_CANCELLED: i64 = -32800;

/// Suggestions for one place, whatever the dialect of the client.
pub struct Answered {
    pub place: Place,
    /// Text right of the cursor, best first; empty for a silence.
    pub texts: Vec<String>,
    /// One for each text: what clients call it when they tell what became of it.
    pub ids: Vec<String>,
}

impl Answered {
    fn nothing(site: Site) -> Answered {
        Answered { place: site.into_place(), texts: Vec::new(), ids: Vec::new() }
    }
}

/// A request of which all is known that can be known at once.
struct Begun {
    about: Arc<About>,
    /// The document as the client has it, and the client's cursor in it.
    view: View,
    cursor: usize,
    /// Where the items go.
    site: Site,
    is_automatic: bool,
    /// It is not answered, for this reason.
    silence: Option<Quiet>,
    /// It is held back so long.
    delay: Duration,
}

/// What the user wants at a place.
#[derive(Default)]
struct Wishes {
    /// Texts that were turned down there.
    refused: Vec<String>,
    eagerness: EagernessSetting,
}

impl Server {
    /// Completes at a place. One reply each; superseded requests end in an error that clients
    /// ignore.
    pub async fn answer(&self, params: &Params) -> Result<Answered> {
        let session = self.session.get().ok_or_else(Error::invalid_request)?;
        let ticket = Ticket::default();
        let Begun { about, view, site, cursor, is_automatic, silence, delay } =
            self.begin(session, params, &ticket)?;
        let (uri, asking) = (&about.uri, Asking { view: &view, cursor, is_automatic });
        // Dropped with this handler when the client sends `$/cancelRequest`.
        let _raise = RaiseOnDrop(ticket.cancel.clone());
        if let Some(quiet) = silence {
            tracing::info!(silence = quiet_advice(quiet).code, "inlineCompletion");
            self.note(uri, Last::quiet(uri, quiet));
            self.tell_status(uri).await;
            return Ok(Answered::nothing(site));
        }
        let mut observed = session.observer().map(|o| (o, o.asked(uri, cursor, is_automatic)));
        let held = Instant::now();
        if !waited(delay, &ticket).await {
            tracing::info!(silence = Reason::Cancelled.code(), "inlineCompletion");
            return Err(superseded());
        }
        if let Some((_, observed)) = &mut observed {
            observed.held(held.elapsed());
        }
        let completer = match &observed {
            Some((observer, observed)) => {
                observer.completer_of(observed, &session.completer(), &self.loaded)
            }
            None => session.completer(),
        };
        let own_cursor = site.cursor();
        let excerpts = self.excerpts(&completer, uri, own_cursor);
        let lead = site.lead(&view, cursor, session.encoding);
        let (site, wishes) = self.prepare(uri, site, &asking, &lead);
        let (client, asked) = (self.number, Arc::clone(&about));
        let running = tokio::task::spawn_blocking(move || {
            let Wishes { refused, eagerness } = &wishes;
            let (flight, eagerness) = (Some(&*ticket.flight), (*eagerness).into());
            let caller = Caller { client, flight, refused, eagerness };
            let names = (asked.key.as_str(), asked.path.as_str());
            let reply = site.complete(&completer, names, &excerpts, caller, &ticket.cancel);
            (site, reply, ticket)
        });
        let (site, mut reply, ticket) = running.await.map_err(|e| {
            tracing::error!(error = %e, "completion failed");
            Error::internal_error()
        })?;
        keep_secrets(&view.document, own_cursor, &mut reply);
        if !ticket.is_stale() && reply.outcome != Outcome::Silence(Reason::Cancelled) {
            self.note(uri, Last::of_reply(uri, &reply));
            self.tell_status(uri).await;
        }
        // Asked for again: other messages were handled meanwhile.
        let stale = ticket.is_stale();
        log(&reply, stale);
        let ids = observed.map_or_else(Vec::new, |(observer, observed)| {
            let (start, restated) = site.restated();
            let start = view.document.offset_clamped(start, session.encoding).min(cursor);
            let answered = Observation {
                uri,
                view: &view,
                cursor,
                start,
                restated,
                reply: &reply,
                quiet: None,
                stale,
            };
            observer.answered(&observed, &answered)
        });
        // The text has changed or a newer request runs: whatever was found belongs to a text that
        // is gone.
        if stale || reply.outcome == Outcome::Silence(Reason::Cancelled) {
            return Err(superseded());
        }
        let texts: Vec<String> = match reply.outcome {
            Outcome::Suggest(items) => items.into_iter().map(|item| item.text).collect(),
            Outcome::Silence(_) => Vec::new(),
        };
        let mut ids = ids.into_iter();
        // Without a record of what becomes of them, any number will do.
        let id = |_: &String| {
            ids.next().map_or_else(
                || self.next_id.fetch_add(1, Ordering::Relaxed).to_string(),
                |id| id.to_string(),
            )
        };
        let ids: Vec<String> = texts.iter().map(id).collect();
        if let Some(document) = self.documents().get_mut(uri) {
            let right = texts.iter().map(|text| format!("{lead}{text}"));
            document.manners.offered(&asking, ids.iter().cloned().zip(right));
        }
        Ok(Answered { place: site.into_place(), texts, ids })
    }

    /// Takes a view of the document and decides what can be decided without a model.
    fn begin(&self, session: &Session, params: &Params, ticket: &Ticket) -> Result<Begun> {
        let uri = &params.text_document.uri;
        let mut documents = self.documents();
        let document = documents.get_mut(uri).ok_or_else(|| {
            Error::invalid_params(format!(
                "document {uri} is not open: send textDocument/didOpen first"
            ))
        })?;
        let view = document.begin(ticket);
        let site = site(view.clone(), params, session.encoding);
        document.locate(ticket, site.cursor());
        let cursor = view.document.offset_clamped(params.position.into(), session.encoding);
        let (about, is_automatic) = (Arc::clone(&document.about), params.is_automatic());
        let asking = Asking { view: &view, cursor, is_automatic };
        let delay = document.manners.delay(&document.show, &asking);
        let left_alone = document
            .out_of_step
            .then_some(Quiet::OutOfStep)
            .or_else(|| self.status.quiet(&about))
            .or_else(|| quiet_line(&view.document, site.cursor()));
        // Why a request in a document that is completed is not answered, whatever the model says.
        let unwanted = || {
            let snoozed = (is_automatic && self.status.is_snoozed()).then_some(Quiet::Snoozed);
            let quiet = snoozed.or_else(|| document.manners.objection(&document.show, &asking));
            quiet.inspect(|quiet| record_silence(session, uri, &asking, *quiet))
        };
        let silence = left_alone.or_else(unwanted);
        Ok(Begun { about, view, site, cursor, is_automatic, silence, delay })
    }

    /// What the completer is to know: the text around the document's own, and what the user wants.
    fn prepare(&self, uri: &str, site: Site, asking: &Asking<'_>, lead: &str) -> (Site, Wishes) {
        let mut documents = self.documents();
        let mut wishes = Wishes::default();
        if let Some(document) = documents.get_mut(uri) {
            document.used_at(site.cursor());
            let refused = document.manners.refused(asking);
            let rests = refused.iter().filter_map(|text| text.strip_prefix(lead));
            wishes = Wishes {
                refused: rests.map(str::to_owned).collect(),
                eagerness: document.show.eagerness_in(&document.about.language_id),
            };
        }
        (site.within(|view, cursor| documents.joined(uri, view, cursor)), wishes)
    }

    /// What prompts for this place show of other open documents, where that is wanted.
    pub(super) fn excerpts(
        &self,
        completer: &Completer,
        uri: &str,
        cursor: usize,
    ) -> Arc<[Excerpt]> {
        let settings = completer.settings();
        if !settings.other_files {
            return Arc::default();
        }
        // What is ignored, because it may hold secrets, is not shown elsewhere either.
        let is_quiet = |about: &About| self.status.quiet(about).is_some();
        let max_bytes = other_files_bytes(settings.prompt_tokens);
        self.documents().excerpts(uri, cursor, max_bytes, is_quiet)
    }

    /// What a client says of a suggestion.
    pub fn told_of(&self, event: &Event) {
        tracing::info!(?event, "suggestion");
        if let Event::Dismissed { id } = event {
            self.documents().iter_mut().for_each(|document| document.manners.dismissed(id));
        }
        let Some(observer) = self.observer() else { return };
        match event {
            Event::Shown { id } => observer.showed(id),
            Event::Accepted { id } => observer.accepted(id),
            Event::PartlyAccepted { id, utf16 } => observer.accepted_partly(id, *utf16),
            Event::Dismissed { id } => observer.dismissed(id),
        }
    }
}

fn record_silence(session: &Session, uri: &str, asking: &Asking<'_>, quiet: Quiet) {
    let Some(observer) = session.observer() else { return };
    let Asking { view, cursor, is_automatic } = *asking;
    let reply = Reply {
        outcome: Outcome::Silence(Reason::Empty),
        from_memory: false,
        probability: None,
        tokens: Tokens::default(),
        ms: Milliseconds::default(),
        explanation: None,
    };
    let answered = Observation {
        uri,
        view,
        cursor,
        start: cursor,
        restated: "",
        reply: &reply,
        quiet: Some(quiet_advice(quiet).code),
        stale: false,
    };
    observer.answered(&observer.asked(uri, cursor, is_automatic), &answered);
}

fn superseded() -> Error {
    error(
        ErrorCode::ServerError(REQUEST_CANCELLED),
        "superseded by a newer request or edit".to_owned(),
    )
}

/// A line for every answer and every silence.
fn log(reply: &Reply, stale: bool) {
    tracing::info!(
        cached = reply.tokens.cached,
        resumed = reply.tokens.resumed,
        shifted = reply.tokens.shifted,
        prefilled = reply.tokens.prefilled,
        generated = reply.tokens.generated,
        drafted = reply.tokens.drafted,
        accepted = reply.tokens.accepted,
        from_memory = reply.from_memory,
        ms = reply.ms.total,
        silence = match &reply.outcome {
            Outcome::Silence(reason) => reason.code(),
            // Found, but for a text that is gone: nobody sees it.
            Outcome::Suggest(_) if stale => Reason::Cancelled.code(),
            Outcome::Suggest(_) => "",
        },
        "inlineCompletion"
    );
}
