//! The rough lexer: what is a string, a comment, a bracket.

use lacuna_context::Language::{self, *};
use lacuna_context::{LexKind, Lexer};

/// Checks the strings, comments and brackets of `text`, separated by blanks in `expected`; blanks
/// in them are `_`.
fn check(language: Language, text: &str, expected: &str) {
    let lexemes: Vec<_> = Lexer::new(language, text).collect();
    let mut at = 0;
    for lexeme in &lexemes {
        assert_eq!(lexeme.range.start, at, "no gaps");
        at = lexeme.range.end;
    }
    assert_eq!(at, text.len(), "all of it");
    let found: Vec<String> = lexemes
        .iter()
        .filter(|l| {
            matches!(l.kind, LexKind::String | LexKind::Comment | LexKind::Open | LexKind::Close)
        })
        .map(|l| text[l.range.clone()].replace([' ', '\n', '\r'], "_"))
        .collect();
    assert_eq!(found.join(" "), expected, "{text:?}");
}

#[test]
fn strings_and_comments_hide_brackets() {
    check(Python, "f('(', \"\\\")\") # )", "( '(' \"\\\")\" ) #_)");
    check(Python, "x = '''a\n'b ''' + \"\"\"(\"\"\"", "'''a_'b_''' \"\"\"(\"\"\"");
    check(Python, "x = 'open\ny = (1)", "'open ( 1 )".replace("1 ", "").as_str());
    check(Rust, "let c = '('; fn f<'a>(x: &'a str) {} // }", "'(' ( ) { } //_}");
    check(
        Rust,
        "'\\'' '\\u{7d}' b'{' r#\"} \"\"# /* /* } */ ( */ {",
        "'\\'' '\\u{7d}' '{' r#\"}_\"\"# /*_/*_}_*/_(_*/ {",
    );
    check(Rust, "r#type r\"(\" \"a\n)\" ", "r\"(\" \"a_)\"");
    check(JavaScript, "`a ${b({c: `}`})} d` }", "`a_ ${ ( { `}` } ) } _d` }");
    check(JavaScript, "`${a}${b}`", "` ${ } ${ } `");
    check(JavaScript, "a = b / c; x.replace(/[/(]\\//g, ')') // /", "( /[/(]\\//g ')' ) //_/");
    check(JavaScript, "return /}/; a[0] / 2 / (3)", "/}/ [ ] ( )");
    check(Go, "`}\n\"` '{' \"\\\\\" {", "`}_\"` '{' \"\\\\\" {");
    check(Java, "\"\"\"\n } \" \\\"\"\" \"\"\" '}' {", "\"\"\"__}_\"_\\\"\"\"_\"\"\" '}' {");
    check(C, "a = '\\''; /* { */ \"}\" [", "'\\'' /*_{_*/ \"}\" [");
    check(Cpp, "1'000'000 + 'a' R\"x()\" ) )x\" (", "'a' R\"x()\"_)_)x\" (");
    check(Text, "don't (stop) # \"{\"", "( ) {");
}

#[test]
fn what_is_open_at_the_end_is_told() {
    let last = |language, text| Lexer::new(language, text).last().map(|l| (l.kind, l.closed));
    assert_eq!(last(Python, "x = 'a"), Some((LexKind::String, false)));
    assert_eq!(last(Python, "x = '''a\n"), Some((LexKind::String, false)));
    assert_eq!(last(Python, "x = 'a'"), Some((LexKind::String, true)));
    assert_eq!(last(Rust, "// a"), Some((LexKind::Comment, false)));
    assert_eq!(last(Rust, "/* a"), Some((LexKind::Comment, false)));
    assert_eq!(last(Rust, "/* a */"), Some((LexKind::Comment, true)));
    assert_eq!(last(C, "'\\"), Some((LexKind::String, false)));
    assert_eq!(last(C, ""), None);
}
