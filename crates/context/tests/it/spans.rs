//! AST spans.

use lacuna_context::Language::{self, *};
use lacuna_context::{SpanKind, spans};

fn of(language: Language, text: &str, kind: SpanKind) -> Vec<&str> {
    spans(language, text).into_iter().filter(|s| s.kind == kind).map(|s| &text[s.range]).collect()
}

#[test]
fn kinds_of_python() {
    let text = "import os\n@d\ndef f(a: int, b=2):\n    while a < b:\n        g(a, [1])\n        a += 1\n    return \"x\"  # c\n";
    assert_eq!(of(Python, text, SpanKind::Import), ["import os"]);
    assert_eq!(of(Python, text, SpanKind::Parameters), ["(a: int, b=2)"]);
    assert_eq!(of(Python, text, SpanKind::Condition), ["a < b"]);
    assert_eq!(of(Python, text, SpanKind::LoopBody), ["g(a, [1])\n        a += 1"]);
    assert_eq!(of(Python, text, SpanKind::Call), ["g(a, [1])"]);
    assert_eq!(of(Python, text, SpanKind::ArgumentList), ["(a, [1])"]);
    assert_eq!(of(Python, text, SpanKind::Collection), ["[1]"]);
    assert_eq!(of(Python, text, SpanKind::Type), ["int"]);
    assert_eq!(of(Python, text, SpanKind::String), ["\"x\""]);
    assert_eq!(of(Python, text, SpanKind::Comment), ["# c"]);
    assert_eq!(of(Python, text, SpanKind::Function).len(), 2, "decorated and plain");
    assert_eq!(of(Python, text, SpanKind::Block).len(), 1);
}

#[test]
fn every_grammar_has_the_main_kinds() {
    use SpanKind::*;
    let cases: [(Language, &str, &[SpanKind]); 8] = [
        (
            Rust,
            "use a::b;\nstruct S { x: u8 }\nfn f(a: u8) -> u8 { for i in a { g(i); } if a { \"s\" } else { match a { _ => 1 } } }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                LoopBody,
                Call,
                ArgumentList,
                Condition,
                String,
                Case,
                Block,
                Statement,
                Expression,
            ],
        ),
        (
            JavaScript,
            "import a from 'a';\nclass C { m(x) { while (x) { f(x, {y: 1}); } } }\nswitch (a) { case 1: break; }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                LoopBody,
                Call,
                ArgumentList,
                Condition,
                String,
                Case,
                Block,
                Statement,
                Collection,
            ],
        ),
        (
            TypeScript,
            "import a from 'a';\ninterface I { x: number }\nfunction f(a: I): void { if (a) { g(a); } }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                Call,
                ArgumentList,
                Condition,
                String,
                Block,
                Statement,
            ],
        ),
        (Tsx, "const a = () => <b>{f(x)}</b>;", &[Function, Call, ArgumentList, Statement]),
        (
            Go,
            "package p\nimport \"a\"\ntype T struct { x int }\nfunc f(a int) { for a < 1 { g(a) }\nif a > 2 { return } }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                LoopBody,
                Call,
                ArgumentList,
                Condition,
                Block,
                Statement,
                Expression,
            ],
        ),
        (
            Java,
            "import a.b;\nclass C { int f(int a) { for (int i : a) { g(i); } if (a > 1) { return 1; } return 2; } }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                LoopBody,
                Call,
                ArgumentList,
                Condition,
                Block,
                Statement,
                Expression,
            ],
        ),
        (
            C,
            "#include <a.h>\nstruct s { int x; };\nint f(int a) { while (a) { g(a, \"s\"); } if (a > 1) { return 1; } return 2; }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                LoopBody,
                Call,
                ArgumentList,
                Condition,
                String,
                Block,
                Statement,
                Expression,
            ],
        ),
        (
            Cpp,
            "#include <a>\nclass A { int x; };\nint f(int a) { for (auto b : a) { g(b); } auto l = [&](int c) { return c; }; return a + 2; }",
            &[
                Import,
                Class,
                Function,
                Parameters,
                Type,
                LoopBody,
                Call,
                ArgumentList,
                Block,
                Statement,
                Expression,
            ],
        ),
    ];
    for (language, text, kinds) in cases {
        let found = spans(language, text);
        for kind in kinds {
            assert!(
                found.iter().any(|s| s.kind == *kind),
                "{} has no {kind:?}: {found:?}",
                language.name()
            );
        }
    }
}

#[test]
fn spans_are_never_empty_and_nest() {
    let text = include_str!("spans.rs");
    let found = spans(Rust, text);
    assert!(found.len() > 500);
    let mut open: Vec<std::ops::Range<usize>> = Vec::new();
    for span in &found {
        assert!(
            !span.range.is_empty()
                && text.is_char_boundary(span.range.start)
                && text.is_char_boundary(span.range.end)
        );
        open.retain(|o| o.end > span.range.start);
        if let Some(outer) = open.last() {
            assert!(outer.start <= span.range.start && span.range.end <= outer.end);
        }
        open.push(span.range.clone());
    }
}

#[test]
fn nodes_with_errors_are_left_out() {
    assert_eq!(of(Python, "def f(:\n    g(1)\n", SpanKind::Function), [""; 0]);
    assert_eq!(of(Python, "g(1)\nx = = 2\n", SpanKind::Call), ["g(1)"]);
    assert_eq!(spans(Text, "g(1)"), []);
}
