//! Edit, reparse, undo, reparse, compare; and nothing panics on any text at any place.

use lacuna_context::{
    Language, SyntaxTree, balance, cursor_facts, cut_repeated_closers, spans, syntactic_end,
};
use lacuna_text::Document;

/// A small generator with a fixed seed (xorshift): tests repeat exactly.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n.max(1)
    }

    fn text(&mut self, n: usize) -> String {
        const PIECES: [&str; 44] = [
            "x",
            " ",
            "  ",
            "\n",
            "\n    ",
            "\r\n",
            "\t",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "'",
            "\"",
            "`",
            "\\",
            "/",
            "//",
            "/*",
            "*/",
            "#",
            ":",
            ";",
            ",",
            ".",
            "=",
            "=>",
            "${",
            "r#\"",
            "R\"(",
            "'''",
            "\"\"\"",
            "def f():\n",
            "fn f() {\n",
            "if (a) ",
            "return",
            "é",
            "😀",
            "\r",
            "import a\n",
            "class A",
            "case 1:",
            "&& b",
        ];
        (0..n).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }
}

const SOURCES: [(Language, &str); 9] = [
    (
        Language::Python,
        "import os\n\n\nclass A:\n    def f(self, x):\n        \"\"\"D.\"\"\"\n        if x:\n            return [1, 2]\n        return f'{x} é'\n",
    ),
    (Language::Rust, include_str!("language.rs")),
    (
        Language::JavaScript,
        "import a from 'a';\nconst f = (x) => {\n  return `a ${x} 😀`;\n};\nclass B { m() { return /a[/]b/; } }\n",
    ),
    (Language::TypeScript, "interface I { a: string }\nfunction f(a: I): void {\n  g(a);\n}\n"),
    (Language::Tsx, "const a = () => <b c=\"d\">{e}</b>;\n"),
    (Language::Go, "package p\n\nimport \"fmt\"\n\nfunc f(a int) {\n\tfmt.Println(`x`, a)\n}\n"),
    (Language::Java, "import a.B;\nclass A {\n    int f() { return 1; }\n}\n"),
    (Language::C, "#include <a.h>\nint f(int a)\n{\n    return a ? 'b' : 0;\n}\n"),
    (Language::Cpp, "namespace n {\ntemplate <class T> T f(T a) { return R\"(x)\" + a; }\n}\n"),
];

#[test]
fn edit_undo_and_reparse_equal_a_fresh_parse() {
    let mut random = Random(0x5eed_0003);
    let mut n_edits = 0;
    for (language, source) in SOURCES {
        let mut document = Document::new(source, 0);
        let mut tree = SyntaxTree::parse(language, document.rope());
        let fresh =
            |document: &Document| SyntaxTree::parse(language, document.rope()).dump(usize::MAX);
        let original = tree.dump(usize::MAX);
        for _ in 0..12 {
            let mut undo = Vec::new();
            for _ in 0..3 {
                let start = random.below(document.len_bytes() + 1);
                let end = start + random.below(8);
                let pieces = random.below(4);
                let inserted = random.text(pieces);
                let before = document.clone();
                let edit = document.splice(start..end, &inserted);
                undo.push((edit, before.slice(edit.start_byte..edit.old_end_byte).into_owned()));
                tree.edit(&edit);
                tree.reparse(document.rope());
                assert_eq!(tree.dump(usize::MAX), fresh(&document), "{:?}", document.text());
                n_edits += 1;
            }
            while let Some((edit, removed)) = undo.pop() {
                tree.edit(&document.splice(edit.start_byte..edit.new_end_byte, &removed));
                tree.reparse(document.rope());
            }
            assert_eq!(document.text(), source);
            assert_eq!(tree.dump(usize::MAX), original, "{}", language.name());
        }
    }
    assert_eq!(n_edits, 9 * 36);
}

#[test]
fn no_text_and_no_place_panics() {
    let mut random = Random(0x5eed_0004);
    for round in 0..600 {
        let language = Language::ALL[round % Language::ALL.len()];
        let [prefix, completion, suffix] = [12, 10, 6].map(|n| random.text(n));
        for multi_line in [false, true] {
            let end = syntactic_end(language, &prefix, &completion, multi_line);
            assert!(completion.is_char_boundary(end.len), "{completion:?}");
            assert!(multi_line || !completion[..end.len].trim().contains('\n'));
        }
        let kept = cut_repeated_closers(language, &prefix, &completion, &suffix);
        assert!(completion.is_char_boundary(kept));
        let text = format!("{prefix}{completion}{suffix}");
        let found = balance(language, &text);
        assert!(
            found
                .unmatched_openers
                .iter()
                .all(|b| "([{$".contains(text.as_bytes()[b.offset] as char))
        );
        spans(language, &text);
        let document = Document::new(&text, 0);
        let tree = SyntaxTree::parse(language, document.rope());
        tree.imports(document.rope());
        for byte in (0..text.len() + 2).step_by(3) {
            let facts = cursor_facts(&tree, document.rope(), byte);
            assert!(
                facts.word_start <= byte
                    && document.rope().try_byte_to_char(facts.word_start).is_ok()
            );
            tree.scope(document.rope(), byte);
        }
    }
}

/// Every limit of bytes falls somewhere: here inside characters of two, three and four bytes, in a
/// line, a name, an import, a head.
#[test]
fn no_limit_cuts_a_character() {
    for (language, _) in SOURCES.into_iter().chain([(Language::Text, "")]) {
        for wide in ["é", "漢", "😀"] {
            for shift in 0..wide.len() {
                let (long, pad) = (wide.repeat(2_100), "a".repeat(shift));
                for (left, right) in [
                    (format!("{pad}s = \"{long}"), format!("{long}\"\n")),
                    (format!("{pad}{long} = {long}"), format!("{long}\nb")),
                    (format!("def {pad}{long}(x):\n    "), format!("{long}\n")),
                    (
                        format!("fn {pad}{long}() {{\n    function {long}() {{ "),
                        format!("// {long}\n}}\n}}"),
                    ),
                    (
                        format!(
                            "import {pad}{long} from '{long}'\nclass {long}:\n  x{long} {{\n   "
                        ),
                        format!("y{long}\n"),
                    ),
                    (format!("# {pad}{}\nx = ", long.repeat(40)), format!("{}\n", long.repeat(40))),
                ] {
                    let document = Document::new(&format!("{left}{right}"), 0);
                    let tree = SyntaxTree::parse(language, document.rope());
                    tree.imports(document.rope());
                    tree.spans();
                    let ends = [0, 4_096, left.len(), left.len() + right.len()];
                    for byte in ends.into_iter().flat_map(|end| end.saturating_sub(6)..end + 6) {
                        cursor_facts(&tree, document.rope(), byte);
                        let scope = tree.scope(document.rope(), byte);
                        assert!(document.rope().try_byte_to_char(scope.range.start).is_ok());
                    }
                    for multi_line in [false, true] {
                        let end = syntactic_end(language, &left, &right, multi_line);
                        assert!(right.is_char_boundary(end.len));
                    }
                    cut_repeated_closers(language, &left, &right, &left);
                }
            }
        }
    }
}
