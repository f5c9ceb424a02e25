//! Imports and the names they bring.

use lacuna_context::Language::{self, *};
use lacuna_context::{Rope, SyntaxTree};

/// `expected`: one import a line, its names separated by blanks.
fn check(language: Language, text: &str, expected: &str) {
    let rope = Rope::from_str(text);
    let imports = SyntaxTree::parse(language, &rope).imports(&rope);
    let found: Vec<String> = imports.iter().map(|i| i.names.join(" ")).collect();
    assert_eq!(found.join("\n"), expected, "{text}");
    for import in imports {
        assert_eq!(import.text, text[import.range].trim_end());
    }
}

#[test]
fn every_language() {
    check(
        Python,
        "import os\nimport a.b.c\nimport a.b as d, e\nfrom .x import y, z as w\nfrom q import *\nfrom __future__ import annotations\n\
         if T:\n    from t import u\ntry:\n    import v\nexcept E:\n    import w\ndef f():\n    import no\n",
        "os\na\nd e\ny w\n*\nannotations\nu\nv\nw",
    );
    check(
        Rust,
        "use a;\nuse a::b;\nuse a::{self, b as c, d::{e, f}};\nuse g::*;\npub use crate::h as i;\nextern crate j as k;\nfn f() { use no::no; }\n",
        "a\nb\nself c e f\n*\ni\nk",
    );
    check(
        JavaScript,
        "import a from 'a';\nimport * as b from 'b';\nimport c, { d, e as f } from 'c';\nimport 'g';\nconst { h, i: j } = require('h');\n\
         const k = require('k');\nconst l = 1;\n",
        "a\nb\nc d f\n\nh j\nk",
    );
    check(TypeScript, "import type { A } from 'a';\nimport b = require('b');\n", "A\nb");
    check(Go, "package p\nimport \"a/b\"\nimport (\n\tc \"d/e\"\n\t\"f\"\n)\n", "b\nc f");
    check(
        Java,
        "package p;\nimport a.b.C;\nimport static a.D.e;\nimport a.f.*;\nclass A {}\n",
        "C\ne\n*",
    );
    check(
        C,
        "#ifndef A_H\n#define A_H\n#include <stdio.h>\n#if B\n#include \"b.h\"\n#endif\n#endif\n",
        "\n",
    );
    check(Cpp, "#include <vector>\nusing std::vector;\nusing namespace std;\n", "\nvector\nstd");
    check(Text, "import os\n", "");
}
