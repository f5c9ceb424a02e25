//! `lacuna bench` at toy size: what it prints, whom it runs beside us, what it makes of records.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lacuna_tests::{Home, Output, binary};
use serde_json::Value;

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

/// Median between the ends, something measured.
fn check_spread(spread: &Value) {
    let number = |key: &str| spread[key].as_f64().unwrap_or_else(|| panic!("no {key} in {spread}"));
    assert!(
        0.0 < number("least")
            && number("least") <= number("median")
            && number("median") <= number("most"),
        "{spread}"
    );
    assert!(spread["repeats"].as_u64().is_some_and(|n| n > 0), "{spread}");
}

/// What every record says of the machine.
fn check_frame(record: &Value, kind: &str) {
    assert_eq!(record["kind"], kind);
    for key in ["cpu", "system", "version", "date"] {
        assert!(
            record["machine"][key].as_str().is_some_and(|s| !s.is_empty()),
            "no machine.{key}: {record}"
        );
    }
    assert!(record["machine"]["cores"].as_u64().is_some_and(|n| n > 0));
    assert_eq!(record["threads"], 1);
}

#[test]
fn kernels_are_timed_on_every_row_beside_the_limits() {
    let home = Home::new();
    let toy = ["bench", "kernels", "--like", "tiny", "--threads", "1", "--seconds", "0.0003"];
    let record = json(&home.lacuna(toy.iter().chain(&["--only", "int4", "--json"])).expect_code(0));
    check_frame(&record, "kernels");
    let rows = record["rows"].as_array().expect("rows");
    assert!(rows.iter().any(|row| row["isa"] == "scalar"), "the scalar row runs everywhere");
    for row in rows {
        check_spread(&row["limits"]["read_gbs"]);
        let cases = row["cases"].as_array().expect("cases");
        // Five matrices; the vocabulary projection is not done for many tokens.
        let of = |m: u64| cases.iter().filter(|c| c["m"] == m && c["cold"] == true).count();
        assert_eq!([1, 2, 4, 8, 16, 64, 512].map(of), [5, 5, 5, 5, 5, 4, 4], "{}", row["isa"]);
        for case in cases {
            check_spread(&case["us"]);
            // What was counted agrees with itself: operations of the product over the time.
            let what = case["what"].as_str().and_then(|s| s.rsplit(' ').next()).expect("a size");
            let (n, k) = what.split_once('x').expect("n x k");
            let ops = 2.0
                * case["m"].as_f64().unwrap()
                * n.parse::<f64>().unwrap()
                * k.parse::<f64>().unwrap();
            let tops = ops / case["us"]["median"].as_f64().unwrap() / 1e6;
            assert!((case["tops"].as_f64().unwrap() / tops - 1.0).abs() < 1e-6, "{case}");
            assert!(
                case["of_limit"].is_null()
                    || case["of_limit"].as_f64().is_some_and(|share| share > 0.0),
                "{case}"
            );
        }
    }

    // All operations, as a table and a file, on a row of choice.
    let output =
        home.lacuna(toy.iter().chain(&["--isa", "scalar", "-o", "kernels.json"])).expect_code(0);
    for name in [
        "Kernels: scalar",
        "int4 product",
        "attention",
        "rms norm",
        "swiglu",
        "quantise",
        "rope",
        "keys and values",
        "greedy",
        "softmax",
    ] {
        assert!(output.stdout.contains(name), "no {name} in {}", output.stdout);
    }
    assert!(
        output.stdout.contains("1 threads used") && output.stdout.contains("memory reads"),
        "{}",
        output.stdout
    );
    let written = std::fs::read_to_string(home.work().join("kernels.json")).expect("the file");
    check_frame(&serde_json::from_str(&written).expect("JSON"), "kernels");
}

/// A program that answers like llama-bench, 2 and 4 ms for everything, and notes how it was called.
fn fake_llama_bench(home: &Home) -> PathBuf {
    let script = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -p) p=$2 ;; -n) n=$2 ;; -d) d=$2 ;; -t) t=$2 ;; -m) m=$2 ;; esac
    shift
done
test -f "$m" || exit 9
echo "$(basename "$m") $p $n $d $t" >>"$(dirname "$0")/calls"
printf '[{}'
for x in $(echo "$p" | tr , ' '); do printf ',{"n_prompt":%s,"n_gen":0,"n_depth":%s,"samples_ns":[2000000,4000000]}' "$x" "$d"; done
for x in $(echo "$n" | tr , ' '); do printf ',{"n_prompt":0,"n_gen":%s,"n_depth":%s,"samples_ns":[2000000,4000000]}' "$x" "$d"; done
echo ']'
"#;
    program(home, "llama-bench", script)
}

fn program(home: &Home, name: &str, script: &str) -> PathBuf {
    let path = home.write(name, script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    path
}

const TOY: [&str; 13] = [
    "bench",
    "decode",
    "--like",
    "tiny",
    "--cache",
    "cache",
    "--threads",
    "1",
    "--rounds",
    "2",
    "--tests",
    "pp1@8,pp4@8,pp16,tg3",
    "--json",
];

#[test]
fn engines_take_turns_on_the_same_weights() {
    let home = Home::new();
    fake_llama_bench(&home);
    let against = ["--against", "llama.cpp", "--llama-bench", "./llama-bench"];
    let record =
        json(&home.lacuna(TOY.iter().chain(&against).chain(&["-o", "decode.json"])).expect_code(0));
    check_frame(&record, "decode");
    check_spread(&record["limits"]["read_gbs"]);
    assert_eq!(
        (&record["like"], &record["rounds"], &record["ours"]["head"]),
        (&"tiny".into(), &2.into(), &"int4".into())
    );
    assert_eq!(record["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(record["peers"][0]["head"], "q8_0");
    let tests = record["tests"].as_array().expect("tests");
    assert_eq!(
        tests.iter().map(|t| t["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["pp1@8", "pp4@8", "pp16", "tg3"]
    );
    for test in tests {
        check_spread(&test["ours_ms"]);
        assert_eq!(
            (&test["peer_ms"][0]["median"], &test["peer_ms"][0]["repeats"]),
            (&3.0.into(), &4.into()),
            "{test}"
        );
    }
    // Each round one call for the tests of one depth; the file was made from the directory beside
    // it.
    let calls = std::fs::read_to_string(home.work().join("calls")).expect("it was called");
    let gguf = "tiny-q4_0-head-q8_0.gguf";
    let mut round =
        vec![format!("{gguf} 1,4 0 8 1"), format!("{gguf} 16 0 0 1"), format!("{gguf} 0 3 0 1")];
    round.extend(round.clone());
    assert_eq!(calls.lines().collect::<Vec<_>>(), round);
    let before = |name: &str| {
        std::fs::metadata(home.work().join("cache").join(name))
            .and_then(|m| m.modified())
            .expect(name)
    };
    let made = (before("tiny/config.json"), before(gguf));

    // A second time nothing is made again; a file with another head runs too.
    home.lacuna([
        "model",
        "convert",
        "cache/tiny",
        "--to",
        "gguf",
        "--type",
        "q4_0",
        "--head",
        "q4_0",
        "-o",
        "cache/tiny-q4_0-head-q4_0.gguf",
    ])
    .expect_code(0);
    std::fs::write(home.work().join("unnamed.gguf"), "").expect("a file");
    let unnamed = TOY.iter().chain(&against).chain(&["--gguf", "unnamed.gguf"]);
    home.lacuna(unnamed).expect_failure(&["unnamed.gguf", "head-q6_K"]);
    let args = TOY[..12].iter().chain(&against).chain(&["--kv", "f16", "--isa", "scalar"]);
    let output = home.lacuna(args).expect_code(0);
    assert_eq!(made, (before("tiny/config.json"), before(gguf)));
    for part in [
        "tiny, scalar",
        "keys and values f16",
        "llama.cpp (q8_0 head) ms",
        "llama.cpp (q4_0 head) ms",
        "ratio",
        "pp4@8",
        "tok/s",
    ] {
        assert!(output.stdout.contains(part), "no {part} in {}", output.stdout);
    }
}

#[test]
fn our_engine_is_timed_alone_too() {
    let home = Home::new();
    let mut args = TOY.to_vec();
    args[11] = "pp1@8,pp4@8,tg2@8,tg2@600,pp4096";
    let output = home.lacuna(&args).expect_code(0);
    let record = json(&output);
    assert_eq!(record["peers"].as_array().map(Vec::len), Some(0));
    assert_eq!(record["tests"].as_array().map(Vec::len), Some(4));
    assert!(output.stderr.contains("pp4096 is left out"), "{}", output.stderr);
    args.pop();
    let table = home.lacuna(&args).expect_code(0).stdout;
    assert!(
        table.contains("600 positions take")
            && table.contains("M tokens in one go over that of one"),
        "{table}"
    );
}

#[test]
fn approximations_of_the_kv_cache_are_compared_with_cold_ones() {
    let home = Home::new();
    // Real lines, short enough that the whole text is in the prompt.
    let lines: Vec<String> =
        (0..70).map(|i| format!("    total_{i} = price_{} * rate_{}", i % 7, i % 3)).collect();
    std::fs::write(home.work().join("prices.py"), format!("def total():\n{}\n", lines.join("\n")))
        .expect("written");
    let toy = [
        "bench",
        "kv-quality",
        "prices.py",
        "--points",
        "1",
        "--tokens",
        "3",
        "--prompt-tokens",
        "512",
        "--min-run",
        "8",
    ];
    let result = json(&home.lacuna(toy.iter().chain(&["--json"])).expect_code(0));
    let rows = result["rows"].as_array().expect("rows");
    let row = |name: &str| {
        rows.iter()
            .find(|row| row["switch"] == name)
            .unwrap_or_else(|| panic!("no {name} in {result}"))
    };
    let number =
        |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"));
    for row in rows {
        assert!(row["samples"].as_u64().is_some_and(|n| (1..=4).contains(&n)), "{row}");
        assert!(
            number(row, "kl_first_mean") > -1e-9 && number(row, "kl_per_token") > -1e-9,
            "{row}"
        );
        assert!(
            (0.0..=1.0).contains(&number(row, "same_answer")) && number(row, "computed") > 0.0,
            "{row}"
        );
    }
    // Moving saves what repair computes again; the more is repaired the more is computed.
    let computed = ["shift (r = 0)", "blend, r = 0.15", "blend, r = 0.3", "blend, r = 1"]
        .map(|name| number(row(name), "computed"));
    assert!(computed.is_sorted() && computed[0] < 0.8 * computed[3], "{computed:?}");
    assert!(number(row("exact prefix"), "computed") <= computed[3] + 1e-9);
    let table = home.lacuna(toy).expect_code(0).stdout;
    assert!(
        table.contains("| blend, r = 0.3 |") && table.contains("| int8 for f32, cold |"),
        "{table}"
    );
    std::fs::write(home.work().join("short.py"), "x = 1\n").expect("written");
    home.lacuna(["bench", "kv-quality", "short.py"]).expect_failure(&["60 lines"]);
    home.lacuna(["bench", "kv-quality", "missing.py"]).expect_failure(&["missing.py"]);
}

#[test]
fn what_cannot_be_measured_is_one_line() {
    let home = Home::new();
    fake_llama_bench(&home);
    program(&home, "broken", "#!/bin/sh\necho first >&2\necho boom >&2\nexit 3\n");
    program(&home, "mute", "#!/bin/sh\necho '[]'\n");
    home.lacuna(&TOY[..12]).expect_code(0);
    let decode = |more: &[&str]| {
        let mut command = home.command(binary());
        command.args(&TOY[..10]).args(["--tests", "pp1"]).args(more).env("PATH", "/nonexistent");
        lacuna_tests::run(&mut command)
    };
    let against = ["--against", "llama.cpp", "--llama-bench"];
    let last_line = |output: Output, names: &[&str]| {
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
        let last = output.stderr.lines().last().unwrap_or("").to_owned();
        assert!(last.starts_with("lacuna: ") && !output.stderr.contains("panicked"), "{output:?}");
        for name in names {
            assert!(last.contains(name), "no {name} in {last}");
        }
    };
    last_line(
        decode(&[against[0], against[1], against[2], "missing"]),
        &["--llama-bench", "missing", "not a file"],
    );
    last_line(decode(&[against[0], against[1], against[2], "broken"]), &["broken failed", "boom"]);
    last_line(
        decode(&[against[0], against[1], against[2], "mute"]),
        &["mute", "no result for pp1"],
    );
    last_line(decode(&["--against", "other"]), &["other"]);
    last_line(decode(&["--isa", "nonsense"]), &["nonsense", "--isa"]);
    last_line(decode(&["--kv", "int3"]), &["int3", "f16"]);
    for (args, names) in [
        (&["bench", "decode"][..], &["--like"][..]),
        (&["bench", "decode", "--like", "gpt-9"], &["gpt-9", "qwen2.5-coder-0.5b"]),
        (&["bench", "decode", "--model", "missing"], &["missing", "directory"]),
        (&["bench", "decode", "--like", "tiny", "--tests", "xx5"], &["xx5", "pp512"]),
        (
            &["bench", "decode", "--like", "tiny", "--cache", "cache", "--tests", "pp5000"],
            &["--tests", "2048"],
        ),
        (&["bench", "kernels", "--like", "gpt-9"], &["gpt-9", "qwen2.5-coder-0.5b"]),
        (&["bench", "kernels", "--seconds", "99"], &["--seconds"]),
        (&["bench", "report", "missing.json", "-o", "out"], &["missing.json", "read"]),
    ] {
        last_line(home.lacuna(args), names);
    }
}

#[test]
fn records_become_tables_and_graphs_and_a_persons_text_is_kept() {
    let home = Home::new();
    fake_llama_bench(&home);
    let toy = [
        "bench",
        "kernels",
        "--like",
        "tiny",
        "--threads",
        "1",
        "--seconds",
        "0.0003",
        "--isa",
        "scalar",
        "-o",
        "k.json",
    ];
    home.lacuna(toy.iter().chain(&["--only", "int4"])).expect_code(0);
    home.lacuna(TOY.iter().chain(&[
        "--against",
        "llama.cpp",
        "--llama-bench",
        "./llama-bench",
        "-o",
        "d.json",
    ]))
    .expect_code(0);
    let report = |more: &[&str]| home.lacuna(["bench", "report", "-o", "out"].iter().chain(more));
    let read = |name: &str| {
        std::fs::read_to_string(home.work().join("out").join(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    report(&["k.json", "d.json", "d.json"]).expect_code(0);
    let decode = read("decode.md");
    assert_eq!(decode.matches("## Whole engine: tiny").count(), 2);
    // Every graph that a page shows is there, and no two records share one.
    let shown: Vec<&str> =
        decode.split("](").skip(1).map(|s| s.split(')').next().unwrap()).collect();
    assert!(
        shown.len() == 6 && shown.iter().collect::<std::collections::BTreeSet<_>>().len() == 6,
        "{shown:?}"
    );
    for name in shown.iter().chain(&["kernels-speed.svg", "kernels-limit.svg"]) {
        let svg = read(name);
        assert!(
            svg.starts_with("<svg ")
                && svg.trim_end().ends_with("</svg>")
                && svg.contains("prefers-color-scheme"),
            "{name}"
        );
    }
    assert!(read("kernels.md").contains("int4 product"));

    // Text above the mark stays; below it is written anew.
    let (_, below) = decode.split_once("-->").expect("the mark");
    let mark = "<!-- below: written by `lacuna bench report` -->";
    home.write("out/decode.md", format!("# Mine\n\nWhy it is so.\n\n{mark}\nold\n"));
    report(&["d.json", "d.json"]).expect_code(0);
    assert_eq!(read("decode.md"), format!("# Mine\n\nWhy it is so.\n\n{mark}{below}"));

    // A file without the mark is somebody else's; nothing is written then.
    home.write("out/kernels.md", "# Notes\n");
    std::fs::remove_file(home.work().join("out/kernels-speed.svg")).unwrap();
    report(&["k.json"]).expect_failure(&["kernels.md", "bench report"]);
    assert_eq!(read("kernels.md"), "# Notes\n");
    assert!(!home.work().join("out/kernels-speed.svg").exists());
    for (name, text) in
        [("not.json", "{"), ("other.json", "{\"kind\":\"cake\"}"), ("list.json", "[1]")]
    {
        home.write(name, text);
        report(&[name]).expect_failure(&[name, "bench kernels"]);
    }
    let mut lying: Value =
        serde_json::from_str(&std::fs::read_to_string(home.work().join("d.json")).unwrap())
            .unwrap();
    lying["tests"][0]["peer_ms"] = Value::Array(Vec::new());
    home.write("lying.json", lying.to_string());
    report(&["lying.json"]).expect_failure(&["lying.json", "each engine"]);
}
