//! Where completions end. The prefix ends at the cursor; `¦` in a completion marks the expected
//! end.

use lacuna_context::Language::*;
use lacuna_context::{Language, first_syntactic_end, syntactic_end};

fn check(language: Language, multi_line: bool, prefix: &str, completion: &str) {
    let expected = completion.find('¦').expect("the end is marked");
    let completion = completion.replacen('¦', "", 1);
    let len = first_syntactic_end(language, prefix, &completion, multi_line);
    assert_eq!(
        &completion[..len],
        &completion[..expected],
        "\nprefix: …{:?}\ncompletion: {completion:?}",
        prefix.lines().last()
    );
}

fn line(language: Language, prefix: &str, completion: &str) {
    check(language, false, prefix, completion);
}

/// Also with every line of prefix and completion ended by `\r\n`.
fn block(language: Language, prefix: &str, completion: &str) {
    check(language, true, prefix, completion);
    check(language, true, &prefix.replace('\n', "\r\n"), &completion.replace('\n', "\r\n"));
}

#[test]
fn a_single_line_ends_at_the_line_break() {
    line(Python, "x = ", "1¦\ny = 2\n");
    line(Python, "x = ", "1¦");
    line(Python, "x = ", "foo(a,¦\n    b)\n");
    line(Python, "x = ", "1  ¦");
    line(Python, "x = ", "1¦  \r\ny");
    line(JavaScript, "const f = ", "() => {¦\n  return 1;\n}");
    line(Text, "Once upon", " a time¦\nthere was");
}

#[test]
fn after_a_block_opener_a_single_line_is_the_next_one() {
    line(Python, "def f():", "\n    return 1¦\n\ndef g(): pass\n");
    line(Python, "if x:  # why", "\n    return 1¦\n");
    line(Rust, "fn f() {", "\n    a();¦\n    b();\n}\n");
    line(JavaScript, "xs.map((x) =>", "\n  x + 1¦\n);");
    line(Python, "def f():", "¦\n   \n");
}

#[test]
fn without_an_opener_a_line_break_at_once_means_nothing() {
    line(Python, "x = 1", "¦\ny = 2");
    line(Rust, "    a();", "¦\n    b();");
    line(Python, "def f():\n    ", "¦\n    return");
    // A slice, a dictionary and a type annotation are no blocks.
    line(Python, "x[a:", "¦\n    b]");
    line(Python, "x = lambda:", "¦\n    1");
    line(Python, "s = 'if x:'", "¦\n    1");
}

#[test]
fn python_blocks_end_at_the_dedent() {
    block(Python, "def f(x):", "\n    y = x\n    return y¦\n\n\ndef g():\n    pass\n");
    block(Python, "if x:", "\n    a()\n    b()¦\nelse:\n    c()\n");
    block(Python, "for a in b:", "\n    if a:\n        c\n    else:\n        d¦\ne = 1\n");
    block(
        Python,
        "    def f(self):",
        "\n        return 1¦\n\n    def g(self):\n        return 2\n",
    );
    block(Python, "class A:", "\n    x = 1\n\n    def f(self):\n        pass¦\n\n\nclass B:\n");
    block(Python, "def f(x): ", "return x¦\ndef g(): pass\n");
    block(Python, "with a as b, \\\n        c as d:", "\n    e¦\nf\n");
    block(Python, "try:", "\n    a()¦\nexcept E:\n    pass\n");
    block(Python, "match x:", "\n    case 1:\n        a\n    case _:\n        b¦\nc\n");
}

#[test]
fn a_python_head_over_several_lines_counts_from_its_start() {
    block(Python, "def f(\n    a,\n    b,\n):", "\n    return a¦\n\nx = 1\n");
    block(Python, "if (a and\n        b):", "\n    c()\n    d()¦\ne()\n");
    block(Python, "def f(", "a,\n      b):\n    return a¦\n\nx = 1\n");
    block(Python, "def f(\n    ", "a,\n    b,\n):\n    return a¦\n\nx = 1\n");
}

#[test]
fn on_a_blank_line_after_the_head_the_body_ends_at_the_dedent() {
    block(Python, "def f():\n    ", "x = 1\n    return x¦\n\ndef g():\n");
    block(
        Python,
        "def f():\n    \"\"\"Doc.\n\n    More: it.\n    \"\"\"\n    ",
        "x = 1\n    return x¦\n\ndef g():\n",
    );
    block(Python, "def f():\n    # why\n\n    ", "x = 1\n    return x¦\n\ndef g():\n");
    block(Python, "def f():\n", "    x = 1\n    return x¦\n\ndef g():\n");
    block(Python, "def f():\n    'Doc.'\n", "    x = 1\n    return x¦\n\ndef g():\n");
    block(Rust, "fn f() {\n    ", "a();\n    b()\n}¦\n\nfn g() {}\n");
    block(Go, "func f() {\n\t", "a()\n\tb()\n}¦\n\nfunc g() {}\n");
}

#[test]
fn on_a_blank_line_inside_a_block_one_statement_is_kept() {
    block(Python, "def f():\n    x = 1\n    ", "y = 2¦\n    return y\n");
    block(
        Python,
        "def f():\n    x = 1\n    ",
        "for a in b:\n        c(a)\n        d(a)¦\n    return y\n",
    );
    block(Rust, "fn f() {\n    a();\n    ", "if x {\n        b();\n    }¦\n    c();\n}\n");
    block(Rust, "fn f() {\n    a();\n    ", "b();¦\n    c();\n}\n");
    block(Rust, "fn f() {\n    a();\n    ", "b()¦\n}\n");
    block(JavaScript, "f();\n", "const a = {\n  b: 1,\n  c: [\n    2,\n  ],\n};¦\nconst d = 3;\n");
    block(Python, "", "import os¦\nimport sys\n");
}

#[test]
fn a_statement_that_starts_in_the_completion_has_its_clauses() {
    block(Python, "x = 1\n", "try:\n    a()\nexcept E:\n    b()\nfinally:\n    c()¦\nd()\n");
    block(Python, "x = 1\n", "if a:\n    b\nelif c:\n    d\nelse:\n    e¦\nif f:\n    g\n");
    block(C, "    a();\n    ", "if (b)\n        c();\n    else\n        d();¦\n    e();\n");
    block(
        Java,
        "    a();\n    ",
        "try {\n        b();\n    }\n    catch (E e) {\n        c();\n    }¦\n    d();\n",
    );
    // Not those of a statement that was there before.
    block(Python, "x = 1\ntry:", "\n    a()¦\nexcept E:\n    b()\n");
}

#[test]
fn heads_over_several_lines() {
    block(Go, "\tif a &&\n\t\tb {", "\n\t\tc()\n\t}¦\n\td()\n");
    block(Cpp, "A::A()\n    : a(1),\n      b(2) {", "\n  c();\n}¦\n\nint d;\n");
    block(Cpp, "namespace a {", "\n\nint b;\n\nvoid c() {\n}\n\n}  // namespace a¦\n\nint d;\n");
    block(JavaScript, "it('a', function ()", "\n{\n    b();\n});¦\n\nit('c');\n");
    block(JavaScript, "f(await g(\n  function (a) {", "\n    return 1;\n  },¦\n  ['b']\n));\n");
    block(
        C,
        "int f(void)\n{",
        "\n    if (a) goto out;\n    b();\nout:\n    return 1;\n}¦\nint g;\n",
    );
}

#[test]
fn a_long_prefix_is_cut_where_it_does_not_mislead() {
    // The window starts inside the docstring.
    let docstring = format!(
        "def f():\n    \"\"\"\n{}    \"\"\"\n    pass\n\n\n",
        "    It isn't code.\n".repeat(2_000)
    );
    block(
        Python,
        &format!("{docstring}def g():"),
        "\n    return 1¦\n\n\ndef h():\n    \"\"\"H.\"\"\"\n",
    );
    let template = format!("const t = `{}`;\n", "it isn't code {\n".repeat(2_000));
    block(
        JavaScript,
        &format!("{template}function a() {{\n}}\nfunction g() {{"),
        "\n  return `a`;\n}¦\n\nh();\n",
    );
}

#[test]
fn python_brackets_and_strings_keep_their_lines() {
    block(Python, "x = ", "foo(\n    a,\n    b,\n)¦\ny = 1\n");
    block(Python, "x = [", "\n    1,\n    2,\n]¦\ny = 1\n");
    block(Python, "x = {", "\n    'a': [\n        1,\n    ],\n}¦\ny = {}\n");
    block(Python, "def f():\n    x = ", "\"\"\"\nnot indented\n  at all\n\"\"\"¦\n    return x\n");
    block(Python, "def f():", "\n    x = '''\nfoo }\n'''\n    return x¦\ng()\n");
    block(Python, "x = ", "1 + \\\n    2¦\ny = 1\n");
    block(Python, "x = foo(a,", "\n        b)¦\ny = 1\n");
    block(Python, "def f():\n    return [", "\n        x for x in y\n    ]¦\n\ndef g():\n");
    block(Python, "x = 1", "¦\ny = 2");
}

#[test]
fn javascript_literals_and_callbacks() {
    block(JavaScript, "const a = ", "{\n  b: 1,\n  c: { d: 2 },\n};¦\nconst e = 1;\n");
    block(JavaScript, "const a = {", "\n  b: 1,\n};¦\nconst e = 1;\n");
    block(JavaScript, "  const a = {", "\n    b: 1,\n  };¦\n  return a;\n}\n");
    block(
        JavaScript,
        "app.get('/', (req, res) => {",
        "\n  res.send(`a ${b(\n    c)} }`);\n});¦\n\napp.listen();\n",
    );
    block(JavaScript, "foo(function () {", "\n  a(() => {\n    b();\n  });\n});¦\nc();\n");
    block(JavaScript, "if (a) {", "\n  b();\n} else {\n  c();\n}¦\nd();\n");
    block(JavaScript, "switch (a) {", "\ncase 1:\n  b();\n  break;\ndefault:\n  c();\n}¦\nd();\n");
    block(JavaScript, "  case 1:", "\n    b();\n    break;¦\n  case 2:\n    c();\n");
    block(JavaScript, "const re = ", "/[{(]\\/}/g;¦\nf();\n");
    block(JavaScript, "const f = (x) =>", "\n  x + 1;¦\ng();\n");
    block(TypeScript, "interface A {", "\n  b: string;\n  c?: number;\n}¦\n\ninterface B {\n");
    block(Tsx, "return (", "\n    <div>\n      {a}\n    </div>\n  );¦\n}\n");
}

#[test]
fn chained_calls_go_on() {
    block(JavaScript, "const a = b", "\n  .map((x) => x)\n  .filter(Boolean);¦\nconst c = 1;\n");
    block(JavaScript, "fetch(a)", "\n.then((r) => {\n  b(r);\n})\n.catch(c);¦\nd();\n");
    block(
        Rust,
        "    let a = b\n        .iter()",
        "\n        .map(|x| x + 1)\n        .collect();¦\n    c(a);\n",
    );
    block(JavaScript, "foo(() => {", "\n  a();\n})\n  .then(b);¦\nc();\n");
    block(Rust, "let ok = a", "\n    && b\n    || c;¦\nd();\n");
    block(Rust, "x = 1", "¦\n..rest");
}

#[test]
fn rust_arms_closures_and_blocks() {
    block(
        Rust,
        "match x {",
        "\n    A => 1,\n    B { c } => {\n        2\n    }\n    _ => 'x',\n}¦\n\nfn g() {}\n",
    );
    block(Rust, "        A => {", "\n            b();\n        }¦\n        C => {}\n");
    block(Rust, "        A => ", "b(),¦\n        C => {}\n");
    block(
        Rust,
        "let f = |x| {",
        "\n    let g = |y: &'a str| {\n        y.len()\n    };\n    g(x)\n};¦\nh();\n",
    );
    block(Rust, "fn f<'a>(x: &'a str) -> &'a str {", "\n    x\n}¦\n\nfn g() {}\n");
    block(Rust, "    let s = ", "r#\"\n} \"\n\"#;¦\n    t();\n");
    block(Rust, "if a {", "\n    b\n} else if c {\n    d\n} else {\n    e\n};¦\nf();\n");
    block(Rust, "impl A {", "\n    fn b() {}\n\n    // }\n    fn c() {}\n}¦\n\nimpl B {}\n");
}

#[test]
fn c_family_blocks() {
    block(C, "int main(void)", "\n{\n    return 0;\n}¦\n\nint f(void)\n{\n");
    block(C, "int main(void) {", "\n#ifdef A\n    a();\n#endif\n    return 0;\n}¦\n\nint g;\n");
    block(
        Cpp,
        "class A {",
        "\npublic:\n    A();\nprivate:\n    int b = 1'000;\n};¦\n\nclass B {\n",
    );
    block(Cpp, "auto s = ", "R\"x( } )\" )x\";¦\nint y;\n");
    block(
        Java,
        "    void f() {",
        "\n        a(\"}\");\n        char c = '{';\n    }¦\n\n    void g() {\n",
    );
    block(Java, "String s = ", "\"\"\"\n  } text\n\"\"\";¦\nint y;\n");
    block(Go, "\tswitch x {", "\n\tcase 1:\n\t\ta()\n\tdefault:\n\t\tb()\n\t}¦\n\tc()\n");
    block(Go, "\tgo func() {", "\n\t\ta(`}\n}`)\n\t}()¦\n\tb()\n");
    block(Go, "type A struct {", "\n\tb int\n}¦\n\ntype B struct {\n");
}

#[test]
fn brackets_opened_before_the_base_are_not_closed() {
    block(Rust, "fn f() {\n    if x {", "\n        a();\n    }¦\n}\n\nfn g() {}\n");
    block(Rust, "fn f() {\n    let x = ", "1;¦\n}\n\nfn g() {}\n");
    block(JavaScript, "foo(() => {\n  bar();\n  ", "baz();¦\n});\n");
    block(JavaScript, "foo({\n  a: 1,\n  b: ", "2,¦\n});\n");
    block(JavaScript, "f(() => {\n  ", "return x; });¦\n  more();\n");
    block(Python, "x = foo(\n    [\n        ", "1,\n        2,\n    ],¦\n)\ny = 1\n");
    // More closers than there are openers, in the middle of a line.
    block(Rust, "fn f() {\n    let x = (", "\n        1, 2);¦ }\n}\n");
}

#[test]
fn text_without_a_language_ends_with_its_indentation() {
    block(Text, "items:", "\n  - a\n  - b¦\nother: 1\n");
    block(Text, "a (", "\n  b\n)¦\nc\n");
    block(Text, "One line.", "¦\nAnother line.\n");
}

#[test]
fn broken_code_ends_somewhere_sensible() {
    // The bracket is never closed: the dedent ends it.
    block(Python, "def f():\n    x = foo(", "\n        a,\n        b¦\n\ndef g():\n    pass\n");
    block(Rust, "fn f() {", "\n    a(;\n    b)¦\nfn g() {\n");
    block(JavaScript, "f(`a ${", "b}`);¦\ng();\n");
    block(Python, "x = 'unclosed", " string¦\ny = 1\n");
    block(Python, "def f()", ":\n    return 1¦\nx\n");
}

#[test]
fn blank_completions_are_nothing() {
    for text in ["", "\n", "  \n\n  ", "\r\n"] {
        assert_eq!(first_syntactic_end(Python, "def f():", text, true), 0, "{text:?}");
    }
    assert_eq!(first_syntactic_end(Python, "x", "", false), 0);
}

#[test]
fn an_end_that_is_reached_does_not_move() {
    let cases = [
        (Python, "def f(x):", "\n    y = x\n\n    return y\n\n\ndef g():\n    pass\n", true),
        (JavaScript, "const a = ", "{\n  b: 1,\n  c: [2],\n};\nconst d = 1;\n", true),
        (JavaScript, "switch (a) {", "\ncase 1:\n  b();\ndefault:\n  c();\n}\nd();\n", true),
        (
            Rust,
            "fn f() {\n    ",
            "a\n        .b()\n        .c();\n    d();\n}\n\nfn g() {}\n",
            true,
        ),
        (C, "int main(void)", "\n{\n    return 0;\n}\n\nint f(void);\n", true),
        (Python, "x = ", "1\ny = 2\n", false),
    ];
    for (language, prefix, completion, multi_line) in cases {
        let whole = syntactic_end(language, prefix, completion, multi_line);
        assert!(whole.reached, "{completion:?}");
        for len in 0..completion.len() {
            let part = syntactic_end(language, prefix, &completion[..len], multi_line);
            assert!(part.len <= len);
            if part.reached {
                assert_eq!(part.len, whole.len, "{:?} of {completion:?}", &completion[..len]);
            }
        }
    }
}

#[test]
fn so_many_lines_and_nothing_left_open() {
    use lacuna_context::first_lines;
    for (language, prefix, text, n, kept) in [
        (Python, "def f():", "\n    a\n    b\n    c", 2, "\n    a\n    b"),
        (Python, "def f():\n", "    a\n\n    b\n", 2, "    a"),
        (Python, "def f():\n", "    a\n\n    b\n", 3, "    a\n\n    b\n"),
        (Python, "def f():\n    ", "a\n    for x in y:\n        b\n        c", 2, "a"),
        (
            Python,
            "def f():\n    ",
            "for x in y:\n        b\n        c\n        d",
            2,
            "for x in y:\n        b",
        ),
        (Python, "def f():\n    ", "return g(\n        a,\n        b,\n    )", 2, "return g("),
        (
            Rust,
            "fn f() {\n    ",
            "a();\n    if b {\n        c();\n    }\n    d();\n    e();",
            3,
            "a();",
        ),
        (
            Rust,
            "fn f() {\n    ",
            "a();\n    if b {\n        c();\n    }\n    d();\n    e();",
            4,
            "a();\n    if b {\n        c();\n    }",
        ),
        (Rust, "fn f() {\n    ", "a();\r\n    b();\r\n    c();", 2, "a();\r\n    b();"),
        (
            JavaScript,
            "f(() => {",
            "\n  let s = `\n  }`;\n  g(s);\n  h();",
            3,
            "\n  let s = `\n  }`;\n  g(s);",
        ),
        (JavaScript, "f(() => {", "\n  let s = `\n  }`;\n  g(s);\n  h();", 1, "\n  let s = `"),
        (Text, "", "", 1, ""),
        (Text, "", "\n\n", 1, "\n\n"),
        (Text, "a", "b\nc", 1, "b"),
    ] {
        assert_eq!(
            &text[..first_lines(language, prefix, text, n)],
            kept,
            "{prefix:?} {text:?} {n}"
        );
    }
}
