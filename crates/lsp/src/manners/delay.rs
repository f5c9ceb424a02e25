//! Holding a request back until the user pauses (`show.delay_ms`).

use std::time::Duration;

use crate::requests::Ticket;

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
        let mut documents = Documents::default();
        let ticket = Ticket::default();
        let document = documents.open(URI, Language::Python, 1, &"x = \n".into());
        document.begin(&ticket);
        document.locate(&ticket, 4);
        (documents, ticket)
    }

    #[tokio::test]
    async fn whatever_supersedes_a_request_ends_its_wait_at_once() {
        let at = Position::new(0, 4);
        let endings: [fn(&mut Documents, Position); 4] = [
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
            |documents, _| drop(documents.get_mut(URI).unwrap().begin(&Ticket::default())),
            |documents, _| assert!(documents.close(URI).is_some()),
            |documents, _| assert!(documents.get_mut(URI).unwrap().lose()),
        ];
        for end in endings {
            // Before the wait has begun, and while it lasts.
            let (mut documents, ticket) = asked();
            end(&mut documents, at);
            assert!(!waited(FOREVER, &ticket).await);
            let (mut documents, ticket) = asked();
            let waiting = tokio::spawn(async move { waited(FOREVER, &ticket).await });
            tokio::task::yield_now().await;
            end(&mut documents, at);
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
