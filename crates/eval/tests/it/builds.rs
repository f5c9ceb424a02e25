//! Sets built from a synthetic repository: what becomes a row, what does not and why.

use std::path::Path;

use lacuna_context::{Language, SpanKind};
use lacuna_engine::Cancel;
use lacuna_eval::Example;
use lacuna_eval::build::{
    self, AstOptions, BuildError, CommitOptions, Fetch, HoleLimits, Report, SweBenchOptions,
};
use lacuna_eval::example::Task;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::repository::Repository;

const MIT: &str = "MIT License\n\nPermission is hereby granted, free of charge, to any person. The above copyright notice";
const SHAPES: &str = "from shop.prices import total\nimport shop.rare\nimport os\n\n\ndef area(w, h):\n    return w * h\n\n\ndef cost(items):\n    pass\n";

/// A project with a package; the base commit.
fn project() -> (Repository, String) {
    let repo = Repository::new();
    repo.write("LICENSE", MIT);
    repo.write("shop/__init__.py", "");
    repo.write("shop/prices.py", "def total(items):\n    return sum(items)\n");
    repo.write("shop/rare.py", "X = 1\n");
    repo.write("shop/shapes.py", SHAPES);
    repo.write("docs/index.rst", "Docs\n");
    let base = repo.commit("base", "2025-06-01");
    (repo, base)
}

/// The patch from the base commit to what is in the work tree.
fn patch_of(repo: &Repository) -> String {
    repo.git(&["add", "--all"], "2025-06-01");
    repo.git(&["diff", "--cached"], "2025-06-01")
}

fn swe_bench(rows: Vec<Value>, repos: &Path, limits: HoleLimits) -> (Vec<Example>, Report) {
    let options = SweBenchOptions { repos, fetch: Fetch::Never, limits };
    let (mut examples, mut report) = (Vec::new(), Report::default());
    let rows = rows.into_iter().map(Ok);
    build::swe_bench(rows, &options, &mut report, &Cancel::new(), &mut |e| {
        examples.push(e);
        Ok(())
    })
    .unwrap();
    (examples, report)
}

/// `what: reason` of everything that was left out.
fn reasons(report: &Report) -> Vec<String> {
    report.skipped().iter().map(|s| format!("{}: {}", s.what, s.reason)).collect()
}

#[test]
fn the_blocks_of_a_gold_patch() {
    let (repo, base) = project();
    let after = SHAPES
        .replace("    pass\n", "    if not items:\n        return 0\n    return total(items)\n")
        .replace("\n\n\ndef area", "\nimport re\n\n\ndef area");
    repo.write("shop/shapes.py", &after);
    repo.write("docs/index.rst", "Docs\n\nMore\nand more\n");
    repo.write("shop/new.py", "a = 1\nb = 2\n");
    let patch = patch_of(&repo);
    // A folder of clones with a bare one, as it is often kept.
    let clones = TempDir::new().unwrap();
    let bare = clones.path().join("me__shop.git");
    repo.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()], "2025-06-01");
    let instance = json!({"instance_id": "me__shop-1", "repo": "me/shop", "base_commit": base, "patch": patch, "problem_statement": "x"});

    let (examples, report) =
        swe_bench(vec![instance.clone()], clones.path(), HoleLimits::default());
    assert_eq!(examples.len(), 1);
    let e = &examples[0];
    assert_eq!(e.id, "me__shop-1#shop/shapes.py#L12");
    assert_eq!(e.middle, "    if not items:\n        return 0\n    return total(items)\n");
    assert_eq!(format!("{}{}{}", e.prefix, e.middle, e.suffix), after, "the file after the patch");
    assert_eq!(
        (e.task, e.n_lines, e.language.as_str(), e.license.as_deref()),
        (Task::Multi, Some(3), "python", Some("MIT"))
    );
    assert_eq!(
        (e.repo.as_deref(), e.cluster(), e.path.as_deref()),
        (Some("me/shop"), "me/shop", Some("shop/shapes.py"))
    );
    assert_eq!(
        (e.provenance.instance_id.as_deref(), e.provenance.base_commit.as_deref()),
        (Some("me__shop-1"), Some(base.as_str()))
    );
    assert_eq!(
        (e.provenance.start_line, e.provenance.change.as_deref()),
        (Some(12), Some("replace"))
    );
    let context: Vec<_> =
        e.context.iter().map(|c| (c.path.as_str(), c.text.as_str(), c.excerpt)).collect();
    assert_eq!(
        context,
        [
            ("shop/prices.py", "def total(items):\n    return sum(items)\n", false),
            ("shop/rare.py", "X = 1\n", false)
        ]
    );
    assert_eq!(
        reasons(&report),
        [
            "me__shop-1#docs/index.rst: no language with a grammar",
            "me__shop-1#shop/new.py#L1: the block is the whole file",
            "me__shop-1#shop/shapes.py#L4: the block is shorter than --min-lines",
        ]
    );

    // The other family's names for the same; built again, the same rows; the work tree's own folder
    // serves as well.
    let multi = json!({"org": "me", "repo": "shop", "number": 1, "base": {"sha": base}, "fix_patch": patch, "instance_id": "me__shop-1"});
    assert_eq!(swe_bench(vec![multi], clones.path(), HoleLimits::default()).0, examples);
    let beside = TempDir::new().unwrap();
    repo.git(
        &["clone", "--quiet", ".", beside.path().join("shop").to_str().unwrap()],
        "2025-06-01",
    );
    assert_eq!(swe_bench(vec![instance.clone()], beside.path(), HoleLimits::default()).0, examples);
    // A limit of one line takes the import too; it comes first in the file.
    let (all, _) = swe_bench(
        vec![instance],
        clones.path(),
        HoleLimits { min_lines: 1, ..HoleLimits::default() },
    );
    assert_eq!(all.iter().map(|e| e.middle.lines().count()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(all[0].task, Task::Line);
}

#[test]
fn instances_that_make_no_rows_are_named() {
    let (repo, base) = project();
    repo.write("shop/shapes.py", SHAPES.replace("    pass\n", "    a = 1\n    return a\n"));
    let patch = patch_of(&repo);
    let clones = TempDir::new().unwrap();
    repo.git(
        &["clone", "--quiet", "--bare", ".", clones.path().join("shop.git").to_str().unwrap()],
        "2025-06-01",
    );
    std::fs::create_dir_all(clones.path().join("me/plain")).unwrap();
    let row = |id: &str, repo: &str, base: &str, patch: &str| json!({"instance_id": id, "repo": repo, "base_commit": base, "patch": patch});
    let rows = vec![
        row("i1", "pallets/flask", &base, &patch),
        row("i2", "me/plain", &base, &patch),
        row("i3", "me/shop", "0123456789012345678901234567890123456789", &patch),
        row("i4", "me/shop", &base, &patch.replace("    pass", "    other")),
        row("i5", "me/shop", &base, "--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n"),
        row("i6", "../shop", &base, &patch),
        row("i7", "me/shop", &base, &patch.replace("shop/shapes.py", "shop/gone.py")),
        row("i8", "me/shop", &base, &patch),
        row("i8", "me/shop", &base, &patch),
        json!({"instance_id": "i9", "repo": "me/shop", "base_commit": base, "patch": 3}),
    ];
    let (examples, report) = swe_bench(rows, clones.path(), HoleLimits::default());
    assert_eq!(
        examples.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(),
        ["i8#shop/shapes.py#L11"]
    );
    let told: Vec<String> = reasons(&report)
        .iter()
        .map(|r| r.replace(clones.path().to_str().unwrap(), "CLONES"))
        .collect();
    assert_eq!(
        told,
        [
            "i1: repository pallets/flask is not in the folder of clones (looked for pallets/flask, pallets__flask)",
            "i2: repository me/plain: CLONES/me/plain is no git repository: give the folder of a clone, bare or not",
            "i3: the clone of me/shop lacks the base commit",
            "i4#shop/shapes.py: the hunk at line 8 does not fit the file at the base commit",
            "i5: line 3 of the patch: a hunk ends before it has the lines that its header promises",
            "i6: `repo` is no owner/name",
            "i7#shop/gone.py: the file is not in the repository at that commit",
            "i8: the instance stands in the file twice",
            "i9: no text in field `patch` or `fix_patch`",
        ]
    );
    assert_eq!((report.inputs, report.rows), (10, 1));
}

#[test]
fn a_missing_repository_is_cloned_only_when_asked() {
    let (repo, base) = project();
    repo.write("shop/shapes.py", SHAPES.replace("    pass\n", "    a = 1\n    return a\n"));
    let instance = json!({"instance_id": "i", "repo": "me/shop", "base_commit": base, "patch": patch_of(&repo)});
    // "The network" is a folder.
    let network = TempDir::new().unwrap();
    std::fs::create_dir(network.path().join("me")).unwrap();
    repo.git(
        &["clone", "--quiet", "--bare", ".", network.path().join("me/shop").to_str().unwrap()],
        "2025-06-01",
    );
    let clones = TempDir::new().unwrap();
    let fetch = Fetch::From(network.path().to_str().unwrap().to_owned());
    let options = SweBenchOptions { repos: clones.path(), fetch, limits: HoleLimits::default() };
    let mut report = Report::default();
    build::swe_bench(
        [Ok(instance)].into_iter(),
        &options,
        &mut report,
        &Cancel::new(),
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(report.rows, 1);
    assert!(clones.path().join("me__shop.git/HEAD").is_file());
}

#[test]
fn sources_that_are_no_plain_text() {
    let repo = Repository::new();
    repo.write("crlf.py", "a = 1\r\nb = 2\r\n");
    repo.write("latin.py", b"a = '\xe9'\n");
    repo.write("binary.py", b"a\0b\n");
    repo.write("big.py", "x = 1\n".repeat(200_000));
    let base = repo.commit("base", "2025-06-01");
    repo.write("crlf.py", "a = 1\r\nc = 3\r\nd = 4\r\nb = 2\r\n");
    repo.write("big.py", format!("{}y = 1\nz = 2\n", "x = 1\n".repeat(200_000)));
    let mut patch = patch_of(&repo);
    for name in ["latin.py", "binary.py"] {
        patch.push_str(&format!(
            "diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1,0 +2,2 @@\n+c\n+d\n"
        ));
    }
    let clones = TempDir::new().unwrap();
    std::fs::rename(repo.path().join(".git"), clones.path().join("r.git")).unwrap();
    std::fs::create_dir(clones.path().join("r")).unwrap();
    std::fs::rename(clones.path().join("r.git"), clones.path().join("r/.git")).unwrap();
    let instance = json!({"instance_id": "i", "repo": "me/r", "base_commit": base, "patch": patch});
    let (examples, report) = swe_bench(vec![instance], clones.path(), HoleLimits::default());
    assert_eq!(examples.len(), 1);
    assert_eq!(
        (examples[0].prefix.as_str(), examples[0].middle.as_str()),
        ("a = 1\r\n", "c = 3\r\nd = 4\r\n"),
        "line breaks stay as they are"
    );
    assert_eq!(
        reasons(&report),
        [
            "i#big.py: the file is longer than 1 MiB",
            "i#latin.py: the file is not UTF-8",
            "i#binary.py: the file is binary"
        ]
    );
}

fn commits(repo: &Path, since: &str, limits: HoleLimits) -> (Vec<Example>, Report) {
    let (mut examples, mut report) = (Vec::new(), Report::default());
    let options = CommitOptions { repo, since, name: "me/shop", revision: "HEAD", limits };
    build::commits(&options, &mut report, &Cancel::new(), &mut |e| {
        examples.push(e);
        Ok(())
    })
    .unwrap();
    (examples, report)
}

#[test]
fn blocks_of_recent_commits() {
    let (repo, base) = project();
    repo.write("shop/rare.py", "X = 1\n\n\ndef rare(a):\n    return a\n");
    repo.write("vendor/lib.py", "def v():\n    return 1\n");
    repo.write("shop/made.py", "# Code generated by a tool. DO NOT EDIT.\nA = 1\nB = 2\n");
    repo.write("web/app.js", "export function f() {\n  return 1;\n}\n");
    let first = repo.commit("first", "2025-07-02");
    // A block that only moves; a new one in two places; one that is there already.
    repo.write("shop/rare.py", "X = 1\n");
    repo.write("shop/shapes.py", format!("{SHAPES}\n\ndef rare(a):\n    return a\n\n\ndef side(w):\n    \n    return w + total([w])\n"));
    repo.write(
        "shop/prices.py",
        "def total(items):\n    return sum(items)\n\n\ndef f(x):\n    y = x\n    return y\n",
    );
    let second = repo.commit("second", "2025-07-03");
    repo.write("shop/rare.py", "X = 1\n\n\ndef f(x):\n    y = x\n    return y\n");
    repo.commit("third", "2025-07-04");

    let (examples, report) = commits(repo.path(), "2025-07-01", HoleLimits::default());
    let rows: Vec<(&str, &str)> =
        examples.iter().map(|e| (e.id.as_str(), e.middle.as_str())).collect();
    let (a, b) = (&first[..10], &second[..10]);
    assert_eq!(
        rows,
        [
            (format!("me/shop@{a}#shop/rare.py#L2").as_str(), "\n\ndef rare(a):\n    return a\n"),
            (
                format!("me/shop@{b}#shop/prices.py#L3").as_str(),
                "\n\ndef f(x):\n    y = x\n    return y\n"
            ),
            (
                format!("me/shop@{b}#shop/shapes.py#L12").as_str(),
                "\n\ndef rare(a):\n    return a\n\n\ndef side(w):\n    \n    return w + total([w])\n"
            ),
        ]
    );
    let side = &examples[2];
    assert_eq!(
        (side.provenance.commit.as_deref(), side.provenance.base_commit.as_deref()),
        (Some(second.as_str()), Some(first.as_str()))
    );
    assert_eq!(
        (side.provenance.commit_date.as_deref(), side.provenance.change.as_deref()),
        (Some("2025-07-03"), Some("insert"))
    );
    let prices = side.context.iter().find(|c| c.path == "shop/prices.py").unwrap();
    assert_eq!(
        prices.text, "def total(items):\n    return sum(items)\n",
        "as it was before the commit"
    );
    let whole = |path: &str| format!("me/shop@{a}#{path}#L1: the block is the whole file");
    let mut told = reasons(&report);
    told.sort();
    let mut expected = vec![
        format!("{a}#vendor/lib.py: a folder of vendored or generated files, or of test data"),
        format!("{a}#shop/made.py: the file says that it is generated"),
        whole("web/app.js"),
    ];
    let third = told.iter().find(|r| r.ends_with("an earlier block is the same")).unwrap().clone();
    expected.push(third);
    expected.sort();
    assert_eq!(told, expected);

    // The day counts from midnight; languages can be chosen; the first commit has no parent and no
    // context.
    assert_eq!(commits(repo.path(), "2025-07-03", HoleLimits::default()).1.inputs, 2);
    assert_eq!(commits(repo.path(), "2025-07-05", HoleLimits::default()).1.inputs, 0);
    let only = HoleLimits { languages: vec![Language::JavaScript], ..HoleLimits::default() };
    assert!(commits(repo.path(), "2025-07-01", only).0.is_empty());
    let (all, report) = commits(repo.path(), "2025-01-01", HoleLimits::default());
    assert_eq!((report.inputs, all.len()), (4, 3));
    assert!(!base.is_empty());
}

#[test]
fn a_block_that_only_moved_makes_no_row() {
    let repo = Repository::new();
    let function = "def moved(a):\n    b = a + 1\n    return b\n";
    repo.write("a.py", format!("x = 1\n\n{function}"));
    repo.write("b.py", "class B:\n    y = 1\n");
    repo.commit("base", "2025-06-01");
    repo.write("a.py", "x = 1\n");
    let indented: String = function.lines().map(|l| format!("    {l}\n")).collect();
    repo.write("b.py", format!("class B:\n    y = 1\n\n{indented}"));
    repo.commit("move", "2025-07-01");
    let (examples, report) = commits(repo.path(), "2025-07-01", HoleLimits::default());
    assert!(examples.is_empty(), "{examples:?}");
    assert!(
        reasons(&report)[0].ends_with("#b.py#L3: the commit only moved the block"),
        "{:?}",
        reasons(&report)
    );
}

#[test]
fn a_folder_that_is_no_repository_is_an_error_even_inside_of_one() {
    let repo = Repository::new();
    repo.write("inner/a.py", "a = 1\n");
    repo.commit("base", "2025-06-01");
    let inner = repo.path().join("inner");
    let options = CommitOptions {
        repo: &inner,
        since: "2025-01-01",
        name: "n",
        revision: "HEAD",
        limits: HoleLimits::default(),
    };
    let error = build::commits(&options, &mut Report::default(), &Cancel::new(), &mut |_| Ok(()))
        .unwrap_err();
    assert!(error.to_string().contains("is no git repository"), "{error}");
    let options = CommitOptions { repo: repo.path(), revision: "no-such-branch", ..options };
    let error = build::commits(&options, &mut Report::default(), &Cancel::new(), &mut |_| Ok(()))
        .unwrap_err();
    assert!(error.to_string().starts_with("git log in "), "{error}");
    let cancel = Cancel::new();
    cancel.cancel();
    let options = CommitOptions { revision: "HEAD", ..options };
    let error =
        build::commits(&options, &mut Report::default(), &cancel, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, BuildError::Cancelled));
}

/// What a repository configures must not run.
#[test]
fn programs_that_a_repository_names_are_not_run() {
    let (repo, _) = project();
    repo.write("shop/shapes.py", SHAPES.replace("    pass\n", "    a = 1\n    return a\n"));
    repo.write(".gitattributes", "*.py diff=evil\n");
    repo.commit("change", "2025-07-01");
    let mark = repo.path().join("ran");
    let touch = format!("touch {}", mark.display());
    for key in [
        "diff.external",
        "diff.evil.command",
        "diff.evil.textconv",
        "core.pager",
        "core.fsmonitor",
        "uploadpack.packObjectsHook",
    ] {
        repo.git(&["config", key, &touch], "2025-07-01");
    }
    assert_eq!(commits(repo.path(), "2025-07-01", HoleLimits::default()).0.len(), 1);
    assert!(!mark.exists(), "a program named in the repository's configuration was run");
}

fn ast(src: &Path, seed: u64, limits: HoleLimits) -> (Vec<Example>, Report) {
    let kinds = vec![
        SpanKind::Call,
        SpanKind::ArgumentList,
        SpanKind::Block,
        SpanKind::Condition,
        SpanKind::Import,
    ];
    let options =
        AstOptions { src, name: "sources", kinds, per_file: 1, seed, license: None, limits };
    let (mut examples, mut report) = (Vec::new(), Report::default());
    build::ast(&options, &mut report, &Cancel::new(), &mut |e| {
        examples.push(e);
        Ok(())
    })
    .unwrap();
    (examples, report)
}

#[test]
fn nodes_of_syntax_trees() {
    let dir = TempDir::new().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("LICENSE", MIT);
    write(
        "a.py",
        "from b import thing\n\n\ndef f(x):\n    if x > thing(2):\n        print(x, 1)\n        return 1\n    return 2\n",
    );
    write("b.py", "thing = 1\n");
    write(".hidden/c.py", "import os\n");
    write("node_modules/d.js", "f(12345)\n");
    write("notes.md", "text\n");
    let limits = || HoleLimits { min_lines: 1, max_lines: 2, ..HoleLimits::default() };
    let (examples, report) = ast(dir.path(), 7, limits());
    let shown: Vec<(&str, &str)> =
        examples.iter().map(|e| (e.node_kind.as_deref().unwrap(), e.middle.as_str())).collect();
    assert!(
        shown.contains(&("import", "from b import thing"))
            && shown.contains(&("condition", "x > thing(2)")),
        "{shown:?}"
    );
    for e in &examples {
        let text = std::fs::read_to_string(dir.path().join(e.path.as_ref().unwrap())).unwrap();
        assert_eq!(format!("{}{}{}", e.prefix, e.middle, e.suffix), text);
        assert_eq!(
            (e.task, e.license.as_deref(), e.cluster()),
            (Task::Block, Some("MIT"), "sources#a.py")
        );
        assert!(e.n_lines.unwrap() <= 2 && e.middle.trim().len() >= 4);
        let sees_b = e.context.iter().any(|c| c.path == "b.py");
        assert_eq!(
            sees_b,
            e.node_kind.as_deref() != Some("import"),
            "the hole's own import is not followed: {}",
            e.id
        );
    }
    assert_eq!(
        reasons(&report),
        ["LICENSE: no language with a grammar", "notes.md: no language with a grammar"]
    );
    assert_eq!(ast(dir.path(), 7, limits()).0, examples, "the same seed makes the same set");
    let ids: std::collections::HashSet<_> = examples.iter().map(|e| &e.id).collect();
    assert_eq!(ids.len(), examples.len());
    assert!(ast(dir.path(), 7, HoleLimits { min_lines: 9, ..HoleLimits::default() }).0.is_empty());
    let missing = AstOptions {
        src: &dir.path().join("no"),
        name: "n",
        kinds: vec![],
        per_file: 1,
        seed: 0,
        license: None,
        limits: limits(),
    };
    let error =
        build::ast(&missing, &mut Report::default(), &Cancel::new(), &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().starts_with("cannot read "), "{error}");
}
