//! Excerpts: what is gathered of the file itself, and the ranked list.

use lacuna_context::{Excerpt, ExcerptKind, FileFacts, Language, SyntaxTree, gather, rank};

fn excerpt(kind: ExcerptKind, text: &str, score: f32) -> Excerpt {
    Excerpt { kind, path: None, text: text.to_string(), score }
}

fn texts(excerpts: &[Excerpt]) -> Vec<&str> {
    excerpts.iter().map(|e| e.text.as_str()).collect()
}

#[test]
fn a_whole_file_needs_only_its_header() {
    let (rope, cursor) = crate::cursor("import os\nx = $0\n");
    let tree = SyntaxTree::parse(Language::Python, &rope);
    let found =
        gather(&FileFacts { path: "a/b.py", rope: &rope, tree: &tree, cursor, window_start: 0 });
    assert_eq!(texts(&found), ["# a/b.py (python)"]);
}

#[test]
fn what_the_window_leaves_out_is_gathered() {
    let filler = "        y = 1\n".repeat(50);
    let fixture = format!(
        "import os\nfrom a import b\n\n\nclass A(B):\n    def f(self, x):\n{filler}        return $0\n"
    );
    let (rope, cursor) = crate::cursor(&fixture);
    let tree = SyntaxTree::parse(Language::Python, &rope);
    let found = gather(&FileFacts {
        path: "b.py",
        rope: &rope,
        tree: &tree,
        cursor,
        window_start: cursor - 100,
    });
    assert_eq!(
        texts(&found),
        ["# b.py (python)", "import os\nfrom a import b", "class A(B):\n    def f(self, x):"]
    );
    assert_eq!(
        found.iter().map(|e| e.kind).collect::<Vec<_>>(),
        [ExcerptKind::Header, ExcerptKind::Import, ExcerptKind::Scope]
    );
    // The class is in the window, the imports are not.
    let found =
        gather(&FileFacts { path: "b.py", rope: &rope, tree: &tree, cursor, window_start: 28 });
    assert_eq!(texts(&found), ["# b.py (python)", "import os\nfrom a import b"]);
}

#[test]
fn the_best_that_fit_are_kept_in_the_order_of_their_kinds() {
    use ExcerptKind::*;
    let all = vec![
        excerpt(RecentEdit, "eeee", 0.9),
        excerpt(Definition, "dd", 0.5),
        excerpt(Header, "h", 1.0),
        excerpt(Import, "iiiiiiii", 0.6),
        excerpt(Definition, "DD", 0.5),
        excerpt(Scope, "s", f32::NAN),
    ];
    assert_eq!(texts(&rank(all.clone(), 100)), ["h", "iiiiiiii", "dd", "DD", "s", "eeee"]);
    assert_eq!(texts(&rank(all.clone(), 9)), ["h", "dd", "DD", "eeee"]);
    assert_eq!(texts(&rank(all.clone(), 7)), ["h", "dd", "eeee"]);
    assert_eq!(texts(&rank(all, 0)), [""; 0]);
}
