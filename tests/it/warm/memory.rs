//! Answers from memory: a suggestion that is typed through, mistyped, taken back, accepted.

use std::sync::Arc;
use std::time::Duration;

use lacuna_complete::{Completer, Outcome, Reply, Request, Settings, Snapshot};
use lacuna_context::{Excerpt, ExcerptKind, Language};
use lacuna_engine::{Cancel, Model, Precision, Reuse};
use lacuna_prompt::{Sentinels, Tokenizer};
use lacuna_tests::Random;

use super::{Buffer, Tiny, program};

fn settings() -> Settings {
    Settings { prompt_tokens: 320, line_tokens: 12, block_tokens: 12, ..Settings::default() }
}

fn suggestion(reply: &Reply) -> Option<&str> {
    match &reply.outcome {
        Outcome::Suggest(items) => Some(&items[0].text),
        Outcome::Silence(_) => None,
    }
}

fn type_char(buffer: &mut Buffer, c: char) {
    buffer.splice(buffer.cursor..buffer.cursor, c.encode_utf8(&mut [0; 4]));
}

fn backspace(buffer: &mut Buffer) {
    let text = buffer.document.text();
    let start = text[..buffer.cursor].char_indices().next_back().map_or(0, |(at, _)| at);
    buffer.splice(start..buffer.cursor, "");
}

fn ask(buffer: &Buffer, completer: &Completer) -> Reply {
    buffer.complete(completer, &Cancel::new())
}

#[test]
fn a_right_suggestion_is_typed_through_without_the_model() {
    let tiny = Tiny::new();
    let completer = tiny.completer(settings());
    let text = format!("{}value = ", program(20, &mut Random::new(4)));
    let mut buffer = Buffer::new(&text, text.len());
    let (mut keys, mut from_memory) = (0, 0);
    for _ in 0..8 {
        let reply = ask(&buffer, &completer);
        let Some(whole) = suggestion(&reply).map(str::to_owned) else { break };
        for (i, c) in whole.char_indices() {
            type_char(&mut buffer, c);
            let reply = ask(&buffer, &completer);
            keys += 1;
            from_memory += usize::from(reply.from_memory);
            let rest = &whole[i + c.len_utf8()..];
            if !rest.is_empty() {
                assert!(
                    reply.from_memory && reply.tokens.generated == 0 && reply.tokens.prompt == 0,
                    "{reply:?}"
                );
                assert_eq!(suggestion(&reply), Some(rest));
            }
        }
    }
    assert!(
        keys >= 20 && from_memory * 10 > keys * 6,
        "{from_memory} of {keys} keystrokes were answered from memory"
    );
}

#[test]
fn a_typo_that_is_taken_back_costs_nothing() {
    let tiny = Tiny::new();
    let completer = tiny.completer(settings());
    let mut buffer = Buffer::new("value = ", 8);
    let first = ask(&buffer, &completer);
    let whole = suggestion(&first).expect("the tiny model always says something").to_owned();
    // A short answer to the typo must not push the suggestion out.
    for wrong in ['Q', '7', '('] {
        type_char(&mut buffer, wrong);
        assert!(!ask(&buffer, &completer).from_memory);
        backspace(&mut buffer);
        let again = ask(&buffer, &completer);
        assert_eq!((again.from_memory, suggestion(&again)), (true, Some(whole.as_str())));
    }
}

#[test]
fn what_is_typed_while_a_request_runs_is_answered_by_its_result() {
    let tiny = Tiny::new();
    let completer = tiny.completer(settings());
    let buffer = Buffer::new("value = ", 8);
    let slow = ask(&buffer, &completer);
    let whole = suggestion(&slow).expect("something").to_owned();
    completer.forget("a");
    // The same request again, on another thread; meanwhile its first character is typed.
    let mut typed = buffer.clone();
    type_char(&mut typed, whole.chars().next().expect("not empty"));
    let flight = lacuna_complete::Flight::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let caller =
                lacuna_complete::Caller { client: 1, flight: Some(&flight), ..Default::default() };
            completer.complete_for(&buffer.request("a", 1), caller, &Cancel::new())
        });
        let old = running.join().expect("no panic");
        assert_eq!(suggestion(&old), Some(whole.as_str()));
    });
    let first: String = whole.chars().take(1).collect();
    assert!(
        flight.agrees(&first)
            && flight.agrees(&whole)
            && !flight.agrees("")
            && !flight.agrees(&format!("{whole}Q"))
    );
    let reply = ask(&typed, &completer);
    assert!(reply.from_memory);
    assert_eq!(suggestion(&reply), Some(&whole[first.len()..]));
}

#[test]
fn warming_changes_what_an_answer_costs_and_not_what_it_is() {
    let tiny = Tiny::new();
    let text = program(80, &mut Random::new(6));
    let cursor = super::boundary(&text, text.len() / 2);
    let buffer = Buffer::new(&text, cursor);
    let cold = tiny.completer(super::by_the_model());
    let expected = buffer.write(&cold, &Cancel::new());
    let warmed = tiny.completer(Settings { background: true, ..super::by_the_model() });
    let snapshot = lacuna_complete::Snapshot {
        key: "a".to_owned(),
        path: Some("src/a.py".to_owned()),
        language: lacuna_context::Language::Python,
        document: buffer.document.clone(),
        tree: buffer.tree.clone(),
        cursor,
        excerpts: Arc::default(),
    };
    warmed.edited(snapshot);
    warmed.settle();
    let reply = buffer.write(&warmed, &Cancel::new());
    assert_eq!(suggestion(&reply), suggestion(&expected));
    assert_eq!(
        reply.tokens.cached + 1,
        reply.tokens.prompt,
        "only the last token is computed, for its logits: {:?}",
        reply.tokens
    );
    assert_eq!(expected.tokens.cached, 0);
}

#[test]
fn a_deadline_ends_a_request_and_the_prompt_is_ready_for_the_next() {
    let tiny = Tiny::new();
    let text = program(200, &mut Random::new(9));
    let buffer = Buffer::new(&text, super::boundary(&text, text.len() / 2));
    // Time for nothing: what was computed until then is kept, and the background goes on with it.
    let settings = Settings {
        deadline: Duration::from_nanos(1),
        background: true,
        prompt_tokens: 1500,
        ..settings()
    };
    let completer = tiny.completer(settings);
    for _ in 0..3 {
        let reply = ask(&buffer, &completer);
        assert_eq!(reply.outcome, Outcome::Silence(lacuna_complete::Reason::Deadline));
    }
    assert!(completer.costs().is_sound());
}

/// The tiny model never ends a line: here the embedded one does.
#[test]
fn the_line_behind_an_accepted_suggestion_is_ready_when_its_break_is_typed() {
    let embedded = lacuna_tests::workspace().join("datasets/embedded");
    let tokenizer = Tokenizer::from_json(
        &std::fs::read(embedded.join("tokenizer.json")).expect("the tokenizer"),
    )
    .expect("ours");
    let sentinels = Sentinels::resolve(&tokenizer).expect("ours");
    let model = Model::load(embedded.join("model.lacuna.safetensors"), Precision::Int4)
        .expect("the embedded model");
    let settings = Settings { background: true, ..Settings::default() };
    let completer = Completer::new(Arc::new(model), Arc::new(tokenizer), sentinels, settings);
    let text =
        std::fs::read_to_string(lacuna_tests::workspace().join("datasets/samples/text_stats.py"))
            .expect("a sample");
    let (mut accepted, mut ready) = (0, 0);
    for (at, _) in text.match_indices(['=', '(']).step_by(2) {
        // The rest of the file is not there yet.
        let mut buffer = Buffer::new(&text[..at + 1], at + 1);
        let Some(item) = suggestion(&ask(&buffer, &completer)).map(str::to_owned) else { continue };
        completer.settle();
        accepted += 1;
        buffer.splice(buffer.cursor..buffer.cursor, &format!("{item}\n"));
        let reply = ask(&buffer, &completer);
        if reply.from_memory {
            ready += 1;
            let line = suggestion(&reply).expect("memory has a text");
            assert!(!line.trim().is_empty() && reply.tokens.generated == 0, "{reply:?}");
            // And it is typed through like any other.
            let first = line.chars().next().expect("not empty");
            type_char(&mut buffer, first);
            let next = ask(&buffer, &completer);
            assert!(next.from_memory || line.chars().count() == 1);
        }
    }
    assert!(accepted >= 5 && ready * 3 >= accepted, "{ready} of {accepted} next lines were ready");
}

/// Another file's part is computed once, by itself, for whichever document shows it next, wherever
/// in its prompt.
#[test]
fn an_excerpt_is_computed_once_and_moved_to_where_a_prompt_shows_it() {
    let tiny = Tiny::new();
    let text = "# src/shapes.py\nclass Circle:\n    def area(self):\n        return self.radius * self.radius\n\n    def name(self):\n        return 'circle'";
    let excerpts = [Excerpt {
        kind: ExcerptKind::OtherFile,
        path: Some("src/shapes.py".to_owned()),
        text: text.to_owned(),
        score: 1.0,
    }];
    let shifted = |reuse: Reuse| {
        let completer = tiny.completer(Settings {
            reuse,
            background: true,
            prompt_tokens: 1024,
            ..super::by_the_model()
        });
        let first = Buffer::new("x = Circle(1)\n", 14);
        completer.edited(Snapshot {
            key: "first".to_owned(),
            path: Some("src/first.py".to_owned()),
            language: Language::Python,
            document: first.document.clone(),
            tree: first.tree.clone(),
            cursor: first.cursor,
            excerpts: excerpts.to_vec().into(),
        });
        completer.settle();
        // Of this document nothing is left.
        completer.forget("first");
        let second = Buffer::new("def f(circle):\n    y = circle.\n    return y\n", 30);
        let request = Request {
            path: Some("src/a_longer_name.py"),
            excerpts: &excerpts,
            ..second.request("second", 1)
        };
        let reply = super::write(&completer, &request, &Cancel::new());
        assert!(matches!(reply.outcome, Outcome::Suggest(_)), "{:?}", reply.outcome);
        reply.tokens.shifted
    };
    let all = tiny.tokenizer.encode(&format!("{text}\n")).len();
    // And perhaps the marker before it.
    let moved = shifted(Reuse::Shift { min_run: 32 });
    assert!((all..=all + 1).contains(&moved), "{moved} of {all}");
    assert_eq!(shifted(Reuse::Exact), 0);
}
