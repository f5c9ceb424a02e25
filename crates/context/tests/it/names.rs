//! Names that nothing binds, language by language: `$0` is the hole.

use lacuna_context::{Language, Names, SyntaxTree, line_names};

fn unbound(path: &str, fixture: &str) -> Option<Vec<String>> {
    let at = fixture.find("$0").expect("a hole");
    let text = fixture.replace("$0", "");
    let tree = SyntaxTree::parse_str(Language::from_path(std::path::Path::new(path)), &text);
    Names::of(&tree, &text, at).map(|names| names.unbound)
}

#[test]
fn what_a_hole_has_to_bind_is_found() {
    for (path, fixture, wanted) in [
        (
            "a.py",
            "def f(xs):\n    $0\n    for x in xs:\n        total += x\n    return total\n",
            &["total"][..],
        ),
        (
            "a.py",
            "def f(xs):\n    out = []\n    $0\n        out.append(x * 2)\n    return out\n",
            &["x"],
        ),
        ("a.py", "$0\n\ndef f(p):\n    return os.path.join(p, 'x')\n", &["os"]),
        ("a.py", "def f(a, *b, c=1, **d):\n    $0\n    return a, b, c, d, e\n", &["e"]),
        ("a.py", "def f():\n    n = 1\n\ndef g():\n    $0\n    return n\n", &["n"]),
        ("a.py", "def f(self):\n    $0\n    return self.x.y(k=1)[i]\n", &["i"]),
        (
            "a.py",
            "def f(p):\n    $0\n    with open(p) as h, x as (a, b):\n        return [q for q in h if (z := q)], a, b, z\n",
            &["x"],
        ),
        ("a.py", "from m import *\ndef f():\n    $0\n    return q\n", &[]),
        (
            "a.js",
            "function f(xs) {\n  $0\n  for (const x of xs) total += x;\n  return total;\n}\n",
            &["total"],
        ),
        (
            "a.js",
            "const f = ({ a, b: c = d }, ...rest) => {\n  $0\n  return { a, c, rest, e, key: a.b };\n};\n",
            &["e"],
        ),
        (
            "a.ts",
            "export function f(xs: number[], n?: number): Out {\n  $0\n  return sum / xs.length + n;\n}\n",
            &["sum"],
        ),
        (
            "a.tsx",
            "const A = () => {\n  $0\n  return <div title={title}>{items.map(i => <B key={i} />)}</div>;\n};\n",
            &["title", "items"],
        ),
        (
            "a.rs",
            "fn f(xs: &[u32]) -> u32 {\n    $0\n    for x in xs { total += x; }\n    helper(total)\n}\n",
            &["total"],
        ),
        (
            "a.rs",
            "fn f(o: Option<u32>) {\n    $0\n    if let Some(x) = o && let P { a, b: c } = y { g(x, a, c, |k| k + j); }\n}\n",
            &["y", "j"],
        ),
        (
            "A.java",
            "class A {\n  int n;\n  int f(int[] xs) {\n    $0\n    for (int x : xs) total += x + n;\n    return total;\n  }\n}\n",
            &["total"],
        ),
        ("A.java", "class A extends B {\n  int f() {\n    $0\n    return total;\n  }\n}\n", &[]),
        (
            "a.go",
            "package a\nfunc f(xs []int) (int, error) {\n\t$0\n\tfor _, x := range xs {\n\t\tsum += x\n\t}\n\treturn sum, err\n}\n",
            &["sum", "err"],
        ),
        ("a.c", "int f() {\n  $0\n  return x;\n}\n", &[]),
    ] {
        assert_eq!(unbound(path, fixture).unwrap_or_default(), wanted, "{path}: {fixture}");
    }
}

#[test]
fn lines_tell_what_they_bind_and_use() {
    for (path, line, binds, uses) in [
        ("a.py", "for i, x in enumerate(xs):", &["i", "x"][..], &["enumerate", "xs"][..]),
        ("a.py", "total, n = 0, len(xs)", &["total", "n"], &["len", "xs"]),
        ("a.py", "except OSError as e:", &["e"], &["OSError"]),
        ("a.py", "elif a == b:", &[], &["a", "b"]),
        ("a.py", "import os.path as p", &["p"], &[]),
        ("a.py", "return f(", &[], &["f"]),
        ("a.js", "const { a, b: c } = d;", &["a", "c"], &["d"]),
        ("a.js", "for (const x of xs) {", &["x"], &["xs"]),
        ("a.rs", "let (a, b) = c;", &["a", "b"], &["c"]),
        ("a.rs", "for x in xs {", &["x"], &["xs"]),
        ("A.java", "int total = n;", &["total"], &["n"]),
        ("a.go", "x, err := y", &["x", "err"], &["y"]),
        ("a.txt", "x = 1", &[], &[]),
    ] {
        let got = line_names(Language::from_path(std::path::Path::new(path)), line);
        assert_eq!(
            (&got.binds[..], &got.uses[..]),
            (
                &binds.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                &uses.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
            ),
            "{line}"
        );
    }
}

#[test]
fn no_name_of_a_complete_sample_is_called_unbound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/samples");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).expect("samples") {
        let path = entry.expect("a file").path();
        let language = Language::from_path(&path);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let tree = SyntaxTree::parse_str(language, &text);
        if path.to_string_lossy().contains("in_progress") || tree.n_errors() > 0 {
            continue;
        }
        if let Some(names) = Names::of(&tree, &text, 0) {
            n += 1;
            assert!(names.unbound.is_empty(), "{}: {:?}", path.display(), names.unbound);
        }
    }
    assert!(n >= 5, "{n} files");
}
