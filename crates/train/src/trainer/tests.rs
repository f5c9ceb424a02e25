//! The trainer as a whole on tiny models: gradient, masking, exact resumption, hostile files.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use lacuna_kernels::Int4Matrix;
use lacuna_kernels::gemm::Row;

use super::random::Random;
use super::*;

fn tiny() -> Shape {
    Shape { d: 16, layers: 2, heads: 4, kv_heads: 2, head_dim: 8, ff: 24, vocab: 40, max_positions: 64, ..Shape::default() }
}

/// Documents of the given lengths with a middle each, as one batch.
fn batch(lengths: &[usize], vocab: usize, seed: u64) -> Batch {
    let mut random = Random::new(seed);
    let mut batch = Batch::default();
    for &n in lengths {
        let mut row: Vec<u16> = (0..n).map(|_| (5 + random.below(vocab - 5)) as u16).collect();
        row[n / 2] = MIDDLE;
        row.push(END);
        batch.push_row(&row, 2.0);
    }
    batch
}

/// Weights large enough that every part of the gradient is well above the rounding of f32.
fn weights(layout: &Layout) -> Vec<f32> {
    let mut p = layout.initial(0.3, 11);
    let mut random = Random::new(5);
    for t in layout.tensors.iter().filter(|t| t.kind == Kind::Norm) {
        p[t.range.clone()].iter_mut().for_each(|w| *w += 0.2 * random.normal());
    }
    p
}

fn gradient(shape: &Shape, row: Row, p: &[f32], batch: &Batch) -> (f64, Vec<f32>) {
    let mut model = Model::new(shape, row, 2048).expect("a model");
    let mut g = vec![0.0; p.len()];
    let losses = model.losses_and_gradient(p, batch, batch.weight(), &mut g).expect("a batch that fits");
    (losses.objective(), g)
}

#[test]
fn gradient_equals_finite_differences_in_every_tensor() {
    let shape = tiny();
    let batch = batch(&[9, 30, 3, 17], shape.vocab, 1);
    let layout = Layout::new(&shape);
    let p = weights(&layout);
    let (_, g) = gradient(&shape, Row::F32, &p, &batch);
    let mut model = Model::new(&shape, Row::F32, 64).expect("a model");
    let mut random = Random::new(9);
    for t in &layout.tensors {
        // Along the gradient itself, where the signal is largest, and along random directions.
        let norm = g[t.range.clone()].iter().map(|g| g * g).sum::<f32>().sqrt();
        assert!(norm > 1e-4, "{} has no gradient", t.name);
        for trial in 0..3 {
            let mut direction: Vec<f32> = g[t.range.clone()].iter().map(|g| g / norm).collect();
            if trial > 0 {
                let length = (direction.len() as f32).sqrt();
                direction.iter_mut().for_each(|d| *d = 0.7 * *d + 0.7 * random.normal() / length);
            }
            let want: f64 = g[t.range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            let mut at = |h: f32| {
                let mut q = p.clone();
                q[t.range.clone()].iter_mut().zip(&direction).for_each(|(q, d)| *q += h * d);
                model.losses(&q, &batch).expect("a loss").objective()
            };
            let h = 0.01;
            let got = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
            let error = (got - want).abs() / want.abs().max(0.02);
            assert!(error < 0.01, "{} trial {trial}: {got} by differences, {want} by the backward pass", t.name);
        }
    }
}

#[test]
fn bf16_follows_f32() {
    let shape = Shape { d: 64, layers: 2, heads: 4, kv_heads: 2, head_dim: 16, ff: 160, vocab: 300, ..Shape::default() };
    let batch = batch(&[150, 60, 33, 300], shape.vocab, 2);
    let p = Layout::new(&shape).initial(0.05, 4);
    let (want, g) = gradient(&shape, Row::F32, &p, &batch);
    let mut compared = 0;
    for row in [Row::Bf16, Row::Amx].into_iter().filter(|r| r.is_available()) {
        let (got, h) = gradient(&shape, row, &p, &batch);
        assert!((got - want).abs() / want < 0.01, "{row}: loss {got}, f32 {want}");
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let cosine = dot(&g, &h) / (dot(&g, &g) * dot(&h, &h)).sqrt();
        assert!(cosine > 0.999, "{row}: cosine {cosine}");
        compared += 1;
    }
    if compared == 0 {
        eprintln!("skipped: no bf16 row");
    }
}

#[test]
fn documents_do_not_see_each_other() {
    let shape = tiny();
    let lengths = [40, 7, 200, 131, 3];
    let all = batch(&lengths, shape.vocab, 3);
    let p = weights(&Layout::new(&shape));
    let (_, g) = gradient(&shape, Row::F32, &p, &all);
    let mut model = Model::new(&shape, Row::F32, 256).expect("a model");
    let together = model.losses(&p, &all).expect("a loss");
    let (mut one_by_one, mut summed, mut from) = (Losses::default(), vec![0.0; p.len()], 0);
    for &n in &all.documents {
        let part = Batch {
            inputs: all.inputs[from..from + n].to_vec(),
            targets: all.targets[from..from + n].to_vec(),
            weights: all.weights[from..from + n].to_vec(),
            middle: all.middle[from..from + n].to_vec(),
            documents: vec![n],
        };
        one_by_one.add(&model.losses_and_gradient(&p, &part, all.weight(), &mut summed).expect("a loss"));
        from += n;
    }
    assert!((together.objective() - one_by_one.objective()).abs() < 1e-5);
    assert!((together.middle_mean() - one_by_one.middle_mean()).abs() < 1e-5);
    let (size, off) = g.iter().zip(&summed).fold((0.0, 0.0), |(s, o), (a, b)| (s + a * a, o + (a - b) * (a - b)));
    assert!(off.sqrt() < 1e-4 * size.sqrt(), "gradients differ by {}", (off / size).sqrt());
}

#[test]
fn a_fresh_model_knows_nothing_and_learns_a_pattern() {
    let (dir, config) = scene(30);
    let shards = Shards::load(dir.path()).expect("shards");
    let mut trainer = Trainer::new(config, &shards, Row::F32, 1).expect("a trainer");
    let first = trainer.step().expect("a step").loss;
    assert!((first - (40f64).ln()).abs() < 0.3, "{first}");
    let last = (0..29).map(|_| trainer.step().expect("a step").loss).last().unwrap_or(first);
    assert!(last < 0.6 * first, "{first} to {last}");
}

/// Shards whose rows count upwards, and a configuration of `steps` steps for them.
fn scene(steps: u64) -> (tempfile::TempDir, RunConfig) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = Random::new(8);
    let mut rows = |n: usize| {
        let mut tokens = Vec::new();
        for _ in 0..n {
            let first = random.below(30) as u16;
            tokens.extend((0..20).map(|i| 5 + (first + i) % 35));
            tokens.extend([END, 7, MIDDLE, 8, 9, END]);
            tokens.extend([PAD; 6]);
        }
        Rows::new(tokens, 32)
    };
    write_shards(dir.path(), &rows(13), &rows(3), 40, b"{}").expect("shards written");
    let optimizer = OptimizerConfig { rate: 1e-2, other_rate: 1e-2, ..OptimizerConfig::default() };
    let config = RunConfig {
        shape: tiny(),
        optimizer,
        steps: Some(steps),
        rows_per_step: 4,
        rows_per_pass: 3,
        warmup_steps: 3,
        validate_every: 4,
        checkpoint_every: 3,
        ..RunConfig::default()
    };
    (dir, config)
}

#[derive(Default)]
struct Record {
    losses: Vec<(u64, u64)>,
    validations: Vec<u64>,
}

impl Progress for Record {
    fn step(&mut self, report: &StepReport, _: std::time::Duration) {
        self.losses.push((report.step, report.loss.to_bits()));
    }
    fn validation(&mut self, report: &ValidationReport) {
        self.validations.push(report.validation_loss.to_bits());
    }
}

/// Sets the flag after a step.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Progress for StopAfter<'_> {
    fn step(&mut self, report: &StepReport, _: std::time::Duration) {
        self.1.store(report.step >= self.0, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn an_interrupted_run_goes_on_to_the_bit() {
    for rule in [Rule::AdamW, Rule::Muon] {
        let row = Row::choose();
        let (dir, mut config) = scene(9);
        config.optimizer.rule = rule;
        let shards = Shards::load(dir.path()).expect("shards");
        let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
        let stop = AtomicBool::new(false);
        let mut want = Record::default();
        let mut trainer = Trainer::new(config.clone(), &shards, row, 2).expect("a trainer");
        let end = trainer.run(&whole, &stop, &mut want).expect("a run");
        assert_eq!(end, Outcome::Finished(whole.join("step-000009")));

        let mut first = Trainer::new(config.clone(), &shards, row, 2).expect("a trainer");
        let stopped = first.run(&broken, &stop, &mut StopAfter(5, &stop)).expect("a run");
        assert_eq!(stopped, Outcome::Stopped(broken.join("step-000005")));
        drop(first);
        let stop = AtomicBool::new(false);
        let mut got = Record::default();
        let mut second = Trainer::resume(&broken, config.clone(), &shards, row, 1).expect("the checkpoint");
        second.run(&broken, &stop, &mut got).expect("a run");
        assert_eq!(got.losses, want.losses[5..], "{rule:?}");
        assert_eq!(got.validations, want.validations[1..], "{rule:?}");
        assert!(trainer.parameters().iter().zip(second.parameters()).all(|(a, b)| a.to_bits() == b.to_bits()));

        let names = |dir: &Path| {
            let entries = std::fs::read_dir(dir).expect("a directory").flatten();
            let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&whole), ["latest", "log.jsonl", "step-000006", "step-000009"]);
        let files = ["config.json", "model.safetensors", "optimizer.safetensors", "state.json", "tokenizer.json"];
        assert_eq!(names(&whole.join("step-000009")), files);
        let log = std::fs::read_to_string(broken.join("log.jsonl")).expect("a log");
        assert_eq!(log.lines().filter(|l| l.contains("\"grad_norm\"")).count(), 9);

        let fresh = Trainer::init_from(&whole, config.clone(), &shards, row, 1).expect("weights");
        assert_eq!(fresh.parameters(), trainer.parameters());
        assert_eq!(fresh.state().step, 0);
        config.seed += 1;
        assert!(Trainer::resume(&whole, config, &shards, row, 1).is_err(), "another seed is another run");
    }
}

#[test]
fn a_run_with_int4_computes_with_what_the_packed_model_holds() {
    let (dir, mut config) = scene(24);
    config.int4 = true;
    let shards = Shards::load(dir.path()).expect("shards");
    let mut trainer = Trainer::new(config.clone(), &shards, Row::F32, 2).expect("a trainer");
    let before = trainer.validate().expect("a validation").expect("rows").validation_loss;
    trainer.run(&dir.path().join("run"), &AtomicBool::new(false), &mut ()).expect("a run");
    let after = trainer.validate().expect("a validation").expect("rows").validation_loss;
    assert!(after < before, "{before} -> {after}");

    let mut rounded = trainer.parameters().to_vec();
    for t in Layout::new(&config.shape).tensors.iter().filter(|t| t.kind != Kind::Norm) {
        let weights = &mut rounded[t.range.clone()];
        let matrix = Int4Matrix::quantize(t.rows, t.cols, weights).expect("finite");
        weights.chunks_exact_mut(t.cols).enumerate().for_each(|(i, row)| matrix.dequantize_row(i, row));
    }
    assert_ne!(rounded, trainer.parameters(), "the optimizer keeps the full weights");
    let mut batch = Batch::default();
    (0..shards.validation.len()).for_each(|i| batch.push_row(shards.validation.row(i), 1.0));
    let mut model = Model::new(&config.shape, Row::F32, shards.seq_len).expect("a model");
    assert_eq!(model.losses(&rounded, &batch).expect("losses").mean(), after);
    assert_ne!(model.losses(trainer.parameters(), &batch).expect("losses").mean(), after);
}

fn refused(dir: &Path, part: &str) {
    let error = Shards::load(dir).expect_err(part).to_string();
    assert!(error.contains(part), "{error:?} does not say {part:?}");
}

#[test]
fn hostile_shards_are_refused_by_name() {
    let (dir, _) = scene(1);
    let manifest = dir.path().join("shards.json");
    let sound = std::fs::read_to_string(&manifest).expect("a manifest");
    assert!(Shards::load(dir.path()).is_ok());
    let edits = [
        ("\"n_rows\":13", "\"n_rows\":14", "list 13 rows"),
        ("\"rows\":13", "\"rows\":12", "list 12 rows"),
        ("\"seq_len\":32", "\"seq_len\":0", "out of range"),
        ("\"seq_len\":32", "\"seq_len\":64", "shards.json lists"),
        ("\"n_vocab\":40", "\"n_vocab\":39", "outside the vocabulary"),
        ("train-000.tok.zst", "../x.zst", "not a plain file name"),
        ("train-000.tok.zst", "missing.zst", "missing.zst"),
        ("\"rows\":3", "\"rows\":1844674407370955", "more than"),
        ("\"sha256\":\"", "\"sha256\":\"0", "SHA-256"),
        ("\"tokenizer_sha256\":\"", "\"tokenizer_sha256\":\"0", "tokenizer.json"),
        ("{", "", "no shard manifest"),
    ];
    for (from, to, part) in edits {
        let edited = sound.replacen(from, to, 1);
        assert_ne!(edited, sound, "{from}");
        std::fs::write(&manifest, edited).expect("written");
        refused(dir.path(), part);
    }
    std::fs::remove_file(&manifest).expect("removed");
    refused(dir.path(), "shards.json");
}

#[test]
fn hostile_checkpoints_are_refused_by_name() {
    let (dir, config) = scene(1);
    let shards = Shards::load(dir.path()).expect("shards");
    let run = dir.path().join("run");
    let stop = AtomicBool::new(false);
    let mut trainer = Trainer::new(config.clone(), &shards, Row::F32, 1).expect("a trainer");
    trainer.run(&run, &stop, &mut ()).expect("a run");
    let checkpoint = run.join("step-000001");
    let check = |file: &str, bytes: &[u8], part: &str| {
        let path = checkpoint.join(file);
        let sound = std::fs::read(&path).expect("a file");
        std::fs::write(&path, bytes).expect("written");
        let error = match Trainer::resume(&run, config.clone(), &shards, Row::F32, 1) {
            Ok(_) => panic!("{file}: {part} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(part), "{error:?} does not say {part:?}");
        std::fs::write(&path, sound).expect("restored");
    };
    let model = std::fs::read(checkpoint.join("model.safetensors")).expect("a model");
    check("model.safetensors", &model[..model.len() / 2], "no safetensors file");
    check("model.safetensors", &[0xff; 64], "no safetensors file");
    check("optimizer.safetensors", &model, "has no tensor `m.");
    check("state.json", b"{", "no checkpoint state");
    let text = std::fs::read_to_string(checkpoint.join("config.json")).expect("a configuration");
    check("config.json", text.replace("40", "41").as_bytes(), "sizes");
    check("config.json", text.replace("\"hidden_size\": 16", "\"hidden_size\": 99999999999").as_bytes(), "model sizes");
    check("config.json", text.replace("true", "false").as_bytes(), "tie_word_embeddings");
    std::fs::write(run.join("latest"), "../../etc").expect("written");
    assert!(Trainer::resume(&run, config, &shards, Row::F32, 1).is_err());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let (dir, config) = scene(1);
    let shards = Shards::load(dir.path()).expect("shards");
    let broken = [
        RunConfig { steps: None, ..config.clone() },
        RunConfig { rows_per_step: 0, ..config.clone() },
        RunConfig { middle_weight: f32::NAN, ..config.clone() },
        RunConfig { shape: Shape { kv_heads: 3, ..tiny() }, ..config.clone() },
        RunConfig { shape: Shape { vocab: 41, ..tiny() }, ..config.clone() },
        RunConfig { shape: Shape { layers: 0, ..tiny() }, ..config },
    ];
    for config in broken {
        assert!(Trainer::new(config.clone(), &shards, Row::F32, 1).is_err(), "{config:?}");
    }
}
