//! What stands right of the cursor is asked about lines: the same warm or cold, what the model
//! alone says of the text, and only with time and memory.

use std::sync::Arc;
use std::time::Duration;

use lacuna_complete::{Completer, Considered, Evidence, Request, Settings, Snapshot, Suffix};
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::{Cancel, Model, Precision, kernel_row, log_probs};
use lacuna_prompt::{Sentinels, Tokenizer, plain};
use lacuna_text::Document;

const TEXT: &str = "\
import re


def words(text):
    found = re.findall(r\"\\w+\", text)
    return found


def longest(text, least):
    best = \"\"
    for word in words(text):
        if len(word) > len(best):
            best = word
    if len(best) < least:
        return None
    return best


def count(text):
    total = 0
    for word in words(text):
        total += 1
    return total
";

struct Embedded {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    sentinels: Sentinels,
}

impl Embedded {
    fn new() -> Embedded {
        let embedded = lacuna_tests::workspace().join("datasets/embedded");
        let tokenizer = Tokenizer::from_json(
            &std::fs::read(embedded.join("tokenizer.json")).expect("the tokenizer"),
        )
        .expect("ours");
        let sentinels = Sentinels::resolve(&tokenizer).expect("ours");
        let model = Model::load(embedded.join("model.lacuna.safetensors"), Precision::Int4)
            .expect("the embedded model");
        Embedded { model: Arc::new(model), tokenizer: Arc::new(tokenizer), sentinels }
    }

    fn completer(&self, settings: Settings) -> Completer {
        Completer::new(
            Arc::clone(&self.model),
            Arc::clone(&self.tokenizer),
            self.sentinels.clone(),
            settings,
        )
    }
}

/// Asked wherever there are two lines.
fn settings() -> Settings {
    let evidence = Evidence { suffix: true, ..Evidence::default() };
    Settings {
        beam: 4,
        evidence,
        suffix: Suffix { weight: 0.5, tokens: 8, margin: 6.0 },
        ..Settings::default()
    }
}

/// The text with the rest of a line deleted, and the cursor there.
struct Place {
    document: Document,
    tree: SyntaxTree,
    cursor: usize,
}

impl Place {
    fn behind(marks: &str) -> Place {
        let cursor = TEXT.find(marks).expect("a mark of the text") + marks.len();
        let rest = TEXT[cursor..].find('\n').expect("a line");
        let document = Document::new(&format!("{}{}", &TEXT[..cursor], &TEXT[cursor + rest..]), 0);
        let tree = SyntaxTree::parse(Language::Python, document.rope());
        Place { document, tree, cursor }
    }

    fn request<'a>(&'a self, key: &'a str) -> Request<'a> {
        Request {
            explain: true,
            ..Request::at(key, Some("a.py"), &self.document, &self.tree, self.cursor)
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            key: "a".to_owned(),
            path: Some("a.py".to_owned()),
            language: Language::Python,
            document: self.document.clone(),
            tree: self.tree.clone(),
            cursor: self.cursor,
            excerpts: Arc::default(),
        }
    }
}

const PLACES: [&str; 4] = ["found = ", "if len(word) > ", "    total ", "return N"];

fn lines(completer: &Completer, place: &Place) -> Vec<Considered> {
    completer.complete(&place.request("a"), &Cancel::new()).explanation.expect("asked for").lines
}

#[test]
fn lines_are_told_apart_by_what_follows_warm_or_cold() {
    let embedded = Embedded::new();
    let warm = embedded.completer(Settings { background: true, ..settings() });
    let mut asked = 0;
    for marks in PLACES {
        let place = Place::behind(marks);
        let cold = lines(&embedded.completer(settings()), &place);
        // Places of one document one after another: what is held is of the text before, then of
        // this one.
        warm.edited(place.snapshot());
        warm.settle();
        let again = lines(&warm, &place);
        let is_exact = !kernel_row().expect("a row").starts_with("amx");
        if is_exact {
            assert_eq!(again, cold, "{marks:?}");
        }
        let alone = embedded.completer(Settings {
            evidence: Evidence { suffix: false, ..Evidence::default() },
            ..settings()
        });
        assert!(lines(&alone, &place).iter().all(|line| line.suffix.is_empty()));
        for pair in cold.windows(2) {
            assert!(pair[0].score >= pair[1].score, "in the order of the printed score: {cold:?}");
        }
        // The reference: the model reads the whole text, token by token.
        let (prefix, suffix) =
            (place.document.slice(0..place.cursor), place.document.slice(place.cursor..usize::MAX));
        for line in cold.iter().filter(|line| !line.suffix.is_empty()) {
            asked += 1;
            let (held, begun) = prefix.split_at(prefix.rfind('\n').expect("a line above"));
            let mut ids = plain(&embedded.tokenizer, &embedded.sentinels, Some("a.py"), held);
            ids.extend(embedded.tokenizer.encode(&format!("{begun}{}", line.text)));
            let from = ids.len();
            ids.extend(embedded.tokenizer.encode(&suffix[..suffix.len().min(200)]));
            let all = log_probs(&embedded.model, &ids, &Cancel::new()).expect("a short text");
            for (got, expected) in line.suffix.iter().zip(&all[from - 1..]) {
                assert!(
                    (got - expected).abs() <= if is_exact { 1e-3 } else { 0.3 },
                    "{marks:?} {line:?}: {got} is not {expected}"
                );
            }
        }
    }
    assert!(asked >= 4, "asked about {asked} lines: the test shows nothing");
}

#[test]
fn nothing_is_asked_without_time_or_memory_and_cancelling_leaves_no_trace() {
    let embedded = Embedded::new();
    let place = Place::behind(PLACES[0]);
    let expected = lines(&embedded.completer(settings()), &place);
    assert!(
        expected.len() > 1 && expected.iter().all(|line| line.suffix.len() == 8),
        "{expected:?}"
    );
    // A deadline that nothing reaches; but what asking costs is not known yet.
    let hurried =
        embedded.completer(Settings { deadline: Duration::from_secs(3600), ..settings() });
    assert!(lines(&hurried, &place).iter().all(|line| line.suffix.is_empty()));
    for marks in PLACES.into_iter().cycle().take(8) {
        hurried.forget("a");
        let _ = lines(&hurried, &Place::behind(marks));
    }
    hurried.forget("a");
    let heard: Vec<bool> =
        lines(&hurried, &place).iter().map(|line| !line.suffix.is_empty()).collect();
    assert!(
        heard.len() > 1 && heard.iter().all(|heard| *heard),
        "known by now: {:?}",
        hurried.costs()
    );

    // Memory for the prompt, and for nothing beside it.
    let one = {
        let completer = embedded.completer(Settings { beam: 1, ..settings() });
        let _ = lines(&completer, &place);
        completer.kv().bytes
    };
    let tight = embedded.completer(Settings { kv_budget_bytes: one, ..settings() });
    let poor = lines(&tight, &place);
    assert!(!poor.is_empty() && poor.iter().all(|line| line.suffix.is_empty()), "{poor:?}");
    assert!(tight.kv().bytes <= one);
    let roomy = embedded.completer(settings());
    let _ = lines(&roomy, &place);
    assert!(roomy.kv().caches > 1);
    roomy.forget("a");
    assert_eq!((roomy.kv().bytes, roomy.kv().caches), (0, 0), "a closed document leaves nothing");

    let completer = embedded.completer(settings());
    for check in (0..400).step_by(7) {
        completer.forget("a");
        let reply = completer.complete(&place.request("a"), &Cancel::new().at_check(check));
        let lines = reply.explanation.expect("asked for").lines;
        assert!(
            lines.iter().all(|line| line.suffix.len() == lines[0].suffix.len()),
            "all or none: {lines:?}"
        );
    }
    completer.forget("a");
    assert_eq!(lines(&completer, &place), expected);
}
