//! The committed recipe and what is made by one: shares, kinds, no window twice, excerpts in the
//! form of prompts.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use lacuna_prompt::excerpts::{as_shown, excerpt};
use lacuna_train::fim::FimConfig;
use lacuna_train::mine::{Document, Language, Split};
use lacuna_train::once::{Example, Making, Windows, examples_once};
use lacuna_train::pack::{ShardConfig, Visits, build};
use lacuna_train::recipe::{Recipe, RecipeError};

use crate::corpus;

fn committed() -> Recipe {
    Recipe::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/embedded/recipe.toml"))
        .expect("it is committed")
}

#[test]
fn the_committed_recipe_is_what_was_decided() {
    let recipe = committed();
    let share = |names: &[&str]| names.iter().map(|n| recipe.languages[*n]).sum::<f64>();
    for (names, wanted) in [
        (&["python"][..], 0.32),
        (&["javascript", "typescript"], 0.23),
        (&["java"], 0.11),
        (&["rust"], 0.09),
        (&["go"], 0.06),
        (&["c", "cpp"], 0.06),
        (&["csharp"], 0.06),
        (&["markdown", "yaml", "toml", "json", "shell", "sql", "html", "css"], 0.07),
    ] {
        assert!((share(names) - wanted).abs() < 1e-9, "{names:?}: {}", share(names));
    }
    let d = &recipe.documents;
    assert_eq!((d.hole, d.suffix_first, d.excerpts), (0.80, 0.95, 0.30));
    assert!(d.functions <= 0.5, "at least half are windows of real files");
    assert!(recipe.tokens >= 60_000_000);
}

#[test]
fn unsound_recipes_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    let good = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/embedded/recipe.toml"),
    )
    .unwrap();
    for (from, to, said) in [
        ("hole = 0.80", "hole = 1.80", "documents.hole"),
        ("excerpts = 0.30", "excerpts = 0.90", "have a hole"),
        ("python = 0.32", "python = 0.42", "add up to"),
        ("python = 0.32", "phyton = 0.32", "phyton"),
        ("row = 1024", "row = 12", "documents.row"),
        ("row = 1024", "rows = 1024", "rows"),
    ] {
        assert!(good.contains(from));
        std::fs::write(&path, good.replace(from, to)).unwrap();
        let error = Recipe::read(&path).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("recipe.toml"), "{error}");
    }
    assert!(matches!(Recipe::read(&folder.path().join("none.toml")), Err(RecipeError::Io { .. })));
}

/// Files of one package that name the same things, and one that stands alone.
fn documents() -> Vec<Document> {
    let mut all: Vec<Document> = (0..12)
        .map(|i| {
            corpus::document(
                "pypi/shop",
                &format!("shop/m{i}.py"),
                Split::Train,
                corpus::python(i, 30),
            )
        })
        .collect();
    all.push(corpus::document("pypi/solo", "solo.py", Split::Train, corpus::python(50, 30)));
    all
}

fn made(
    at: usize,
    documents: &[Document],
    config: &FimConfig,
    windows: Windows,
    keep: f64,
) -> Vec<Example> {
    let (tokenizer, sentinels) = corpus::tokenizer();
    let making = Making { tokenizer: &tokenizer, sentinels: &sentinels, end: 0, config, seed: 3 };
    let siblings: Vec<&Document> = documents
        .iter()
        .enumerate()
        .filter(|(i, d)| *i != at && d.package == documents[at].package)
        .map(|(_, d)| d)
        .collect();
    examples_once(&documents[at], &siblings, making, windows, keep)
}

#[test]
fn no_part_of_a_file_is_shown_twice_and_a_file_is_used_for_one_thing() {
    let documents = documents();
    let config = FimConfig { excerpts: 0.3, plain: 0.2, max_tokens: 300.0, ..FimConfig::default() };
    let functions = FimConfig { min_worth: 3, ..FimConfig::functions() };
    let mut used = [0, 0];
    for (at, document) in documents.iter().enumerate() {
        let tiles = made(at, &documents, &config, Windows::Tiles, 1.0);
        let alone = made(at, &documents, &functions, Windows::Functions, 1.0);
        assert!(tiles.is_empty() != alone.is_empty(), "{}: one of the two", document.path);
        used[usize::from(tiles.is_empty())] += 1;
        let mut windows: Vec<_> = tiles.iter().chain(&alone).map(|e| e.window.clone()).collect();
        windows.sort_by_key(|w| w.start);
        assert!(
            windows.windows(2).all(|w| w[0].end <= w[1].start),
            "{}: {windows:?}",
            document.path
        );
        let shown: usize = windows.iter().map(|w| w.len()).sum();
        assert!(
            !alone.is_empty() || shown * 10 > document.text.len() * 8,
            "{}: {shown} of {}",
            document.path,
            document.text.len()
        );
        // Fewer windows are some of them, as they were.
        let some = made(
            at,
            &documents,
            &FimConfig { excerpts: 0.0, ..config.clone() },
            Windows::Tiles,
            0.4,
        );
        let all = made(
            at,
            &documents,
            &FimConfig { excerpts: 0.0, ..config.clone() },
            Windows::Tiles,
            1.0,
        );
        assert!(
            some.iter().all(|e| all.contains(e)) && (all.len() < 6 || some.len() < all.len()),
            "{}",
            document.path
        );
    }
    assert!(used.iter().all(|n| *n > 2), "{used:?}");
}

#[test]
fn excerpts_stand_where_prompts_show_them_and_in_their_form() {
    let mut documents = documents();
    documents.push(corpus::document(
        "pypi/shop",
        "shop/prices.py",
        Split::Train,
        corpus::python(3, 30),
    ));
    let config = FimConfig {
        excerpts: 0.5,
        plain: 0.2,
        spm: 1.0,
        empty_prefix: 0.0,
        max_tokens: 500.0,
        ..FimConfig::default()
    };
    let (tokenizer, sentinels) = corpus::tokenizer();
    let (mut with, mut all, mut headed) = (0, 0, 0);
    for at in 0..documents.len() {
        for example in made(at, &documents, &config, Windows::Tiles, 1.0) {
            all += 1;
            assert!(example.ids.len() <= config.limit_tokens, "{}", example.ids.len());
            let ids: Vec<u32> = example.ids.iter().map(|id| u32::from(*id)).collect();
            let Some(start) = ids.iter().position(|id| *id == sentinels.prefix) else { continue };
            let middle = ids.iter().position(|id| *id == sentinels.middle).expect("a hole");
            let prefix = String::from_utf8(tokenizer.decode(&ids[start + 1..middle])).unwrap();
            let own = &documents[at].text[example.window.clone()];
            if !example.has_excerpts {
                assert!(own.starts_with(&prefix[..prefix.len().min(8)]), "{prefix}");
                continue;
            }
            with += 1;
            assert!(!own.starts_with(&prefix), "{prefix}");
            // Each other file is headed by its path, as `lacuna_prompt` writes it, followed by
            // lines of that file.
            for line in prefix.lines().filter(|l| l.starts_with("# shop/")) {
                let path = line.trim_start_matches("# ");
                let other = documents.iter().find(|d| d.path == path).expect("a sibling");
                let body = prefix.split_once(&format!("{line}\n")).unwrap().1;
                let body = body.lines().take(3).collect::<Vec<_>>().join("\n");
                assert!(other.text.contains(&body), "{body}");
                assert!(
                    prefix
                        .contains(as_shown(&excerpt(&documents[at].path, path, &body)).trim_end())
                );
                headed += 1;
            }
        }
    }
    assert!(headed > 5, "{headed}");
    let share = f64::from(with) / f64::from(all);
    assert!((0.35..0.55).contains(&share), "{with} of {all}");
}

#[test]
fn languages_and_kinds_come_in_the_shares_that_are_asked_for_and_repeat() {
    let mut documents = Vec::new();
    for i in 0..60 {
        documents.push(corpus::document(
            "pypi/a",
            &format!("a/{i}.py"),
            Split::Train,
            corpus::python(i, 20),
        ));
        documents.push(corpus::document(
            "npm/b",
            &format!("b/{i}.js"),
            Split::Train,
            corpus::javascript(i, 20),
        ));
        documents.push(corpus::document(
            "npm/b",
            &format!("b/{i}.md"),
            Split::Train,
            corpus::python(500 + i, 6),
        ));
    }
    documents.push(corpus::document("debian/c", "c.cs", Split::Train, corpus::javascript(900, 10)));
    documents.extend((0..6).map(|i| {
        corpus::document(
            "pypi/held",
            &format!("h{i}.py"),
            Split::Validation,
            corpus::python(1000 + i, 12),
        )
    }));
    let shares = vec![
        (Language::Python, 0.5),
        (Language::JavaScript, 0.2),
        (Language::Markdown, 0.1),
        (Language::CSharp, 0.2),
    ];
    let config = ShardConfig {
        train_tokens: 120_000,
        validation_tokens: 6_000,
        fim: FimConfig {
            max_tokens: 300.0,
            plain: 0.2,
            spm: 0.95,
            excerpts: 0.3,
            function: 0.0,
            ..FimConfig::default()
        },
        functions: FimConfig {
            plain: 0.2,
            spm: 0.95,
            excerpts: 0.3,
            min_worth: 3,
            ..FimConfig::functions()
        },
        functions_share: 0.3,
        visits: Visits::Once(shares),
        ..ShardConfig::default()
    };
    let stop = AtomicBool::new(false);
    let mut summaries = Vec::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let summary =
            build(&documents, corpus::tokenizer_json(), &config, folder.path(), &|_, _| {}, &stop)
                .unwrap();
        let index = std::fs::read_to_string(folder.path().join("shards.json")).unwrap();
        let given: HashMap<Language, (u64, u64)> =
            summary.train.languages.iter().map(|(l, g)| (*l, (g.wanted, g.tokens))).collect();
        for language in [Language::Python, Language::JavaScript, Language::Markdown] {
            let (wanted, tokens) = given[&language];
            assert!(tokens.abs_diff(wanted) * 20 <= wanted, "{language:?}: {tokens} of {wanted}");
        }
        // One small file cannot give a fifth: it comes out short, and nothing of it comes twice.
        let (wanted, tokens) = given[&Language::CSharp];
        assert!(tokens > 0 && tokens * 2 < wanted, "{tokens} of {wanted}");
        let kinds = summary.train.kinds;
        let of = |n: usize, all: usize| n as f64 / all as f64;
        assert!((of(kinds.with_hole, kinds.documents) - 0.8).abs() < 0.08, "{kinds:?}");
        assert!((of(kinds.suffix_first, kinds.with_hole) - 0.95).abs() < 0.05, "{kinds:?}");
        assert!((of(kinds.with_excerpts, kinds.documents) - 0.3).abs() < 0.08, "{kinds:?}");
        let functions = kinds.tokens_of_functions as f64 / summary.train.tokens as f64;
        assert!((0.1..0.32).contains(&functions), "{functions}");
        summaries.push(index);
    }
    assert_eq!(summaries[0], summaries[1], "the same on every run");
}
