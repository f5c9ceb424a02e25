//! The other side of `bench decode --against llama.cpp`: finding `llama-bench` and its model files,
//! running it, reading what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use lacuna_kernels::isa::Isa;
use serde_json::Value;

use super::plan::Plan;

/// Names the program where `--llama-bench` does not.
pub const VARIABLE: &str = "LACUNA_LLAMA_BENCH";

/// One program with one model file.
pub struct Peer {
    pub program: PathBuf,
    pub file: PathBuf,
    /// How the file stores the vocabulary projection, by its name.
    pub head: String,
}

/// The build that `tests/peers/llama_cpp.sh` makes for a kernel row: the same instruction set on
/// both sides.
fn builds(isa: Option<Isa>) -> &'static [&'static str] {
    match isa {
        Some(Isa::Avx2) => &["llama.cpp-avx2"],
        // Where the CPU has no AMX, the native build is the same thing.
        Some(Isa::Avx512Vnni) if Isa::Amx.is_available() => &["llama.cpp-avx512"],
        Some(Isa::Avx512Vnni) => &["llama.cpp-avx512", "llama.cpp-native"],
        _ => &["llama.cpp-native"],
    }
}

/// `llama-bench`: as named, else by the variable, else below `target/peers` here or beside this
/// binary, else in PATH.
pub fn find(named: Option<&Path>, isa: Option<Isa>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        if !path.is_file() {
            bail!("--llama-bench {} is not a file", path.display());
        }
        // A bare name would be looked for in PATH when it is started.
        return Ok(std::path::absolute(path)?);
    }
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        if !path.is_file() {
            bail!("{VARIABLE}={} is not a file", path.display());
        }
        return Ok(std::path::absolute(path)?);
    }
    let exe = std::env::current_exe()?;
    let places =
        exe.ancestors().skip(1).map(|dir| dir.join("peers")).chain([PathBuf::from("target/peers")]);
    for place in places {
        for build in builds(isa) {
            let program = place.join(build).join("bin/llama-bench");
            if program.is_file() {
                return Ok(program);
            }
        }
    }
    // Of a program in PATH nobody knows what it was built for.
    let in_path = std::env::var_os("PATH").filter(|_| builds(isa) == ["llama.cpp-native"]);
    let found = in_path.and_then(|all| {
        std::env::split_paths(&all).map(|dir| dir.join("llama-bench")).find(|p| p.is_file())
    });
    found.with_context(|| {
        let variant = match builds(isa)[0] {
            "llama.cpp-avx2" => "avx2",
            "llama.cpp-avx512" => "vnni",
            _ => "native",
        };
        format!("--against llama.cpp: no llama-bench found; build it with tests/peers/llama_cpp.sh {variant}, or name it by --llama-bench")
    })
}

impl Peer {
    /// `llama.cpp` and which build of it.
    pub fn name(&self) -> String {
        let build = self
            .program
            .ancestors()
            .nth(2)
            .and_then(Path::file_name)
            .map(|n| n.to_string_lossy().into_owned());
        build.filter(|n| n.starts_with("llama.cpp")).unwrap_or_else(|| "llama.cpp".to_owned())
    }

    /// Milliseconds of each of `repeats` runs of each test; the tests share their depth.
    /// llama-bench warms up by itself.
    pub fn run(
        &self,
        plans: &[Plan],
        threads: usize,
        repeats: usize,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let list = |generate: bool| {
            let all: Vec<String> = plans
                .iter()
                .filter(|p| p.generate == generate)
                .map(|p| p.tokens.to_string())
                .collect();
            if all.is_empty() { "0".to_owned() } else { all.join(",") }
        };
        let mut command = Command::new(&self.program);
        command.args(["-o", "json", "-m"]).arg(&self.file).args([
            "-t",
            &threads.to_string(),
            "-r",
            &repeats.to_string(),
        ]);
        command.args(["-p", &list(false), "-n", &list(true), "-d", &plans[0].depth.to_string()]);
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "{} failed ({}): {}",
                self.program.display(),
                output.status,
                said.trim().lines().last().unwrap_or("it said nothing")
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        read(&text, plans).with_context(|| format!("what {} printed", self.program.display()))
    }
}

/// Times from llama-bench's JSON, in the order of `plans`.
fn read(text: &str, plans: &[Plan]) -> anyhow::Result<Vec<Vec<f64>>> {
    let results: Value = serde_json::from_str(text)?;
    let results = results.as_array().context("expected a list of results")?;
    let number = |result: &Value, key: &str| result[key].as_u64().unwrap_or(0) as usize;
    plans
        .iter()
        .map(|plan| {
            let (prompt, generated) =
                if plan.generate { (0, plan.tokens) } else { (plan.tokens, 0) };
            let wanted = |r: &&Value| {
                (number(r, "n_prompt"), number(r, "n_gen"), number(r, "n_depth"))
                    == (prompt, generated, plan.depth)
            };
            let result = results
                .iter()
                .find(wanted)
                .with_context(|| format!("no result for {}", plan.name()))?;
            let samples = result["samples_ns"]
                .as_array()
                .with_context(|| format!("no samples for {}", plan.name()))?;
            let times: Vec<f64> = samples
                .iter()
                .filter_map(Value::as_f64)
                .map(|ns| ns / 1e6)
                .filter(|ms| *ms > 0.0)
                .collect();
            if times.is_empty() { bail!("no samples for {}", plan.name()) } else { Ok(times) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(generate: bool, tokens: usize, depth: usize) -> Plan {
        Plan { generate, tokens, depth }
    }

    #[test]
    fn results_are_matched_by_their_sizes() {
        let text = r#"[{"n_prompt":4,"n_gen":0,"n_depth":32,"samples_ns":[2000000,3000000]},
            {"n_prompt":0,"n_gen":4,"n_depth":32,"samples_ns":[8000000]}]"#;
        let times = read(text, &[plan(true, 4, 32), plan(false, 4, 32)]).expect("both are there");
        assert_eq!(times, [vec![8.0], vec![2.0, 3.0]]);
        for (text, plan, says) in [
            (text, plan(false, 4, 0), "no result for pp4"),
            ("{}", plan(false, 4, 0), "a list"),
            ("[", plan(false, 4, 0), "EOF"),
            (
                r#"[{"n_prompt":4,"n_gen":0,"n_depth":0,"samples_ns":[0]}]"#,
                plan(false, 4, 0),
                "no samples",
            ),
        ] {
            let error = format!("{:#}", read(text, &[plan]).expect_err("an error"));
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = find(Some(Path::new("/no/such/program")), None).expect_err("not there");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
