//! `lacuna bench report`: records as tables and graphs in a folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lacuna_plot::file::{self, Bars, Series};
use lacuna_serving::{say, write_file};

use super::record::{Decode, Kernels, Record, Replay};
use super::tables;

/// Turn what the benchmarks wrote into tables (Markdown) and graphs (SVG)
#[derive(clap::Args)]
pub struct Args {
    /// Files that `bench kernels -o`, `bench decode -o` and `bench replay -o` wrote
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder to write kernels.md, decode.md, replay.md and their graphs to
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// In a file that exists, what stands above this line is kept.
const MARK: &str = "<!-- below: written by `lacuna bench report` -->";

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (mut kernels, mut decode, mut replay) = (Vec::new(), Vec::new(), Vec::new());
    for path in &args.files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let record = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is not what bench kernels, bench decode or bench replay writes with -o",
                path.display()
            )
        })?;
        match record {
            Record::Kernels(run) => kernels.push(run),
            Record::Replay(run) => replay.push(run),
            Record::Decode(run) => {
                if run.tests.iter().any(|t| t.peer_ms.len() != run.peers.len()) {
                    bail!(
                        "{}: a test has not one result for each engine: measure again",
                        path.display()
                    );
                }
                decode.push(run);
            }
        }
    }
    let dir = &args.output;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("-o {} cannot be created", dir.display()))?;
    let (mut pages, mut graphs) = (Vec::new(), Vec::new());
    if !kernels.is_empty() {
        let mut text = String::new();
        for (i, run) in kernels.iter().enumerate() {
            let drawn = kernel_graphs(run, &suffix(i));
            show(&mut text, &drawn);
            graphs.extend(drawn);
            text += &tables::of(&Record::Kernels(run.clone()));
        }
        pages.push(("kernels.md", "# Kernels", text));
    }
    if !decode.is_empty() {
        let mut text = String::new();
        let mut names: Vec<String> = Vec::new();
        for run in &decode {
            let name = slug(&format!("{}-{}", run.like, run.isa));
            let before = names.iter().filter(|n| **n == name).count();
            let drawn = decode_graphs(run, &format!("{name}{}", suffix(before)));
            names.push(name);
            text += &tables::of(&Record::Decode(run.clone()));
            show(&mut text, &drawn);
            graphs.extend(drawn);
        }
        pages.push(("decode.md", "# The whole engine", text));
    }
    if !replay.is_empty() {
        let mut text = String::new();
        for (i, run) in replay.iter().enumerate() {
            text += &tables::of(&Record::Replay(run.clone()));
            let drawn = replay_graphs(run, &suffix(i));
            show(&mut text, &drawn);
            graphs.extend(drawn);
        }
        pages.push(("replay.md", "# Keystrokes replayed", text));
    }
    // Nothing is written before it is known that every page can be.
    let pages: Vec<(PathBuf, String)> = pages
        .into_iter()
        .map(|(file, head, text)| page(&dir.join(file), head, &text))
        .collect::<anyhow::Result<_>>()?;
    for graph in &graphs {
        write_file(&dir.join(&graph.file), graph.svg.as_bytes())?;
    }
    for (path, text) in &pages {
        write_file(path, text.as_bytes())?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

struct Graph {
    file: String,
    title: String,
    svg: String,
}

fn show(text: &mut String, graphs: &[Graph]) {
    for graph in graphs {
        let _ = writeln!(text, "![{}]({})\n", graph.title, graph.file);
    }
}

/// Tells a second run of the same kind from the first.
fn suffix(index: usize) -> String {
    if index == 0 { String::new() } else { format!("-{}", index + 1) }
}

/// A name as part of a file name.
fn slug(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// The whole page: what a person wrote above the mark, and below it what was measured.
fn page(path: &Path, head: &str, text: &str) -> anyhow::Result<(PathBuf, String)> {
    let before = match std::fs::read_to_string(path) {
        Ok(old) => match old.split_once(MARK) {
            Some((before, _)) => before.to_owned(),
            None => bail!(
                "{} was not written by bench report: move it away, or put the line {MARK} where the tables shall begin",
                path.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => format!("{head}\n\n"),
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be read", path.display()));
        }
    };
    Ok((path.to_owned(), format!("{before}{MARK}\n\n{}\n", text.trim_end())))
}

/// For the widest matrix of the first shape: speed and share of the limit against the number of
/// tokens, a line for each row.
fn kernel_graphs(run: &Kernels, suffix: &str) -> Vec<Graph> {
    let Some(sample) = run
        .rows
        .iter()
        .flat_map(|r| &r.cases)
        .find(|c| c.op == "int4 product" && c.what.starts_with("gate"))
    else {
        return Vec::new();
    };
    let series = |value: &dyn Fn(&super::record::KernelCase) -> Option<f64>| -> Vec<Series> {
        let of_row = |row: &super::record::KernelRow| {
            let alike = row.cases.iter().filter(|c| {
                c.cold && (&c.op, &c.like, &c.what) == (&sample.op, &sample.like, &sample.what)
            });
            Series {
                name: row.isa.clone(),
                points: alike.filter_map(|c| Some((c.m as f64, value(c)?))).collect(),
            }
        };
        run.rows.iter().map(of_row).collect()
    };
    let what = format!("{}, {}", sample.like, sample.what);
    let speed = format!("INT4 product, {what}: speed against the number of tokens");
    let share = format!("INT4 product, {what}: share of the nearer limit");
    vec![
        Graph {
            file: format!("kernels-speed{suffix}.svg"),
            svg: file::lines(&speed, "tokens at once (M)", "TOPS", &series(&|c| c.tops)),
            title: speed,
        },
        Graph {
            file: format!("kernels-limit{suffix}.svg"),
            svg: file::lines(
                &share,
                "tokens at once (M)",
                "% of limit",
                &series(&|c| c.of_limit.map(|v| v * 100.0)),
            ),
            title: share,
        },
    ]
}

fn decode_graphs(run: &Decode, name: &str) -> Vec<Graph> {
    let engines: Vec<_> = std::iter::once(&run.ours).chain(&run.peers).collect();
    let titles: Vec<String> = engines.iter().map(|e| tables::title(e)).collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let of = |test: &super::record::Test, i: usize| {
        if i == 0 { test.ours_ms } else { test.peer_ms[i - 1] }
    };
    let what = format!("{}, {}", run.like, run.isa);

    // Speeds differ by orders of magnitude between tests: each group is drawn against its fastest.
    let mut groups = Vec::new();
    let mut shares = Vec::new();
    for test in &run.tests {
        let speeds: Vec<f64> = (0..engines.len()).map(|i| test.speed(&of(test, i))).collect();
        let fastest = speeds.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let bars = speeds.iter().map(|v| Some((v / fastest, format!("{v:.1} tok/s")))).collect();
        groups.push(Bars { label: test.name.clone(), bars });
        let share = |i: usize| {
            let (share, bound) = test.of_limit(engines[i], &of(test, i));
            Some((share, format!("{:.0} % ({})", share * 100.0, bound.name())))
        };
        shares
            .push(Bars { label: test.name.clone(), bars: (0..engines.len()).map(share).collect() });
    }
    let speed = format!("{what}: tokens a second, each test against its fastest");
    let limit = format!("{what}: share of the nearer limit of the machine");
    let mut graphs = vec![
        Graph {
            file: format!("decode-{name}-speed.svg"),
            svg: file::bars(&speed, &titles, &groups, None),
            title: speed,
        },
        Graph {
            file: format!("decode-{name}-limit.svg"),
            svg: file::bars(&limit, &titles, &shares, Some(1.0)),
            title: limit,
        },
    ];

    let few = |t: &&super::record::Test| !t.generate && t.depth > 0;
    let series: Vec<Series> = (0..engines.len())
        .map(|i| {
            let mut points: Vec<(f64, f64)> =
                run.tests.iter().filter(few).map(|t| (t.tokens as f64, of(t, i).median)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series { name: titles[i].to_owned(), points }
        })
        .collect();
    if series[0].points.len() > 1 {
        let title = format!("{what}: time of a few tokens in one go");
        graphs.push(Graph {
            file: format!("decode-{name}-m.svg"),
            svg: file::lines(&title, "tokens at once (M)", "ms", &series),
            title,
        });
    }
    graphs
}

/// The share of keystrokes that were answered within a time.
fn replay_graphs(run: &Replay, suffix: &str) -> Vec<Graph> {
    let series: Vec<Series> = run
        .sides
        .iter()
        .map(|side| {
            let mut ms: Vec<f64> = side.keys.iter().filter_map(|k| k.ms).collect();
            ms.sort_by(f64::total_cmp);
            let n = ms.len() as f64;
            Series {
                name: side.name.clone(),
                points: ms.iter().enumerate().map(|(i, ms)| (*ms, (i + 1) as f64 / n)).collect(),
            }
        })
        .collect();
    let title = format!("{}, {}: keystrokes answered within a time", run.like, run.isa);
    let file = format!("replay-{}{suffix}.svg", slug(&format!("{}-{}", run.like, run.isa)));
    vec![Graph {
        file,
        svg: file::cumulative(&title, "ms from keystroke to answer", &series),
        title,
    }]
}
