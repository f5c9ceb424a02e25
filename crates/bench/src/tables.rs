//! Records as Markdown, for a terminal and for `docs/bench`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::machine::{Bound, Limits};
use super::record::{Decode, Engine, KernelCase, KernelRow, Kernels, Record, Replay, Test};
use super::replay::summary::Side;
use super::timing::Spread;

/// The tables of a record, with where and how it was made above them.
pub fn of(record: &Record) -> String {
    match record {
        Record::Kernels(run) => kernels(run),
        Record::Decode(run) => decode(run),
        Record::Replay(run) => replay(run),
    }
}

fn kernels(run: &Kernels) -> String {
    let mut out = String::new();
    for row in &run.rows {
        let _ = writeln!(
            out,
            "## Kernels: {}\n\n{}.  \n{}\n",
            row.isa,
            run.machine.line(run.threads),
            limits(&row.limits)
        );
        out += "Median of repeats taken in turn (range); share of the nearer limit, as measured beside the case at best, r: reading, i: multiply-adds.\n\n";
        kernel_row(&mut out, row);
    }
    out
}

/// A table for each operation: sizes downwards, tokens across.
fn kernel_row(out: &mut String, row: &KernelRow) {
    let mut done = BTreeSet::new();
    for first in &row.cases {
        if !done.insert(&first.op) {
            continue;
        }
        let of_op = || row.cases.iter().filter(|c| c.op == first.op);
        let tokens: BTreeSet<usize> = of_op().map(|c| c.m).collect();
        let _ = write!(out, "| {} |", first.op);
        for m in &tokens {
            let _ = write!(out, " M = {m} |");
        }
        let _ = writeln!(out, "\n|---|{}", "---|".repeat(tokens.len()));
        let mut lines: Vec<(&str, &str, bool)> = Vec::new();
        for case in of_op() {
            let line = (case.like.as_str(), case.what.as_str(), case.cold);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        for (like, what, cold) in lines {
            let _ = write!(
                out,
                "| {like}, {what}, {} |",
                if cold { "from memory" } else { "from cache" }
            );
            for m in &tokens {
                let case = of_op().find(|c| {
                    c.m == *m && (c.like.as_str(), c.what.as_str(), c.cold) == (like, what, cold)
                });
                let _ = write!(out, " {} |", case.map_or_else(String::new, cell));
            }
            out.push('\n');
        }
        out.push('\n');
    }
}

/// Time, rate, share of the limit.
fn cell(case: &KernelCase) -> String {
    let rate = match (case.tops, case.gbs) {
        (Some(tops), _) if case.bound == Some(Bound::Integer) || case.gbs.is_none() => {
            format!(", {tops:.3} TOPS")
        }
        (_, Some(gbs)) => format!(", {gbs:.1} GB/s"),
        _ => String::new(),
    };
    let share = case.of_limit.zip(case.bound).map_or_else(String::new, |(share, bound)| {
        format!(", {:.0} % {}", share * 100.0, if bound == Bound::Read { "r" } else { "i" })
    });
    format!("{}{rate}{share}", micro(&case.us))
}

/// Median and range.
fn micro(us: &Spread) -> String {
    let digits = if us.median < 10.0 {
        2
    } else if us.median < 100.0 {
        1
    } else {
        0
    };
    format!("{:.digits$} µs ({:.digits$}–{:.digits$})", us.median, us.least, us.most)
}

fn limits(limits: &Limits) -> String {
    let range = |s: &Spread, digits: usize| {
        format!("{:.digits$} ({:.digits$}–{:.digits$})", s.median, s.least, s.most)
    };
    let peak = limits.tops.as_ref().map_or_else(
        || "integer peak not measured".to_owned(),
        |t| format!("integer peak {} TOPS", range(t, 3)),
    );
    format!(
        "Limits, measured in the same run: memory reads {} GB/s, {peak}.",
        range(&limits.read_gbs, 1)
    )
}

fn decode(run: &Decode) -> String {
    let mut out = format!(
        "## Whole engine: {}, {}\n\n{}.  \n{}\n\n",
        run.like,
        run.isa,
        run.machine.line(run.threads),
        limits(&run.limits)
    );
    let describe = |e: &Engine| {
        format!(
            "- {}: vocabulary projection {}, keys and values {}, {:.1} MB of weights a token\n",
            title(e),
            e.head,
            e.kv,
            e.token_bytes as f64 / 1e6
        )
    };
    out += &describe(&run.ours);
    run.peers.iter().for_each(|peer| out += &describe(peer));
    let turns = if run.peers.is_empty() { "rounds" } else { "rounds in turn" };
    let _ = writeln!(
        out,
        "\nMedian (range) of {} {turns}; ppN: N tokens in one go, tgN: one after another, @D: after D tokens;\nof limit: share of the nearer limit, as measured beside the test at best.\n",
        run.rounds
    );
    let _ = write!(out, "| test | {} ms | tok/s | of limit |", title(&run.ours));
    for peer in &run.peers {
        let _ = write!(out, " {} ms | tok/s | of limit | ratio |", title(peer));
    }
    let _ =
        writeln!(out, "\n|---|---:|---:|---:|{}", "---:|---:|---:|---:|".repeat(run.peers.len()));
    for test in &run.tests {
        let columns = |engine: &Engine, ms: &Spread| {
            let (share, bound) = test.of_limit(engine, ms);
            let digits = if ms.median < 100.0 { 1 } else { 0 };
            format!(
                "{:.digits$} ({:.digits$}–{:.digits$}) | {:.1} | {:.0} % {}",
                ms.median,
                ms.least,
                ms.most,
                test.speed(ms),
                share * 100.0,
                bound.name()
            )
        };
        let _ = write!(out, "| {} | {} |", test.name, columns(&run.ours, &test.ours_ms));
        for (peer, ms) in run.peers.iter().zip(&test.peer_ms) {
            let _ = write!(
                out,
                " {} | **{:.2}** |",
                columns(peer, ms),
                ms.median / test.ours_ms.median
            );
        }
        out.push('\n');
    }
    out.push('\n');
    for (name, value) in derived(run) {
        let _ = writeln!(out, "- {name}: {value}");
    }
    out.push('\n');
    out
}

/// An engine with what tells it from another one of the same name.
pub fn title(engine: &Engine) -> String {
    if engine.name == "lacuna" {
        engine.name.clone()
    } else {
        format!("{} ({} head)", engine.name, engine.head)
    }
}

/// What follows from several tests together.
fn derived(run: &Decode) -> Vec<(String, String)> {
    let engines = || std::iter::once(&run.ours).chain(&run.peers).enumerate();
    let each = |value: &dyn Fn(usize) -> String| {
        let all: Vec<String> =
            engines().map(|(i, engine)| format!("{} {}", title(engine), value(i))).collect();
        all.join("; ")
    };
    let mut lines = Vec::new();
    let prompt = |tokens: usize, depth: usize| {
        run.tests.iter().find(|t| !t.generate && (t.tokens, t.depth) == (tokens, depth))
    };
    for one in run.tests.iter().filter(|t| !t.generate && t.tokens == 1) {
        let more: Vec<&Test> =
            [2, 4, 8, 16].into_iter().filter_map(|m| prompt(m, one.depth)).collect();
        if !more.is_empty() {
            let ratio = |i: usize| {
                let parts: Vec<String> = more
                    .iter()
                    .map(|t| format!("{}: {:.2}", t.tokens, ms(t, i) / ms(one, i)))
                    .collect();
                parts.join(", ")
            };
            lines.push((
                format!("time of M tokens in one go over that of one (after {})", one.depth),
                each(&ratio),
            ));
        }
    }
    for (deep, shallow) in attention_pairs(&run.tests) {
        let share = |i: usize| format!("{:.1} %", 100.0 * (1.0 - ms(shallow, i) / ms(deep, i)));
        lines.push((
            format!(
                "share of a token's time that {} positions take ({} against {})",
                deep.depth, deep.name, shallow.name
            ),
            each(&share),
        ));
    }
    lines
}

/// Generation after a long prefix, and the same after the shortest one.
fn attention_pairs(tests: &[Test]) -> Vec<(&Test, &Test)> {
    let alike =
        |t: &&Test, deep: &Test| t.generate && t.tokens == deep.tokens && t.depth < deep.depth;
    let deep = tests.iter().filter(|t| t.generate && t.depth >= 512);
    deep.filter_map(|deep| {
        Some((deep, tests.iter().filter(|t| alike(t, deep)).min_by_key(|t| t.depth)?))
    })
    .collect()
}

/// Median of an engine: 0 is ours, then the peers.
fn ms(test: &Test, engine: usize) -> f64 {
    if engine == 0 { test.ours_ms.median } else { test.peer_ms[engine - 1].median }
}

fn replay(run: &Replay) -> String {
    let mut out =
        format!("## Replay: {}, {}\n\n{}.  \n", run.like, run.isa, run.machine.line(run.threads));
    let pace = if run.real_time {
        "at the pace of the traces"
    } else {
        "each waited for, nothing prepared in between"
    };
    let length = run.tokens.map_or_else(
        || "until the rules say stop".to_owned(),
        |n| format!("{n} tokens generated at each request"),
    );
    let _ =
        writeln!(out, "{} traces, {} keystrokes, {pace}; {length}.\n", run.traces, run.keystrokes);
    for side in &run.sides {
        let _ = writeln!(out, "- {}: {}", side.name, side.about);
    }
    let _ = write!(out, "\n| |");
    run.sides.iter().for_each(|side| _ = write!(out, " {} |", side.name));
    let ratio = run.sides.len() == 2;
    let _ = writeln!(
        out,
        "{}\n|---|{}{}",
        if ratio { " ratio |" } else { "" },
        "---:|".repeat(run.sides.len()),
        if ratio { "---:|" } else { "" }
    );
    type Value = fn(&Side) -> f64;
    let timed: [(&str, Value); 5] = [
        ("p50 ms", |s| s.ms.p50),
        ("p95 ms", |s| s.ms.p95),
        ("p99 ms", |s| s.ms.p99),
        ("largest ms", |s| s.ms.max),
        ("p50 ms of those by the model", |s| s.model_ms.p50),
    ];
    for (name, value) in timed {
        let _ = write!(out, "| {name} |");
        run.sides.iter().for_each(|side| _ = write!(out, " {:.1} |", value(side)));
        if ratio {
            let _ =
                write!(out, " **{:.2}** |", value(&run.sides[1]) / value(&run.sides[0]).max(1e-3));
        }
        out.push('\n');
    }
    type Text = fn(&Side) -> String;
    let rows: [(&str, Text); 12] = [
        ("answered in time", |s| s.ms.n.to_string()),
        ("from memory / warm / shifted / cold", |s| {
            format!("{} / {} / {} / {}", s.memory, s.warm, s.shifted, s.cold)
        }),
        ("superseded by the next key", |s| s.superseded.to_string()),
        ("prompt in the cache, at the cursor", |s| format!("{:.1} %", 100.0 * s.reuse_typing)),
        ("prompt in the cache, on arriving elsewhere", |s| {
            format!("{:.1} %", 100.0 * s.reuse_arriving)
        }),
        ("prompt in the cache, after a line inserted above; p50 ms", |s| match s.line_above_ms.n {
            0 => "–".to_owned(),
            _ => format!("{:.1} %; {:.1}", 100.0 * s.reuse_line_above, s.line_above_ms.p50),
        }),
        ("tokens computed / generated", |s| format!("{} / {}", s.prefilled, s.generated)),
        ("tokens drafted / accepted", |s| format!("{} / {}", s.drafted, s.accepted)),
        ("flicker", |s| s.flicker.to_string()),
        ("tokens generated for nothing", |s| s.wasted.to_string()),
        ("CPU seconds", |s| format!("{:.1}", s.usage.cpu_seconds)),
        ("peak memory", |s| format!("{:.0} MB", s.usage.peak_mb)),
    ];
    for (name, value) in rows {
        let _ = write!(out, "| {name} |");
        run.sides.iter().for_each(|side| _ = write!(out, " {} |", value(side)));
        out.push_str(if ratio { " |\n" } else { "\n" });
    }
    if !run.levels.is_empty() {
        out.push_str("\n| show.eagerness | suggestions in 100 keystrokes | CPU-seconds in 1,000 keystrokes |\n|---|---:|---:|\n");
    }
    for level in &run.levels {
        let name = serde_json::to_value(level.eagerness).unwrap_or_default();
        let (shown, cpu) =
            (level.suggestions_per_100_keystrokes, level.cpu_seconds_per_1000_keystrokes);
        let _ = writeln!(out, "| {} | {shown:.1} | {cpu:.1} |", name.as_str().unwrap_or_default());
    }
    out.push('\n');
    out
}
