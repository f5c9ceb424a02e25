//! Answering: from a request at a place to the suggestions for it, and what clients say became of
//! them.
//!
//! The same for every dialect ([`super::dialects`] and the standard request); what keeps a request
//! from being answered is asked here and decided elsewhere: [`super::status`], [`super::secrets`],
//! [`super::manners`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lacuna_complete::{Caller, Completer, Milliseconds, Outcome, Reason, Reply, Tokens};
use lacuna_context::Excerpt;
use lacuna_prompt::excerpts::other_files_bytes;
use lacuna_serving::RaiseOnDrop;
use serde::Serialize;
use tower_lsp::jsonrpc::{Error, ErrorCode, Result};

use super::documents::{Open, Ticket};
use super::event::Event;
use super::inline::{Params, Place, Site, WireItem, site};
use super::manners::{Asking, waited};
use super::reasons::{Quiet, quiet_advice};
use super::secrets::{has_secret, keep_secrets};
use super::server::{Server, Session, error};
use super::status::EventParams;
use super::telemetry::Answered as Observation;

/// A superseded or cancelled request; clients keep what they show.
const REQUEST_CANCELLED: i64 = -32800;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemList {
    /// Of tabby's protocol, not of LSP's: its clients alone get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_incomplete: Option<bool>,
    items: Vec<WireItem>,
}

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

impl Server {
    /// `textDocument/inlineCompletion`.
    pub async fn inline_completion(&self, params: Params) -> Result<ItemList> {
        let dialect = self.session.get().ok_or_else(Error::invalid_request)?.dialect;
        let Answered { place, texts, ids } = self.answer(&params).await?;
        let item = |(text, id): (String, String)| {
            WireItem::new(&place, &text, dialect.data(&id), id, dialect.accepted())
        };
        let items = texts.into_iter().zip(ids).map(item).collect();
        Ok(ItemList { is_incomplete: dialect.is_incomplete(), items })
    }

    /// Completes at a place. One reply each; superseded requests end in an error that clients
    /// ignore.
    pub async fn answer(&self, params: &Params) -> Result<Answered> {
        let session = self.session.get().ok_or_else(Error::invalid_request)?;
        let uri = params.text_document.uri.clone();
        let ticket = Ticket::default();
        let open = self.documents.begin(&uri, &ticket).ok_or_else(|| {
            Error::invalid_params(format!(
                "document {uri} is not open: send textDocument/didOpen first"
            ))
        })?;
        let asked = open.clone();
        let site = site(open, params, session.encoding);
        self.documents.locate(&uri, &ticket, site.cursor());
        if let Some(recorder) = &self.recorder {
            recorder.asked(&uri, &asked, site.cursor());
        }
        // Dropped with this handler when the client sends `$/cancelRequest`.
        let _raise = RaiseOnDrop(ticket.cancel.clone());
        let path = self.shown_path(&uri, session);
        let client_cursor = asked.document.offset_clamped(params.position.into(), session.encoding);
        let asking = Asking {
            uri: &uri,
            open: &asked,
            cursor: client_cursor,
            is_automatic: params.is_automatic(),
        };
        let left_alone =
            self.quiet(&asked, &uri, &path)
                .or(has_secret(&asked.document, site.cursor()).then_some(Quiet::SecretLine));
        let unwanted = || {
            self.unwanted(&asking).inspect(|quiet| self.record_silence(session, &asking, *quiet))
        };
        if let Some(quiet) = left_alone.or_else(unwanted) {
            tracing::info!(silence = quiet_advice(quiet).code, "inlineCompletion");
            self.status.note_quiet(&uri, quiet);
            self.tell_status(&uri).await;
            return Ok(Answered::nothing(site));
        }
        let mut observed =
            session.observer().map(|o| (o, o.asked(&uri, client_cursor, params.is_automatic())));
        let held = Instant::now();
        if !waited(self.manners.delay(&asking), &ticket).await {
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
        let (key, number) = (self.key(&uri), self.number);
        let excerpts = self.excerpts(session, &completer, &uri, &asked, site.cursor());
        self.neighbours.used(&uri, site.cursor());
        let own_cursor = site.cursor();
        let lead = site.lead(&asked, client_cursor, session.encoding);
        let refused: Vec<String> = self
            .manners
            .refused(&asking)
            .iter()
            .filter_map(|text| text.strip_prefix(&lead))
            .map(str::to_owned)
            .collect();
        let eagerness = self.manners.eagerness(&self.status.language_id(&uri)).into();
        let site =
            site.within(|open, cursor| self.notebooks.joined(&self.documents, &uri, open, cursor));
        let running = tokio::task::spawn_blocking(move || {
            let caller = Caller {
                client: number,
                flight: Some(&ticket.flight),
                refused: &refused,
                eagerness,
            };
            let reply = site.complete(&completer, (&key, &path), &excerpts, caller, &ticket.cancel);
            (site, reply, ticket)
        });
        let (site, mut reply, ticket) = running.await.map_err(|e| {
            tracing::error!(error = %e, "completion failed");
            Error::internal_error()
        })?;
        keep_secrets(&asked.document, own_cursor, &mut reply);
        if !ticket.is_stale() && reply.outcome != Outcome::Silence(Reason::Cancelled) {
            self.status.note(&uri, &reply);
            self.tell_status(&uri).await;
        }
        // Asked for again: other messages were handled meanwhile.
        let stale = ticket.is_stale();
        log(&reply, stale);
        let ids = observed.map_or_else(Vec::new, |(observer, observed)| {
            let (start, restated) = site.restated();
            let start = asked.document.offset_clamped(start, session.encoding).min(client_cursor);
            let answered = Observation {
                uri: &uri,
                open: &asked,
                cursor: client_cursor,
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
        self.manners.offered(
            &asking,
            ids.iter().cloned().zip(texts.iter().map(|text| format!("{lead}{text}"))),
        );
        Ok(Answered { place: site.into_place(), texts, ids })
    }

    /// Why a request in a document that is completed is not answered, whatever the model would say.
    fn unwanted(&self, asking: &Asking<'_>) -> Option<Quiet> {
        let snoozed = (asking.is_automatic && self.status.is_snoozed()).then_some(Quiet::Snoozed);
        snoozed.or_else(|| self.manners.objection(asking))
    }

    fn record_silence(&self, session: &Session, asking: &Asking<'_>, quiet: Quiet) {
        let Some(observer) = session.observer() else { return };
        let Asking { uri, open, cursor, is_automatic } = *asking;
        let outcome = Outcome::Silence(Reason::Empty);
        let reply = Reply {
            outcome,
            from_memory: false,
            probability: None,
            tokens: Tokens::default(),
            ms: Milliseconds::default(),
            explanation: None,
        };
        let quiet = Some(quiet_advice(quiet).code);
        let answered = Observation {
            uri,
            open,
            cursor,
            start: cursor,
            restated: "",
            reply: &reply,
            quiet,
            stale: false,
        };
        observer.answered(&observer.asked(uri, cursor, is_automatic), &answered);
    }

    /// What prompts for this place show of other open documents, where that is wanted.
    pub(super) fn excerpts(
        &self,
        session: &Session,
        completer: &Completer,
        uri: &str,
        open: &Open,
        cursor: usize,
    ) -> Arc<[Excerpt]> {
        let settings = completer.settings();
        if !settings.other_files {
            return Arc::default();
        }
        let path = self.shown_path(uri, session);
        self.neighbours.excerpts(
            uri,
            &path,
            open,
            cursor,
            other_files_bytes(settings.prompt_tokens),
            |other| {
                let path = self.shown_path(other, session);
                // What is ignored, because it may hold secrets, is not shown elsewhere either, nor
                // what git does not keep. Cells of the same notebook are there as text above and
                // below.
                let is_quiet = self.status.quiet(other, &path).is_some()
                    || self.status.stays_home(other, &path)
                    || self.notebooks.share(uri, other);
                self.documents
                    .current(other)
                    .filter(|open| !is_quiet && !open.out_of_step)
                    .map(|open| (path, open))
            },
        )
    }

    /// What a client says of a suggestion.
    pub fn note(&self, event: &Event) {
        tracing::info!(?event, "suggestion");
        if let Event::Dismissed { id } = event {
            self.manners.dismissed(id);
        }
        let Some(observer) = self.observer() else { return };
        match event {
            Event::Shown { id } => observer.showed(id),
            Event::Accepted { id } => observer.accepted(id),
            Event::PartlyAccepted { id, utf16 } => observer.accepted_partly(id, *utf16),
            Event::Dismissed { id } => observer.dismissed(id),
        }
    }

    /// `textDocument/didShowCompletion`.
    pub async fn did_show(&self, params: EventParams) {
        if let Some(id) = params.id() {
            self.note(&Event::Shown { id: id.to_owned() });
        }
    }

    /// `textDocument/didPartiallyAcceptCompletion`.
    pub async fn did_partially_accept(&self, params: EventParams) {
        if let (Some(id), Some(utf16)) = (params.id(), params.accepted_length) {
            self.note(&Event::PartlyAccepted { id: id.to_owned(), utf16: Some(utf16 as usize) });
        }
    }

    /// `lacuna/didDismissCompletion`.
    pub async fn did_dismiss(&self, params: EventParams) {
        if let Some(id) = params.id() {
            self.note(&Event::Dismissed { id: id.to_owned() });
        }
    }
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
