//! Languages by path, by LSP id, by name.

use std::path::Path;

use lacuna_context::Language;

#[test]
fn by_path() {
    let cases = [
        ("a/b.py", Language::Python),
        ("b.PYI", Language::Python),
        ("src/lib.rs", Language::Rust),
        ("a.jsx", Language::JavaScript),
        ("a.mjs", Language::JavaScript),
        ("a.d.ts", Language::TypeScript),
        ("a.tsx", Language::Tsx),
        ("a.go", Language::Go),
        ("A.java", Language::Java),
        ("a.h", Language::C),
        ("a.hpp", Language::Cpp),
        ("a.C", Language::Cpp),
        ("a.md", Language::Text),
        ("Makefile", Language::Text),
        (".py", Language::Text),
        ("", Language::Text),
    ];
    for (path, language) in cases {
        assert_eq!(Language::from_path(Path::new(path)), language, "{path}");
    }
}

#[test]
fn by_lsp_id_and_name() {
    assert_eq!(Language::from_lsp_id("typescriptreact"), Language::Tsx);
    assert_eq!(Language::from_lsp_id("javascriptreact"), Language::JavaScript);
    assert_eq!(Language::from_lsp_id("brainfuck"), Language::Text);
    for language in Language::ALL {
        assert_eq!(Language::from_name(language.name()), Some(language));
        assert_eq!(
            Language::from_lsp_id(language.name()) == language,
            language != Language::Tsx,
            "{}",
            language.name()
        );
    }
    assert_eq!(Language::Python.line_comment(), Some("#"));
    assert_eq!(Language::Go.line_comment(), Some("//"));
    assert_eq!(Language::Text.line_comment(), None);
}
