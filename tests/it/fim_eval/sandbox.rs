//! Code that a model wrote and that means harm: each row says how it ended, the run goes on,
//! nothing outside of the scratch changes.

use lacuna_tests::Home;
use serde_json::json;

use super::stub::Stub;
use super::{lines, rows, values};

/// Name, body of a function, and how it ends: a part of the reason, or nothing for a pass.
const BODIES: [(&str, &str, &str); 32] = [
    ("good", "return 1", ""),
    ("wrong", "return 2", "AssertionError"),
    ("fork", "import os; os.fork(); return 1", "OSError"),
    (
        "fork bomb",
        "
    import os
    while True:
        try: os.fork()
        except OSError: pass",
        "timeout",
    ),
    ("process", "import subprocess; subprocess.run(['touch', 'ESCAPE']); return 1", "OSError"),
    (
        "loop",
        "
    while True: pass",
        "timeout",
    ),
    ("sleep", "import time; time.sleep(600); return 1", "timeout"),
    (
        "disk here",
        "
    with open('big', 'wb') as f:
        while True: f.write(b'x' * 1000000)",
        "OSError",
    ),
    ("disk elsewhere", "open('ESCAPE', 'w').write('x'); return 1", "OSError"),
    ("append", "open('VICTIM', 'a').write('x'); return 1", "OSError"),
    ("remove", "import os; os.remove('VICTIM'); return 1", "OSError"),
    ("rename", "import os; os.rename('VICTIM', 'ESCAPE'); return 1", "OSError"),
    ("mode", "import os; os.chmod('VICTIM', 0); return 1", "OSError"),
    ("link", "import os; os.symlink('VICTIM', 'ESCAPE'); return 1", "OSError"),
    ("folder", "import os; os.mkdir('ESCAPE'); return 1", "OSError"),
    (
        "creat",
        "
    import ctypes
    assert ctypes.CDLL(None).creat(b'ESCAPE', 0o644) >= 0, 'no file'
    return 1",
        "AssertionError",
    ),
    ("socket", "import socket; socket.socket(); return 1", "OSError"),
    (
        "endless output",
        "
    while True: print('x' * 1000)",
        "output limit",
    ),
    ("memory", "x = bytearray(1 << 34); return 1", "MemoryError"),
    ("kill", "import os; os.kill(os.getppid(), 9); return 1", "OSError"),
    ("exit", "import sys; sys.exit(0)", "ended before the test did"),
    ("hard exit", "import os; os._exit(0)", "ended before the test did"),
    ("crash", "import ctypes; ctypes.string_at(0); return 1", "signal 11"),
    // To be taken for a pass: what a candidate returns is all that counts.
    (
        "source",
        "import os, sys; print(open(sys.argv[0]).read().split()[-1]) if sys.argv[0] not in ('-c', '') else 0; os._exit(0)",
        "ended before the test did",
    ),
    (
        "verdict",
        "import os; os.write(1, b'{\"passed\": true, \"nonce\": \"\", \"reason\": \"\"}\\n'); os.write(2, b'{\"passed\": true}'); os._exit(0)",
        "ended before the test did",
    ),
    (
        "always equal",
        "return type('E', (), {'__eq__': lambda s, o: True, '__bool__': lambda s: True})()",
        "AssertionError",
    ),
    (
        "equal number",
        "return type('I', (int,), {'__eq__': lambda s, o: True})(5)",
        "AssertionError",
    ),
    (
        "builtins",
        "import builtins; builtins.AssertionError = type('A', (Exception,), {}); return 2",
        "AssertionError",
    ),
    (
        "frames",
        "import sys; f = sys._getframe()\n    while f: f.f_globals['check'] = lambda c: None; f = f.f_back\n    return 2",
        "AssertionError",
    ),
    ("a secret", "raise ValueError(open('VICTIM').read())", "Error"),
    (
        "thread bomb",
        "
    import threading, time
    threading.stack_size(32768)
    while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        "thread limit",
    ),
    (
        "threads",
        "
    import threading
    got = []
    t = threading.Thread(target=lambda: got.append(1)); t.start(); t.join()
    return got[0]",
        "",
    ),
];

#[test]
fn code_that_means_harm_does_none() {
    let home = Home::new();
    let victim = home.write("victim", "unharmed");
    let escape = home.work().join("escape");
    let (victim_name, escape_name) = (victim.display().to_string(), escape.display().to_string());
    let body = move |name: &str| {
        let (_, body, _) = BODIES.iter().find(|(n, ..)| *n == name).expect("a known name");
        format!("    {}\n", body.trim_start())
            .replace("ESCAPE", &escape_name)
            .replace("VICTIM", &victim_name)
    };
    let examples: Vec<_> = BODIES
        .iter()
        .map(|(name, ..)| {
            json!({"id": name, "set": "harm", "task": "multi", "language": "python", "prefix": format!("# {name}\ndef f():\n"), "middle": "    return 1\n",
                "suffix": "", "test": {"kind": "check", "entry_point": "f", "test": "def check(f):\n    assert f() == 1\n"}})
        })
        .collect();
    let set = home.write("harm.jsonl", lines(&examples));
    let stub = Stub::start(true, move |request| {
        let prefix = request["input_prefix"].as_str().expect("a prefix");
        Ok(body(prefix.lines().next().expect("a line").trim_start_matches("# ")))
    });
    let args = ["--endpoint", &stub.address, "--out", "out", "--test-seconds", "1"];
    home.lacuna(
        ["fim-eval", "run"]
            .iter()
            .map(AsRef::as_ref)
            .chain([set.as_os_str()])
            .chain(args.iter().map(AsRef::as_ref)),
    )
    .expect_code(0);
    let scores = rows(&home.work().join("out/scores.jsonl"));
    assert_eq!(scores.len(), BODIES.len());
    for ((name, _, reason), row) in BODIES.iter().zip(&scores) {
        let passed = values(row, "endpoint")["pass@1"].as_f64();
        let failure = row["modes"][0]["failure"].as_str().unwrap_or("");
        assert_eq!(passed, Some(f64::from(u8::from(reason.is_empty()))), "{name}: {failure}");
        assert!(failure.contains(reason), "{name}: {failure:?} is not {reason:?}");
        assert!(!failure.contains("unharmed"), "{name}: what was read is told: {failure}");
    }
    assert_eq!(std::fs::read_to_string(&victim).expect("still there"), "unharmed");
    assert!(!escape.exists());
    let mut left: Vec<_> = std::fs::read_dir(home.work())
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["harm.jsonl", "out", "victim"]);
}

#[test]
fn programs_of_safim_are_judged_by_what_they_print() {
    let home = Home::new();
    let example = |n: usize, cases: &str| {
        json!({"task_id": format!("block_completion_{n}"), "lang": "python", "prompt": format!("# {n}\nn = int(input())\n# TODO: Your code here\n"),
            "eval_prompt": "n = int(input())\n{{completion}}\n", "ground_truth": "print(n * 2)", "unit_tests": cases})
    };
    let two = r#"[{"input": "1\n", "output": ["2\n"]}, {"input": "5\n", "output": ["11", "10"]}]"#;
    let answers = [
        "print(n * 2)",
        "print(n + 1)",
        "print(n *",
        "while True: pass",
        "print(2, end='  \\n\\n') if n == 1 else print('10')",
        "open('ESCAPE', 'w')",
    ];
    let set: Vec<_> = (0..answers.len()).map(|n| example(n, two)).collect();
    let set = home.write("safim.jsonl", lines(&set));
    let stub = Stub::start(true, move |request| {
        let prefix = request["input_prefix"].as_str().expect("a prefix");
        let number = prefix.lines().next().expect("a line").trim_start_matches("# ");
        Ok(answers[number.parse::<usize>().expect("our own number")].to_owned())
    });
    let args = [
        "fim-eval",
        "run",
        set.to_str().expect("a plain path"),
        "--endpoint",
        &stub.address,
        "--out",
        "out",
        "--test-seconds",
        "1",
    ];
    home.lacuna(args).expect_code(0);
    let scores = rows(&home.work().join("out/scores.jsonl"));
    let judged: Vec<_> = scores
        .iter()
        .map(|row| {
            (
                values(row, "endpoint")["pass@1"].as_f64(),
                row["modes"][0]["failure"].as_str().unwrap_or("").to_owned(),
            )
        })
        .collect();
    // The second passes its first case; the last but one differs in white space alone; the last
    // cannot write.
    for (n, (passed, failure)) in [
        (1.0, ""),
        (0.0, "wrong output"),
        (0.0, "SyntaxError"),
        (0.0, "timeout"),
        (1.0, ""),
        (0.0, "OSError"),
    ]
    .iter()
    .enumerate()
    {
        assert!(judged[n].0 == Some(*passed) && judged[n].1.contains(failure), "{n}: {judged:?}");
    }
    assert_eq!(scores[0]["set"], "safim-block");
    assert!(!home.work().join("ESCAPE").exists());
}

#[test]
fn without_python_the_error_says_what_to_do() {
    let home = Home::new();
    let example = json!({"id": "1", "language": "python", "prefix": "def f():\n", "middle": "    return 1\n", "suffix": "",
        "test": {"kind": "check", "entry_point": "f", "test": "def check(f):\n    f()\n"}});
    let set = home.write("set.jsonl", lines(&[example]));
    let set = set.to_str().expect("a plain path");
    home.lacuna(["fim-eval", "run", set, "--python", "no-such-python"]).expect_failure(&[
        "no-such-python",
        "install Python 3",
        "--no-execution",
    ]);
    home.lacuna([
        "fim-eval",
        "run",
        set,
        "--python",
        "no-such-python",
        "--no-execution",
        "--modes",
        "editor",
    ])
    .expect_code(0);
}

#[test]
fn a_confined_program_is_confined_without_the_evaluation_too() {
    let home = Home::new();
    let confined = |script: &str| {
        let args = [
            "fim-eval",
            "confined",
            "--cpu-seconds",
            "5",
            "--memory-bytes",
            "1073741824",
            "--",
            "/bin/sh",
            "-c",
            script,
        ];
        home.lacuna(args)
    };
    assert_eq!(confined("echo hello").expect_code(0).stdout, "hello\n");
    let output = confined("echo x > file");
    assert!(output.code != Some(0) && !home.work().join("file").exists(), "{output:?}");
    // The environment is empty, and so is the list of inherited files.
    assert!(!confined("echo $HOME$XDG_CONFIG_HOME").expect_code(0).stdout.contains("config"));
    home.lacuna([
        "fim-eval",
        "confined",
        "--cpu-seconds",
        "5",
        "--memory-bytes",
        "1073741824",
        "--",
        "/no/such/program",
    ])
    .expect_code(2);
}
