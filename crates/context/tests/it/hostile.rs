//! Huge, deep and absurd texts: nothing hangs, nothing overflows the stack. Limits are generous:
//! they catch squares.

use std::time::Duration;

use lacuna_context::{
    Language, MAX_SPANS, Rope, SyntaxTree, balance, cursor_facts, cut_repeated_closers,
    first_syntactic_end, spans, syntactic_end,
};
use lacuna_text::Document;
use nix::time::{ClockId, clock_gettime};

/// Runs it in so many seconds of this thread's processor time: what else the machine does must not
/// decide a test.
fn within<T>(limit_s: u64, what: &str, run: impl FnOnce() -> T) -> T {
    let start = thread_time();
    let result = run();
    let took = thread_time() - start;
    assert!(took < Duration::from_secs(limit_s), "{what} took {took:?}");
    result
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every Linux has this clock").into()
}

fn everything(language: Language, text: &str) {
    let name = format!("{} {:?}…", language.name(), text.chars().take(12).collect::<String>());
    let rope = Rope::from_str(text);
    within(5, &name, || {
        let mut tree = SyntaxTree::parse(language, &rope);
        tree.n_errors();
        tree.imports(&rope);
        for byte in [0, text.len() / 2, text.len()] {
            cursor_facts(&tree, &rope, byte);
            tree.scope(&rope, byte);
        }
        assert!(tree.spans().len() <= MAX_SPANS);
        let mut document = Document::new(text, 0);
        let middle = text.len() / 2;
        tree.edit(&document.splice(middle..middle, "x"));
        tree.reparse(document.rope());
        balance(language, text);
        for multi_line in [false, true] {
            syntactic_end(language, text, "a(\n  b\n)", multi_line);
            syntactic_end(language, "x = ", text, multi_line);
        }
        cut_repeated_closers(language, text, "a)}", text);
    });
}

#[test]
fn deep_nesting() {
    for language in [Language::Python, Language::Rust, Language::JavaScript, Language::C] {
        for open in ["(", "[", "{", "f(", "if (a) {", "(]"] {
            everything(language, &open.repeat(100_000));
        }
        everything(language, &format!("x = {}1{}", "(".repeat(50_000), ")".repeat(50_000)));
    }
}

#[test]
fn one_long_line() {
    for language in [Language::Python, Language::JavaScript, Language::Text] {
        everything(language, &"x = foo(a, 'b') + ".repeat(60_000));
        everything(language, &"/[".repeat(500_000));
        everything(language, &"a".repeat(1 << 20));
        everything(language, &"`${".repeat(300_000));
        everything(language, &"\"".repeat(1 << 20));
    }
}

#[test]
fn many_lines() {
    everything(Language::Python, &"def f():\n    pass\n".repeat(60_000));
    everything(Language::Python, &"\n".repeat(1 << 20));
    everything(Language::Python, &"x = \\\n".repeat(100_000));
    everything(Language::Rust, &"r#\"".repeat(100_000));
    everything(
        Language::Python,
        &(0..2_000).map(|i| format!("{:i$}if x:\n", "")).collect::<String>(),
    );
}

#[test]
fn fifty_megabytes_are_not_parsed() {
    let text = "int f(void) { return 1; }\n".repeat(2_000_000);
    let rope = Rope::from_str(&text);
    let tree = within(5, "parse", || SyntaxTree::parse(Language::C, &rope));
    assert!(!tree.is_present());
    assert_eq!(
        (tree.n_errors(), tree.imports(&rope).len(), spans(Language::C, &text).len()),
        (0, 0, 0)
    );
    within(2, "facts", || cursor_facts(&tree, &rope, text.len() / 2));
    within(2, "end", || first_syntactic_end(Language::C, &text, &text, true));
}

#[test]
fn a_parse_that_was_given_up_is_not_tried_at_every_edit() {
    // Ambiguous and broken: slow for its size.
    let text = "a < b > ( c < { d [ ".repeat(200_000);
    let mut document = Document::new(&text, 0);
    let mut tree = SyntaxTree::parse(Language::Cpp, document.rope());
    if tree.is_present() {
        return;
    }
    within(2, "edits", || {
        for i in 0..50 {
            tree.edit(&document.splice(i..i, "x"));
            tree.reparse(document.rope());
        }
    });
    document.replace_all("int x;");
    tree.reparse(document.rope());
    assert!(tree.is_present());
}
