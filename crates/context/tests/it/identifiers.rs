//! Names in a part of a text, by language.

use lacuna_context::{Language, SyntaxTree, identifiers};

/// Names of the part of `text` between two `$0` marks.
fn names(language: Language, text: &str) -> String {
    let parts: Vec<&str> = text.split("$0").collect();
    let [before, part, after] = parts[..] else { panic!("two marks in {text:?}") };
    let whole = format!("{before}{part}{after}");
    let tree = SyntaxTree::parse_str(language, &whole);
    identifiers(&tree, &whole, before.len()..before.len() + part.len()).join(" ")
}

#[test]
fn names_but_no_keywords_strings_or_comments() {
    for (language, text, expect) in [
        (
            Language::Python,
            "$0for x in self.items(y): print('name', 3)  # note\n$0",
            "x self items y print",
        ),
        (
            Language::Rust,
            "$0fn f<'a>(x: &'a Vec<Item>) -> u8 { x.len::<T>(\"s\") }$0",
            "f a x a Vec Item x len T",
        ),
        (Language::JavaScript, "$0const {a, b: c} = this.d?.e ?? `${f} g`;$0", "a b c d e f"),
        (Language::TypeScript, "$0let x: Map<string, Y> = new Z(); // w$0", "x Map Y Z"),
        (Language::Go, "$0package p; func F(a pkg.T) { a.b() }$0", "p F a pkg T a b"),
        (Language::Java, "$0class A { int b(C c) { return d.e(1); } }$0", "A b C c d e"),
        (Language::C, "$0struct s { int f; }; int g(void) { return h->f; }$0", "s f g h f"),
        (Language::Cpp, "$0ns::T<U> v; // c$0", "ns T U v"),
        (Language::Text, "$0foo bar_1 2x \"if\"$0", "foo bar_1 if"),
    ] {
        assert_eq!(names(language, text), expect, "{language:?}");
    }
}

#[test]
fn a_name_that_is_cut_by_the_part_counts_whole() {
    assert_eq!(names(Language::Python, "a = be$0ta + gam$0ma + d\n"), "beta gamma");
    assert_eq!(names(Language::Text, "be$0ta gam$0ma d"), "beta gamma");
    assert_eq!(names(Language::Python, "a = $0$0b\n"), "");
}
