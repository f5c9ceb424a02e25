//! Two hundred edits a second, each with a request, as a held key or a macro makes them: nothing
//! hangs, nothing is lost, memory returns.
//!
//! `LACUNA_TEST_STORM_SECONDS` says for how long [3]; the gate takes half a minute.

use std::time::{Duration, Instant};

use lacuna_tests::Random;
use serde_json::json;

use super::load::resident;
use super::{Session, URI, change, essence, is_result};

const EDITS_A_SECOND: u32 = 200;
/// Lines are taken out again above this number, so that memory has no reason to grow.
const MAX_LINES: usize = 60;

/// The text as the editor has it; ASCII, so that bytes, characters and UTF-16 units are the same.
struct Text {
    lines: Vec<String>,
    cursor: (usize, usize),
}

impl Text {
    fn whole(&self) -> String {
        self.lines.join("\n")
    }

    /// One edit of somebody in a hurry, applied here and returned for the server.
    fn edit(&mut self, random: &mut Random) -> serde_json::Value {
        let (line, column) = self.cursor;
        match random.below(20) {
            _ if self.lines.len() > MAX_LINES => {
                self.lines.drain(10..40);
                self.cursor = (0, 0);
                change((10, 0), (40, 0), "")
            }
            0..=2 if column > 0 => {
                self.lines[line].remove(column - 1);
                self.cursor.1 -= 1;
                change((line, column - 1), (line, column), "")
            }
            3 | 4 => {
                let rest = self.lines[line].split_off(column);
                self.lines.insert(line + 1, format!("    {rest}"));
                self.cursor = (line + 1, 4);
                change((line, column), (line, column), "\n    ")
            }
            5 => {
                let line = random.below(self.lines.len());
                let column = self.lines[line].len();
                self.lines[line].push(' ');
                self.cursor = (line, column + 1);
                change((line, column), (line, column), " ")
            }
            _ => {
                let letter = *random.pick(&["a", "e", "r", "(", ")", "=", "x", " "]);
                self.lines[line].insert_str(column, letter);
                self.cursor.1 += 1;
                change((line, column), (line, column), letter)
            }
        }
    }
}

#[test]
fn two_hundred_edits_a_second_lose_nothing_and_leave_nothing() {
    let seconds: u32 = std::env::var("LACUNA_TEST_STORM_SECONDS")
        .map_or(3, |s| s.parse().expect("LACUNA_TEST_STORM_SECONDS: seconds"));
    let edits = seconds * EDITS_A_SECOND;
    let random = &mut Random::new(7);
    let mut text = Text {
        lines: (0..20).map(|i| format!("value_{i} = compute({i})")).collect(),
        cursor: (3, 5),
    };
    let mut session = Session::on_the_scalar_row();
    let pid = session.child().id();
    session.open(URI, "python", &text.whole());

    let mut ids = Vec::new();
    let mut early = 0.0;
    let start = Instant::now();
    for i in 0..edits {
        // An appointment, not a wait: a sender that is late catches up.
        std::thread::sleep(
            (start + i * Duration::from_secs(1) / EDITS_A_SECOND)
                .saturating_duration_since(Instant::now()),
        );
        let edit = text.edit(random);
        session.change(URI, i64::from(i) + 2, &[edit]);
        // Some editors cancel what is superseded, some leave it to the server.
        if let Some(last) = ids.last()
            && i % 2 == 0
        {
            session.notify("$/cancelRequest", json!({"id": last}));
        }
        ids.push(session.complete(URI, text.cursor.0, text.cursor.1));
        if i == edits / 4 {
            early = resident(pid);
        }
    }
    let last = *ids.last().expect("edits");
    let answered = ids.iter().filter(|id| is_result(&session.reply(**id))).count();
    assert!(session.reply(last).get("error").is_none(), "the last one is superseded by nobody");
    assert!(answered > 0 && answered <= edits as usize, "{answered} of {edits}");
    let late = resident(pid);
    assert!(late < early + 50.0, "{early:.0} MB after a quarter, {late:.0} MB after all");

    // What the server has is what the editor has: a server that is given the whole text says the
    // same.
    let (line, column) = text.cursor;
    let stormed = session.items(URI, line, column);
    let mut fresh = Session::on_the_scalar_row();
    fresh.open(URI, "python", &text.whole());
    assert_eq!(essence(&stormed), essence(&fresh.items(URI, line, column)));
    session.close(URI);
    assert_eq!(session.finish(), Some(0));
}
