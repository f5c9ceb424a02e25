//! Brackets without partners, and closers that the suffix has already.

use lacuna_context::Language::{self, *};
use lacuna_context::{balance, cut_repeated_closers};

fn unmatched(language: Language, text: &str) -> (String, String) {
    let found = balance(language, text);
    let show = |brackets: &[lacuna_context::Bracket]| {
        brackets
            .iter()
            .map(|b| format!("{}{}", b.byte as char, b.offset))
            .collect::<Vec<_>>()
            .join(" ")
    };
    (show(&found.unmatched_openers), show(&found.unmatched_closers))
}

#[test]
fn unmatched_brackets_are_found_with_their_offsets() {
    let cases = [
        (Rust, "f(a[1], { b })", "", ""),
        (Rust, "f(a[1", "(1 [3", ""),
        (Rust, "a) } b(", "(6", ")1 }3"),
        (Rust, "f({ a )", "{2", ""),
        (Rust, "f(a] b)", "", "]3"),
        (Rust, "f(\")\" /* ) */", "(1", ""),
        (Python, "x = {'}': [", "{4 [10", ""),
        (JavaScript, "`${a", "{1", ""),
        (Text, "(:", "(0", ""),
    ];
    for (language, text, openers, closers) in cases {
        assert_eq!(unmatched(language, text), (openers.into(), closers.into()), "{text}");
    }
}

#[test]
fn strings_and_comments_at_the_end() {
    let ends = |language, text| {
        (balance(language, text).ends_in_string, balance(language, text).ends_in_comment)
    };
    assert_eq!(ends(Python, "x = 'a"), (true, false));
    assert_eq!(ends(Python, "x = 'a\n"), (false, false));
    assert_eq!(ends(Python, "# a"), (false, true));
    assert_eq!(ends(Python, "# a\n"), (false, false));
    assert_eq!(ends(JavaScript, "`${a}"), (true, false));
    assert_eq!(ends(JavaScript, "`${a"), (false, false));
    assert_eq!(ends(C, "/* a\n"), (false, true));
}

#[test]
fn closers_that_the_suffix_has_are_cut() {
    let cases = [
        // The editor closed the bracket already.
        ("foo(", "x)¦", ""),
        ("foo(", "x¦)", ")"),
        ("foo(", "x¦);", ");"),
        ("foo(bar(", "x)¦", ")"),
        ("foo(bar(", "x¦))", "))"),
        ("foo(bar(", "x)¦)", ")"),
        ("fn f() {\n    ", "a();¦\n}", "\n}\n"),
        ("fn f() {\n    ", "a();\n}¦", "\n"),
        ("fn f() {\n    ", "if x { a(); }¦", "\n}\n"),
        ("f(() => {", "\n  a();¦\n});", "\n});\n"),
        ("let x = a[", "i¦];", "];"),
        // A string and a comment hide what looks like brackets.
        ("foo(", "\")\"¦", ")"),
        ("foo(", "x)¦", "; // )"),
        // The window does not show where the suffix's closers open.
        ("foo(", "x)¦", "\n}\n}\n"),
        ("foo(", "x¦)", ")\n}\n}\n"),
        ("  a();\n  ", "b();¦", "\n}"),
    ];
    for (prefix, completion, suffix) in cases {
        let expected = completion.find('¦').unwrap();
        let completion = completion.replace('¦', "");
        let len = cut_repeated_closers(Rust, prefix, &completion, suffix);
        assert_eq!(
            &completion[..len],
            &completion[..expected],
            "{prefix:?} {completion:?} {suffix:?}"
        );
    }
}
