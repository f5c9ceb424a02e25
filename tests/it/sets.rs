//! `lacuna fim-eval build` as a user types it: reports, exit codes, files that appear whole or not
//! at all.

use std::path::Path;
use std::process::Command;

use lacuna_tests::Home;
use serde_json::{Value, json};

/// A repository of one package in the working directory, its base commit, and the patch to a later
/// state.
fn repository(home: &Home) -> (String, String) {
    let git = |arguments: &[&str]| {
        let identity = [
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "-c",
            "commit.gpgsign=false",
        ];
        let output = Command::new("git")
            .args(identity)
            .args(arguments)
            .current_dir(home.work().join("shop"))
            .envs([
                ("GIT_AUTHOR_DATE", "2025-07-01T12:00:00Z"),
                ("GIT_COMMITTER_DATE", "2025-07-01T12:00:00Z"),
            ])
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_NOSYSTEM", "1")])
            .output()
            .expect("git runs: these tests need it");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    home.write("shop/prices.py", "def total(items):\n    return sum(items)\n");
    home.write("shop/cart.py", "from prices import total\n\n\ndef cost(items):\n    pass\n");
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "base"]);
    let base = git(&["rev-parse", "HEAD"]).trim().to_owned();
    home.write(
        "shop/cart.py",
        "from prices import total\n\n\ndef cost(items):\n    if not items:\n        return 0\n    return total(items)\n",
    );
    let patch = git(&["diff"]);
    git(&["commit", "--quiet", "--all", "-m", "change"]);
    (base, patch)
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

#[test]
fn sets_from_instances_and_from_commits() {
    let home = Home::new();
    let (base, patch) = repository(&home);
    let instance = json!({"instance_id": "me__shop-1", "repo": "me/shop", "base_commit": base, "patch": patch});
    let missing = json!({"instance_id": "other-1", "repo": "other/project", "base_commit": base, "patch": patch});
    home.write("instances.jsonl", format!("{instance}\n{missing}\nnonsense\n"));
    let build = [
        "fim-eval",
        "build",
        "swe-bench",
        "--instances",
        "instances.jsonl",
        "--repos",
        ".",
        "-o",
        "set.jsonl",
        "--skipped",
        "left.jsonl",
    ];
    let output = home.lacuna(build).expect_code(0);
    assert_eq!(
        output.stdout,
        "1 rows from 3 instances: set.jsonl\nleft out 1: expected ident at column 2\n\
         left out 1: repository other/project is not in the folder of clones (looked for other/project, other__project)\n"
    );
    let set = rows(&home.work().join("set.jsonl"));
    assert_eq!(set[0]["id"], "me__shop-1#cart.py#L5");
    assert_eq!(set[0]["middle"], "    if not items:\n        return 0\n    return total(items)\n");
    assert_eq!(set[0]["context"][0]["path"], "prices.py");
    assert_eq!(set[0]["provenance"]["base_commit"], base.as_str());
    assert_eq!(rows(&home.work().join("left.jsonl")).len(), 2);

    let commits = [
        "fim-eval",
        "build",
        "commits",
        "--repo",
        "shop",
        "--since",
        "2025-07-01",
        "-o",
        "commits.jsonl",
        "--lang",
        "python",
    ];
    assert!(
        home.lacuna(commits)
            .expect_code(0)
            .stdout
            .starts_with("1 rows from 2 commits: commits.jsonl\n")
    );
    assert_eq!(rows(&home.work().join("commits.jsonl"))[0]["middle"], set[0]["middle"]);

    // To Parquet and back, and into a published format.
    home.lacuna([
        "fim-eval",
        "build",
        "import",
        "set.jsonl",
        "commits.jsonl",
        "-o",
        "both.parquet",
    ])
    .expect_code(0);
    home.lacuna(["fim-eval", "build", "import", "both.parquet", "-o", "both.jsonl"]).expect_code(0);
    assert_eq!(
        rows(&home.work().join("both.jsonl")),
        [set.clone(), rows(&home.work().join("commits.jsonl"))].concat()
    );
    home.lacuna([
        "fim-eval",
        "build",
        "export",
        "set.jsonl",
        "--format",
        "cceval",
        "-o",
        "cceval.jsonl",
    ])
    .expect_code(0);
    assert_eq!(rows(&home.work().join("cceval.jsonl"))[0]["groundtruth"], set[0]["middle"]);
    let none = home
        .lacuna([
            "fim-eval",
            "build",
            "export",
            "set.jsonl",
            "--format",
            "humaneval-infilling",
            "-o",
            "he.jsonl",
        ])
        .expect_code(1);
    assert_eq!(
        none.stdout,
        "0 rows from 1 rows: he.jsonl is not written\nleft out 1: humaneval-infilling needs a test that calls `check` on an entry point\n"
    );
    assert!(!home.work().join("he.jsonl").exists());
}

#[test]
fn misuse_names_the_flag_and_leaves_files_alone() {
    let home = Home::new();
    home.write("old.jsonl", "old");
    home.write("folder/a.py", "def f(x):\n    return g(x, 1)\n");
    let message =
        |args: &[&str]| home.lacuna([&["fim-eval", "build"], args].concat()).expect_code(2).stderr;
    assert!(
        message(&["commits", "--repo", ".", "--since", "2025-07-01", "-o", "old.jsonl"])
            .contains("is no git repository")
    );
    assert!(
        message(&["commits", "--repo", ".", "--since", "yesterday", "-o", "x"])
            .contains("a date is written YYYY-MM-DD")
    );
    assert!(
        message(&["swe-bench", "--instances", "no.jsonl", "--repos", ".", "-o", "x"])
            .contains("cannot read no.jsonl")
    );
    assert!(
        message(&["swe-bench", "--instances", "old.jsonl", "--repos", "no", "-o", "x"])
            .contains("--repos no is no folder")
    );
    assert!(
        message(&["ast", "--src", "folder", "-o", "no/x.jsonl"])
            .contains("cannot write no/x.jsonl")
    );
    assert!(
        message(&["ast", "--src", "folder", "--kinds", "poem", "-o", "x"])
            .contains("known are call, argument_list")
    );
    assert!(
        message(&["ast", "--src", "folder", "--min-lines", "0", "-o", "x"])
            .contains("--min-lines 0")
    );
    assert!(
        message(&["export", "old.jsonl", "--format", "projects", "-o", "x"])
            .contains("known are lacuna")
    );
    assert_eq!(std::fs::read_to_string(home.work().join("old.jsonl")).expect("still there"), "old");
    let made = home
        .lacuna([
            "fim-eval",
            "build",
            "ast",
            "--src",
            "folder",
            "-o",
            "ast.jsonl",
            "--license",
            "MIT",
        ])
        .expect_code(0);
    assert!(made.stdout.starts_with("3 rows from 1 files: ast.jsonl\n"), "{}", made.stdout);
}

#[test]
fn prompts_packed_and_one_by_one_are_measured_and_compared() {
    let home = Home::new();
    let row = |n: usize| json!({"id": n.to_string(), "language": "python", "prefix": "x = 1\n".repeat(n), "middle": "y", "suffix": "\nz = 2\n"});
    home.write("set.jsonl", (1..=12).map(|n| format!("{}\n", row(n * n))).collect::<String>());
    let args = [
        "bench",
        "prepack",
        "set.jsonl",
        "--limit",
        "12",
        "--batch",
        "5",
        "--tokens",
        "3",
        "--budget",
        "200",
        "--rounds",
        "1",
    ];
    let output = home.lacuna(args).expect_code(0);
    assert!(output.stdout.contains("| batches, packed, a batch a core | "), "{}", output.stdout);
    assert!(output.stdout.contains("12 prompts from set.jsonl"), "{}", output.stdout);
    assert!(output.stdout.contains(" of 12 greedy continuations"), "{}", output.stdout);
    assert!(
        home.lacuna(["bench", "prepack", "no.jsonl"])
            .expect_code(2)
            .stderr
            .contains("cannot read no.jsonl")
    );
}
