//! Scopes, in whole and in broken code.

use lacuna_context::Language::{self, *};
use lacuna_context::{Scope, ScopeKind, SyntaxTree};

fn scope(language: Language, fixture: &str) -> Scope {
    let (rope, at) = crate::cursor(fixture);
    SyntaxTree::parse(language, &rope).scope(&rope, at)
}

fn check(language: Language, fixture: &str, kind: ScopeKind, path: &[&str], indent: usize) {
    let found = scope(language, fixture);
    assert_eq!((found.kind, found.indent), (kind, indent), "{fixture}\n{found:?}");
    assert_eq!(found.path, path, "{fixture}");
}

#[test]
fn whole_code() {
    use ScopeKind::*;
    check(Python, "x = 1\n$0", FileLevel, &[], 0);
    check(Python, "class A:\n    def f(self):\n        x = $01\n", Function, &["A", "f"], 4);
    check(
        Python,
        "class A:\n    def f(self):\n        x = 1\n        $0\n",
        Function,
        &["A", "f"],
        4,
    );
    check(Python, "class A:\n    def f(self):\n        x = 1\n    $0\n", Class, &["A"], 0);
    check(Python, "class A:\n    def f(self):\n        x = 1\n\n$0\ny = 1\n", FileLevel, &[], 0);
    check(Rust, "mod m { impl A for B { fn f(&self) { $0 } } }", Function, &["m", "B", "f"], 0);
    check(Rust, "fn f() {}\n$0\nfn g() {}", FileLevel, &[], 0);
    check(JavaScript, "class A {\n  f() {\n    $0\n  }\n}", Function, &["A", "f"], 2);
    check(JavaScript, "const f = (x) => { $0 };", Function, &["f"], 0);
    check(TypeScript, "namespace N { interface I { $0 } }", Class, &["N", "I"], 0);
    check(Go, "func (a *A) f() {\n\t$0\n}\n", Function, &["f"], 0);
    check(Java, "class A {\n    void f() { $0 }\n}", Function, &["A", "f"], 4);
    check(C, "static int *f(int a)\n{\n    $0\n}\n", Function, &["f"], 0);
    check(Cpp, "namespace n { class A { void f() { $0 } }; }", Function, &["n", "A", "f"], 0);
    check(Text, "class A:\n    $0", FileLevel, &[], 0);
}

#[test]
fn broken_code_is_told_by_indentation() {
    use ScopeKind::*;
    check(Python, "class A:\n    def f(self, x=(:\n        y = $0", Function, &["A", "f"], 4);
    check(Rust, "impl A {\n    fn f() {\n        let x = ($0", Function, &["A", "f"], 4);
    check(
        JavaScript,
        "class A {\n  async f() {\n    if (x) {\n      y($0",
        Function,
        &["A", "f"],
        2,
    );
    check(Go, "func f() {\n\tif x {\n\t\ty($0", Function, &["f"], 0);
}

#[test]
fn the_range_is_the_items() {
    let found = scope(Rust, "fn a() {}\nfn b() { $0 }\n");
    assert_eq!(found.range, 10..21);
    assert_eq!(found.name.as_deref(), Some("b"));
}
