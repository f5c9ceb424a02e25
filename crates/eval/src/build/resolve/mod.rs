//! Which files of a repository an import statement means.
//!
//! Owns: the rules of each language, on paths alone. Does not own: finding the statements
//! (`lacuna_context`), reading files, ranking (`context`). An import of something from outside of
//! the repository means no file. Start at [`resolve`].

mod c;
mod go;
mod index;
mod java;
mod javascript;
mod python;
mod rust;

use lacuna_context::Language;

pub use index::FileIndex;

/// Paths that `import` (a statement as written) in the file `from` means, the most exact first;
/// each once, `from` never.
pub fn resolve(language: Language, from: &str, import: &str, files: &FileIndex) -> Vec<String> {
    let found = match language {
        Language::Python => python::resolve(from, import, files),
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            javascript::resolve(from, import, files)
        }
        Language::Rust => rust::resolve(from, import, files),
        Language::Go => go::resolve(import, files),
        Language::Java => java::resolve(import, files),
        Language::C | Language::Cpp => c::resolve(from, import, files),
        Language::Text => Vec::new(),
    };
    let mut paths: Vec<String> = Vec::new();
    for path in found {
        if path != from && !paths.contains(&path) {
            paths.push(path);
        }
    }
    paths
}

/// The folder of a path; empty at the top.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn join(folder: &str, rest: &str) -> String {
    if folder.is_empty() { rest.to_owned() } else { format!("{folder}/{rest}") }
}

/// `folder` with `./` and `../` of `rest` followed; none when it leads out of the repository.
fn follow(folder: &str, rest: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// What stands in quotes, in order.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let quote = rest.as_bytes()[start] as char;
        let inner = &rest[start + 1..];
        let Some(end) = inner.find(quote) else { break };
        found.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: Language, from: &str, import: &str, files: &[&str], expected: &[&str]) {
        let index = FileIndex::new(files.iter().map(|f| (*f).to_owned()));
        assert_eq!(resolve(language, from, import, &index), expected, "{import}");
    }

    #[test]
    fn python() {
        let files = [
            "pkg/__init__.py",
            "pkg/a.py",
            "pkg/sub/__init__.py",
            "pkg/sub/b.py",
            "pkg/sub/c.py",
            "src/other/__init__.py",
            "logging.py",
        ];
        let check = |import, expected: &[&str]| {
            check(Language::Python, "pkg/sub/b.py", import, &files, expected)
        };
        check("import pkg.a as x, os", &["pkg/a.py"]);
        check("from pkg import a, nothing", &["pkg/a.py", "pkg/__init__.py"]);
        check("from . import c", &["pkg/sub/c.py", "pkg/sub/__init__.py"]);
        check("from .c import (  # names\n    one as two,\n    three\n)", &["pkg/sub/c.py"]);
        check("from ..a import *", &["pkg/a.py"]);
        check("from .... import x", &[]);
        check("import other", &["src/other/__init__.py"]);
        check("from pkg.sub import b", &["pkg/sub/__init__.py"]);
        check("import numpy", &[]);
    }

    #[test]
    fn javascript() {
        let files =
            ["src/a.ts", "src/b/index.js", "src/c.tsx", "src/d/e.ts", "lib/f.js", "src/g.json"];
        let check = |import, expected: &[&str]| {
            check(Language::TypeScript, "src/d/e.ts", import, &files, expected)
        };
        check("import { a } from '../a';", &["src/a.ts"]);
        check("import a from \"../a.js\"", &["src/a.ts"]);
        check("const b = require('../b')", &["src/b/index.js"]);
        check("import '../c'", &["src/c.tsx"]);
        check("import x from '../../../../etc/passwd'", &[]);
        check("import { f } from '../../lib/f'", &["lib/f.js"]);
        check("import a from '@/a'", &["src/a.ts"]);
        check("import react from 'react'", &[]);
    }

    #[test]
    fn rust() {
        let files = [
            "app/src/lib.rs",
            "app/src/a.rs",
            "app/src/b/mod.rs",
            "app/src/b/c.rs",
            "crates/my-util/src/lib.rs",
            "crates/my-util/src/x.rs",
        ];
        let check = |import, expected: &[&str]| {
            check(Language::Rust, "app/src/b/c.rs", import, &files, expected)
        };
        check("use crate::a::Thing;", &["app/src/a.rs"]);
        check("use crate::{a::{One, Two}, b};", &["app/src/a.rs", "app/src/b/mod.rs"]);
        check("use super::Other;", &["app/src/b/mod.rs"]);
        check("pub(crate) use my_util::x::{self, Y};", &["crates/my-util/src/x.rs"]);
        check("use my_util::top;", &["crates/my-util/src/lib.rs"]);
        check("use std::fmt;", &[]);
        check("use crate::thing_of_lib;", &["app/src/lib.rs"]);
    }

    #[test]
    fn go() {
        let mut index = FileIndex::new(
            ["go.mod", "a.go", "util/u.go", "util/u_test.go", "util/sub/s.go", "errors/e.go"]
                .map(str::to_owned),
        );
        index.add_go_module("go.mod", "module \"example.com/me/app/v2\"\n\ngo 1.22\n");
        let check = |import, expected: &[&str]| {
            assert_eq!(resolve(Language::Go, "a.go", import, &index), expected, "{import}")
        };
        check("import (\n\t\"errors\"\n\tu \"example.com/me/app/v2/util\"\n)", &["util/u.go"]);
        check("import \"example.com/me/app/v2\"", &[]);
        check("import \"example.com/me/application/util\"", &[]);
    }

    #[test]
    fn java() {
        let files = [
            "src/main/java/org/x/A.java",
            "src/main/java/org/x/util/B.java",
            "src/main/java/org/x/util/C.java",
        ];
        let check =
            |import, expected: &[&str]| check(Language::Java, files[0], import, &files, expected);
        check("import org.x.util.B;", &[files[1]]);
        check("import static org.x.util.B.thing;", &[files[1]]);
        check("import org.x.util.*;", &[files[1], files[2]]);
        check("import java.util.List;", &[]);
    }

    #[test]
    fn c() {
        let files = ["src/a.c", "src/a.h", "include/lib/b.h", "third/one/x.h", "third/two/x.h"];
        let check =
            |import, expected: &[&str]| check(Language::C, "src/a.c", import, &files, expected);
        check("#include \"a.h\"", &["src/a.h"]);
        check("#include <lib/b.h>", &["include/lib/b.h"]);
        check("#include <x.h>", &[]);
        check("#include <stdio.h>", &[]);
    }
}
