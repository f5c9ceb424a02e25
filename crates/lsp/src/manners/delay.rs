//! Holding a request back until the user pauses (`show.delay_ms`).

use std::time::Duration;

use crate::documents::Ticket;

/// Waits. False as soon as the request is superseded, by a change of its document or by a newer
/// request: nobody wants its answer. No thread waits meanwhile.
pub async fn waited(delay: Duration, ticket: &Ticket) -> bool {
    if delay.is_zero() {
        return true;
    }
    tokio::select! {
        biased;
        () = ticket.stopped() => false,
        () = tokio::time::sleep(delay) => !ticket.is_stale(),
    }
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;
    use lacuna_text::{Encoding, Position, Range};

    use super::*;
    use crate::documents::Documents;
    use crate::wire::Change;

    const URI: &str = "file:///a.py";
    /// Nobody waits so long: what ends earlier has not waited.
    const FOREVER: Duration = Duration::from_secs(1 << 30);

    fn asked() -> (Documents, Ticket) {
        let documents = Documents::default();
        documents.open(URI, Language::Python, 1, &"x = \n".into());
        let ticket = Ticket::default();
        documents.begin(URI, &ticket);
        documents.locate(URI, &ticket, 4);
        (documents, ticket)
    }

    #[tokio::test]
    async fn whatever_supersedes_a_request_ends_its_wait_at_once() {
        let at = Position::new(0, 4);
        let endings: [fn(&Documents, Position); 4] = [
            |documents, at| {
                documents
                    .change(
                        URI,
                        Some(2),
                        &[Change::new(Some(Range::new(at, at)), "y")],
                        Encoding::Utf8,
                    )
                    .unwrap();
            },
            |documents, _| drop(documents.begin(URI, &Ticket::default())),
            |documents, _| assert!(documents.close(URI)),
            |documents, _| assert!(documents.lose(URI)),
        ];
        for end in endings {
            // Before the wait has begun, and while it lasts.
            let (documents, ticket) = asked();
            end(&documents, at);
            assert!(!waited(FOREVER, &ticket).await);
            let (documents, ticket) = asked();
            let waiting = tokio::spawn(async move { waited(FOREVER, &ticket).await });
            tokio::task::yield_now().await;
            end(&documents, at);
            assert!(!waiting.await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_nothing_supersedes_is_answered() {
        let (_documents, ticket) = asked();
        assert!(
            waited(Duration::ZERO, &ticket).await
                && waited(Duration::from_millis(2), &ticket).await
        );
    }
}
