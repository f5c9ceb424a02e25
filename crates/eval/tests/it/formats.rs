//! Published formats: each row read, and given back as it was.

use lacuna_eval::Example;
use lacuna_eval::example::{Case, Task, Test};
use lacuna_eval::format::{self, Format, Missing};
use serde_json::{Value, json};

/// Reads a row, checks that it comes back and that our own form holds all of it; the example.
fn round_trip(format: Format, row: &Value) -> Example {
    assert_eq!(Format::of_row(row.as_object().unwrap()), Some(format), "{row}");
    let example = format::example(row.clone()).unwrap();
    let back = format.export(&example).unwrap();
    assert_eq!(Value::Object(back), *row);
    let ours = Value::Object(Format::Lacuna.export(&example).unwrap());
    assert_eq!(format::example(ours).unwrap(), example);
    example
}

fn message(row: Value) -> String {
    format::example(row).unwrap_err().to_string()
}

#[test]
fn humaneval_infilling() {
    let row = json!({"task_id": "RandomSpanInfillingLight/HumanEval/12/1", "entry_point": "f", "prompt": "a ", "suffix": " c",
        "canonical_solution": "b", "test": "def check(c): pass"});
    let e = round_trip(Format::HumanEvalInfilling, &row);
    assert_eq!(
        (e.set.as_str(), e.task, e.cluster()),
        ("humaneval-random-span-light", Task::Span, "HumanEval/12")
    );
    // The published files hold twelve rows with nothing in the hole; their tests judge them.
    let empty = json!({"task_id": "SingleLineInfilling/HumanEval/1/L0", "entry_point": "f", "prompt": "", "suffix": "", "canonical_solution": "", "test": ""});
    assert_eq!(round_trip(Format::HumanEvalInfilling, &empty).task, Task::Line);
    assert_eq!(
        message(json!({"task_id": "x", "entry_point": "f", "canonical_solution": "", "test": ""})),
        "missing field `prompt`"
    );
}

#[test]
fn santacoder() {
    for (prompt, suffix) in
        [("a {", "}"), ("a {\n", "}"), ("a {", "\n}"), ("a {\n", "\n"), ("", "")]
    {
        let row = json!({"name": "humaneval-HumanEval_7_x.json-L2", "language": "java", "prompt": prompt, "suffix": suffix,
            "canonical_solution": "  b;", "tests": "t"});
        let e = round_trip(Format::SantaCoder, &row);
        assert!(prompt.is_empty() || e.prefix == "a {\n", "{prompt:?}");
        assert!(e.suffix.starts_with('\n') && !e.suffix.starts_with("\n\n"));
        assert_eq!(e.cluster(), "HumanEval/7");
    }
}

#[test]
fn cross_code_eval() {
    let row = json!({"task_id": "project_cc_csharp/14", "language": "csharp", "prompt": "a(", "groundtruth": "b)", "right_context": ";",
        "metadata": {"task_id": "project_cc_csharp/14", "repository": "me-my-app-1a2b3c4", "file": "A/B.cs", "context_start_lineno": 0,
            "groundtruth_start_lineno": 66, "right_context_start_lineno": 68},
        "crossfile_context": {"text": "// …", "list": [{"retrieved_chunk": "x", "filename": "C.cs", "score": 1.25}]},
        "crossfile_source": "bm25"});
    let e = round_trip(Format::CrossCodeEval, &row);
    assert_eq!(
        (e.language.as_str(), e.cluster(), e.provenance.start_line),
        ("csharp", "me-my-app-1a2b3c4", Some(67))
    );
    assert_eq!((e.context[0].path.as_str(), e.context[0].text.as_str()), ("C.cs", "x"));

    // As published, the language is told by the task's name, and there may be no context.
    let mut bare = row.clone();
    for field in ["language", "crossfile_context", "crossfile_source"] {
        bare.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(format::example(bare).unwrap().language, "csharp");
    let prefix_only =
        json!({"id": "x/1", "language": "typescript", "prompt": "a", "groundtruth": "b"});
    let e = format::example(prefix_only).unwrap();
    assert_eq!((e.id.as_str(), e.suffix.as_str(), e.cluster()), ("x/1", "", "x/1"));
    assert_eq!(message(json!({"prompt": "a", "groundtruth": "b"})), "`task_id` is empty");
    assert_eq!(
        message(json!({"id": "1", "prompt": "a", "groundtruth": "b"})),
        "`language` is empty"
    );
    assert_eq!(
        message(
            json!({"id": "1", "language": "go", "prompt": "a", "groundtruth": "b", "crossfile_context": {"list": [3]}})
        ),
        "`crossfile_context`: invalid type: integer `3`, expected struct Chunk"
    );
}

#[test]
fn safim() {
    let row = json!({"task_id": "block_completion_000001", "lang": "python", "prompt": "Sum.\nfor x in y:\n    # TODO: Your code here\n",
        "eval_prompt": "for x in y:\n    {{completion}}\n", "ground_truth": "s += x", "unit_tests": "[{\"input\":\"1\",\"output\":[\"1\",\"1\\n\"]}]"});
    let e = round_trip(Format::Safim, &row);
    assert_eq!((e.set.as_str(), e.task), ("safim-block", Task::Block));
    assert_eq!((e.prefix.as_str(), e.suffix.as_str()), ("Sum.\nfor x in y:\n    ", "\n"));
    let case = Case { input: "1".to_owned(), output: vec!["1".to_owned(), "1\n".to_owned()] };
    assert_eq!(
        e.test,
        Some(Test::Cases {
            frame: "for x in y:\n    {{completion}}\n".to_owned(),
            cases: vec![case]
        })
    );

    let api = json!({"task_id": "api_completion_7", "lang": "cpp", "prompt": "f(/* TODO: Your code here */)", "eval_prompt": "f({{completion}})",
        "ground_truth": "x", "unit_tests": "[]"});
    assert_eq!(round_trip(Format::Safim, &api).test, None);
    let mut list = api.clone();
    list["unit_tests"] = json!([{"input": "", "output": ["2"]}]);
    assert!(matches!(format::example(list).unwrap().test, Some(Test::Cases { .. })));
    let mut twice = api.clone();
    twice["prompt"] = json!("/* TODO: Your code here *//* TODO: Your code here */");
    assert_eq!(
        message(twice),
        "`prompt` does not hold the placeholder `TODO: Your code here` exactly once"
    );
}

#[test]
fn rows_of_projects_are_read() {
    let row = json!({"id": "i#p#L3", "instance_id": "i", "repo": "o/r", "base_commit": "c", "path": "p.py", "language": "python", "license": "MIT",
        "source": ["lite"], "start_line": 3, "n_lines": 2, "kind": "insert", "ast_kinds": ["call"], "prefix": "a\n", "middle": "b\nc\n",
        "suffix": "d\n", "prefix_truncated": false, "suffix_truncated": true,
        "cross_file": [{"path": "q.py", "names": ["N"], "text": "class N: pass\n", "excerpt": true}]});
    assert_eq!(Format::of_row(row.as_object().unwrap()), Some(Format::Projects));
    let e = format::example(row).unwrap();
    assert_eq!(
        (e.set.as_str(), e.task, e.cluster(), e.provenance.truncated),
        ("swebench-infill", Task::Multi, "o/r", true)
    );
    assert_eq!((e.provenance.instance_id.as_deref(), e.context[0].excerpt), (Some("i"), true));
    assert_eq!(e.extra["ast_kinds"], json!(["call"]));
    assert_eq!(Format::Projects.export(&e), Err(Missing("nothing: it is only read")));
    let commit = json!({"id": "1", "task": "line", "repo": "o/r", "commit": "c", "commit_date": "2025-08-01", "path": "a.tsx", "language": "TypeScript",
        "prefix": "", "middle": "b", "suffix": "", "cross_file": []});
    let e = format::example(commit).unwrap();
    assert_eq!((e.set.as_str(), e.task, e.syntax().name()), ("commit-infill", Task::Line, "tsx"));
}

#[test]
fn what_a_format_has_no_place_for() {
    let own = format::example(
        json!({"id": "1", "language": "go", "prefix": "a", "middle": "b", "suffix": "c"}),
    )
    .unwrap();
    let missing = |f: Format| f.export(&own).unwrap_err().0;
    assert_eq!(missing(Format::HumanEvalInfilling), "a test that calls `check` on an entry point");
    assert_eq!(
        missing(Format::SantaCoder),
        "one of the format's languages (python, java, javascript)"
    );
    assert_eq!(missing(Format::Safim), "one of the format's languages (python, java, cpp, csharp)");
    let as_cceval = Format::CrossCodeEval.export(&own).unwrap();
    assert_eq!(as_cceval["metadata"]["repository"], json!("1"));
    let python = Example { language: "python".to_owned(), ..own };
    assert_eq!(Format::SantaCoder.export(&python).unwrap_err().0, "a middle that starts a line");
    let as_safim = Format::Safim.export(&python).unwrap();
    assert_eq!(as_safim["eval_prompt"], json!("a{{completion}}c"));
}
