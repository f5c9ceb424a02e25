//! Keystroke traces played through the server by a user with a script, in the words of each
//! client's protocol: what is stored is what was done, suggestion by suggestion, whichever protocol
//! tells it.

mod dialect;
mod ledger;
mod trace;
mod user;

use serde_json::Value;

use self::dialect::Dialect;
use self::ledger::Counts;
use self::trace::Trace;
use self::user::User;
use super::editor::Desk;

const TRACES: &str = include_str!("traces.jsonl");

/// What the script does to the traces of this folder, in every protocol. It depends on what the
/// tiny model suggests on the scalar row, which every machine has, and so on how prompts are laid
/// out; that all protocols tell the same does not.
const GOLDEN: Counts = Counts {
    accepted: 15,
    partly: 2,
    typed_through: 7,
    dismissed: 174,
    superseded: 3,
    closed: 3,
    accepted_chars: 0,
};

#[test]
fn what_is_stored_is_what_was_done_in_every_protocol() {
    let traces = trace::read(TRACES);
    assert_eq!(traces.len(), 3);
    play(&traces, &Dialect::ALL, |dialect, counts| {
        eprintln!("{dialect:?}: {counts:?}");
        // How long its suggestions are is the model's affair.
        assert_eq!(Counts { accepted_chars: 0, ..counts.clone() }, GOLDEN, "{dialect:?}");
    });
}

/// Real traces, if `LACUNA_TEST_TRACES` names a file of them: the same, without counts that are
/// known beforehand.
#[test]
fn traces_of_others_are_stored_as_they_were_played() {
    let Some(path) = std::env::var_os("LACUNA_TEST_TRACES") else { return };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let traces = trace::read(&text);
    assert!(!traces.is_empty());
    // Where text repeats, a whole document does not tell which of it went: beside the cursor or a
    // little further on.
    let dialects: Vec<Dialect> =
        Dialect::ALL.into_iter().filter(|d| *d != Dialect::WholeDocument).collect();
    play(&traces, &dialects, |dialect, counts| {
        eprintln!("{dialect:?}: {counts:?}");
        assert!(counts.accepted > 0, "{counts:?}");
    });
}

/// Plays the traces in each protocol, waits for the look after thirty seconds, and compares every
/// suggestion's row.
fn play(traces: &[Trace], dialects: &[Dialect], check: impl Fn(Dialect, &Counts)) {
    // All are played before the first is waited for, so that the thirty seconds pass once.
    let mut sessions: Vec<(Dialect, Vec<(Desk, User)>)> = Vec::new();
    for dialect in dialects {
        let played = traces.iter().map(|trace| {
            let desk = Desk::new();
            let user = user::play(&desk, *dialect, trace);
            (desk, user)
        });
        sessions.push((*dialect, played.collect()));
    }
    for (dialect, played) in sessions {
        let mut counts = Counts::default();
        for (desk, user) in played {
            let watched = user.ledger.n_watched();
            let looked_at =
                |rows: &[Value]| rows.iter().filter(|r| !r["kept_30s"].is_null()).count();
            desk.wait_for(
                "look at accepted text after 30 s",
                || (),
                |rows| looked_at(rows) == watched,
            );
            let ledger = user.finish();
            ledger.compare(dialect, &desk.rows());
            ledger.counts().compare(dialect, &desk.report());
            counts.add(&ledger.counts());
        }
        check(dialect, &counts);
    }
}
