//! The trainer as a whole on tiny models: gradient, masking, exact resumption, hostile files.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use lacuna_kernels::Int4Matrix;
use lacuna_kernels::gemm::Row;

use super::checkpoint::EarlierShards;
use super::random::Random;
use super::*;
use crate::markers::Markers;

fn tiny() -> Shape {
    Shape {
        d: 16,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        ff: 24,
        vocab: 40,
        max_positions: 64,
        ..Shape::default()
    }
}

/// Documents of the given lengths with a middle each, as one batch.
fn batch(lengths: &[usize], vocab: usize, seed: u64) -> Batch {
    let (mut random, markers) = (Random::new(seed), Markers::default());
    let mut batch = Batch::default();
    for &n in lengths {
        let mut row: Vec<u16> = (0..n).map(|_| (5 + random.below(vocab - 5)) as u16).collect();
        row[n / 2] = markers.middle;
        row.push(markers.end);
        batch.push_row(&row, markers, 2.0);
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
    let losses =
        model.losses_and_gradient(p, batch, batch.weight(), &mut g).expect("a batch that fits");
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
            let want: f64 =
                g[t.range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            let mut at = |h: f32| {
                let mut q = p.clone();
                q[t.range.clone()].iter_mut().zip(&direction).for_each(|(q, d)| *q += h * d);
                model.losses(&q, &batch).expect("a loss").objective()
            };
            let h = 0.01;
            let got =
                (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * f64::from(h));
            let error = (got - want).abs() / want.abs().max(0.02);
            assert!(
                error < 0.01,
                "{} trial {trial}: {got} by differences, {want} by the backward pass",
                t.name
            );
        }
    }
}

#[test]
fn bf16_follows_f32() {
    let shape = Shape {
        d: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ff: 160,
        vocab: 300,
        ..Shape::default()
    };
    let batch = batch(&[150, 60, 33, 300], shape.vocab, 2);
    let p = Layout::new(&shape).initial(0.05, 4);
    let (want, g) = gradient(&shape, Row::F32, &p, &batch);
    let mut compared = 0;
    for row in [Row::Bf16, Row::Amx].into_iter().filter(|r| r.is_available()) {
        let (got, h) = gradient(&shape, row, &p, &batch);
        assert!((got - want).abs() / want < 0.01, "{row}: loss {got}, f32 {want}");
        let dot = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
        };
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
        one_by_one
            .add(&model.losses_and_gradient(&p, &part, all.weight(), &mut summed).expect("a loss"));
        from += n;
    }
    assert!((together.objective() - one_by_one.objective()).abs() < 1e-5);
    assert!((together.middle_mean() - one_by_one.middle_mean()).abs() < 1e-5);
    let (size, off) =
        g.iter().zip(&summed).fold((0.0, 0.0), |(s, o), (a, b)| (s + a * a, o + (a - b) * (a - b)));
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
            tokens.extend([0, 7, 2, 8, 9, 0]);
            tokens.extend([4; 6]);
        }
        Rows::new(tokens, 32)
    };
    write_shards(dir.path(), &rows(13), &rows(3), 40, b"{}").expect("shards written");
    let optimizer =
        OptimizerConfig { rate: 1e-2, embedding_rate: 1e-2, ..OptimizerConfig::default() };
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

/// Losses after 1, 6 and 12 steps, and a hash of the parameters' bits, which the output shows:
/// whoever rebuilds without meaning to change a result finds the same hash before and after.
#[test]
fn runs_have_the_losses_of_earlier_versions() {
    let adapter = Some(AdapterConfig { rank: 4, alpha: 8.0, tokens: vec![0, 2] });
    let runs = [
        ("full", Rule::AdamW, None, 0, false, [3.692_07, 3.197_40, 2.539_56]),
        ("muon", Rule::Muon, None, 0, false, [3.692_07, 3.213_52, 2.631_08]),
        ("int4", Rule::AdamW, None, 0, true, [3.689_78, 3.203_08, 2.556_60]),
        ("adapter", Rule::AdamW, adapter.clone(), 0, false, [3.692_07, 3.587_69, 3.437_82]),
        (
            "adapter on int4, one layer frozen",
            Rule::AdamW,
            adapter,
            1,
            true,
            [3.689_78, 3.649_94, 3.602_67],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, rule, adapter, frozen_layers, int4, want) in runs {
        let (dir, mut config) = scene(12);
        config.optimizer.rule = rule;
        let config = RunConfig { adapter, frozen_layers, int4, ..config };
        let shards = Shards::load(dir.path()).expect("shards");
        let mut trainer = Trainer::new(config, &shards, Row::F32, 2).expect("a trainer");
        let losses: Vec<f64> = (0..12).map(|_| trainer.step().expect("a step").loss).collect();
        let got = [losses[0], losses[5], losses[11]];
        eprintln!("{name}: {got:?}, parameters {:016x}", hash(trainer.parameters()));
        if !got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-4) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The same of one gradient whose batch fills several parts, blocks and parts of the vocabulary.
#[test]
fn a_larger_gradient_is_that_of_earlier_versions() {
    let shape = Shape {
        d: 72,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ff: 200,
        vocab: 1_500,
        ..Shape::default()
    };
    let batch = batch(&[150, 60, 33, 700, 1, 300, 5], shape.vocab, 2);
    let p = Layout::new(&shape).initial(0.05, 4);
    let (loss, g) = gradient(&shape, Row::F32, &p, &batch);
    let norm = g.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
    eprintln!("{loss} {norm} {:016x}", hash(&g));
    assert!((loss - 7.398_117).abs() < 1e-5 && (norm - 0.816_092).abs() < 1e-5, "{loss} {norm}");
}

fn hash(numbers: &[f32]) -> u64 {
    numbers.iter().fold(0xcbf2_9ce4_8422_2325, |hash, x| {
        (hash ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
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
        let mut second =
            Trainer::resume(&broken, config.clone(), &shards, row, 1).expect("the checkpoint");
        second.run(&broken, &stop, &mut got).expect("a run");
        assert_eq!(got.losses, want.losses[5..], "{rule:?}");
        assert_eq!(got.validations, want.validations[1..], "{rule:?}");
        assert!(
            trainer
                .parameters()
                .iter()
                .zip(second.parameters())
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );

        let names = |dir: &Path| {
            let entries = std::fs::read_dir(dir).expect("a directory").flatten();
            let mut names: Vec<_> =
                entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&whole), ["latest", "log.jsonl", "step-000006", "step-000009"]);
        let files = [
            "config.json",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
            "tokenizer.json",
        ];
        assert_eq!(names(&whole.join("step-000009")), files);
        let log = std::fs::read_to_string(broken.join("log.jsonl")).expect("a log");
        assert_eq!(log.lines().filter(|l| l.contains("\"grad_norm\"")).count(), 9);

        let fresh = Trainer::init_from(&whole, config.clone(), &shards, row, 1).expect("weights");
        assert_eq!(fresh.parameters(), trainer.parameters());
        assert_eq!(fresh.state().step, 0);
        config.seed += 1;
        assert!(
            Trainer::resume(&whole, config, &shards, row, 1).is_err(),
            "another seed is another run"
        );
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
        weights
            .chunks_exact_mut(t.cols)
            .enumerate()
            .for_each(|(i, row)| matrix.dequantize_row(i, row));
    }
    assert_ne!(rounded, trainer.parameters(), "the optimizer keeps the full weights");
    let mut batch = Batch::default();
    (0..shards.validation.len())
        .for_each(|i| batch.push_row(shards.validation.row(i), shards.markers, 1.0));
    let mut model = Model::new(&config.shape, Row::F32, shards.seq_len).expect("a model");
    assert_eq!(model.losses(&rounded, &batch).expect("losses").mean(), after);
    assert_ne!(model.losses(trainer.parameters(), &batch).expect("losses").mean(), after);
}

fn adapters(shape: &Shape, layout: &Layout, base: Vec<f32>, frozen: usize) -> Adapter {
    let config = AdapterConfig { rank: 3, alpha: 6.0, tokens: vec![1, 2, 7] };
    config.check(shape.vocab).expect("sound");
    let mut adapter = Adapter::new(layout, base, config, frozen, 4);
    // `B` is zero at first, and then `A` has no gradient.
    let mut values = adapter.values().to_vec();
    let mut random = Random::new(9);
    for t in adapter.tensors().iter().filter(|t| t.kind == Kind::Adapter) {
        values[t.range.clone()].iter_mut().for_each(|x| *x += 0.1 * random.normal());
    }
    adapter.set_values(values);
    adapter
}

#[test]
fn fresh_adapters_change_nothing_and_the_sum_is_the_merged_matrix() {
    let shape = tiny();
    let layout = Layout::new(&shape);
    let base = weights(&layout);
    let config = AdapterConfig { rank: 3, alpha: 6.0, tokens: vec![1, 2, 7] };
    assert_eq!(Adapter::new(&layout, base.clone(), config, 0, 4).operand(), base);
    let adapter = adapters(&shape, &layout, base.clone(), 0);
    let t = layout
        .tensors
        .iter()
        .find(|t| t.name.ends_with("layers.1.self_attn.k_proj.weight"))
        .expect("a projection");
    let factor = |suffix: &str| {
        let name = format!("base_model.model.model.layers.1.self_attn.k_proj.{suffix}.weight");
        let t = adapter.tensors().iter().find(|t| t.name == name).expect("a factor");
        adapter.values()[t.range.clone()].to_vec()
    };
    let (a, b) = (factor("lora_A"), factor("lora_B"));
    for row in 0..t.rows {
        for col in 0..t.cols {
            let product: f32 = (0..3).map(|i| b[row * 3 + i] * a[i * t.cols + col]).sum();
            let at = t.range.start + row * t.cols + col;
            assert!((adapter.operand()[at] - (base[at] + 2.0 * product)).abs() < 1e-5);
        }
    }
}

/// The gradient of every trained tensor along a direction, against the loss a little to both sides.
#[test]
fn the_gradient_of_adapters_is_that_of_the_loss() {
    let shape = tiny();
    let layout = Layout::new(&shape);
    let batch = batch(&[40, 9, 23], shape.vocab, 3);
    for frozen in [0, 1] {
        let mut adapter = adapters(&shape, &layout, weights(&layout), frozen);
        let mut model = Model::new(&shape, Row::F32, 256).expect("a model");
        model.set_frozen(frozen, Some(vec![1, 2, 7]));
        let mut g = vec![0.0; layout.n_parameters()];
        model
            .losses_and_gradient(adapter.operand(), &batch, batch.weight(), &mut g)
            .expect("a loss");
        let tensors = adapter.tensors().to_vec();
        // A step of size 0 leaves the gradient of the trained values in the first moment, times
        // 0.1.
        let n = adapter.values().len();
        let mut optimizer = Optimizer::new(n);
        let still = OptimizerConfig {
            clip: 1e9,
            rate: 1e-30,
            embedding_rate: 1e-30,
            ..OptimizerConfig::default()
        };
        let before = adapter.values().to_vec();
        adapter.step(&g, &mut optimizer, &still, 1.0, Row::F32);
        let mut loss = |values: Vec<f32>| {
            adapter.set_values(values);
            model.losses(adapter.operand(), &batch).expect("a loss").objective()
        };
        for t in &tensors {
            let gradient: Vec<f32> =
                optimizer.m[t.range.clone()].iter().map(|m| m * 10.0).collect();
            let size = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
            assert!(size > 1e-4, "{}: no gradient", t.name);
            let moved = |by: f32| {
                let mut values = before.clone();
                values[t.range.clone()]
                    .iter_mut()
                    .zip(&gradient)
                    .for_each(|(x, g)| *x += by * g / size);
                values
            };
            let slope = (loss(moved(5e-3)) - loss(moved(-5e-3))) / 1e-2;
            assert!(
                (slope - f64::from(size)).abs() < 2e-2 * f64::from(size) + 2e-4,
                "{}: {slope} is not {size}",
                t.name
            );
        }
    }
}

#[test]
fn frozen_layers_stay_and_the_others_have_the_gradient_of_the_whole() {
    let shape = tiny();
    let layout = Layout::new(&shape);
    let (p, batch) = (weights(&layout), batch(&[40, 9, 23], shape.vocab, 3));
    let (_, whole) = gradient(&shape, Row::F32, &p, &batch);
    let mut model = Model::new(&shape, Row::F32, 256).expect("a model");
    model.set_frozen(1, None);
    let mut part = vec![0.0; p.len()];
    model.losses_and_gradient(&p, &batch, batch.weight(), &mut part).expect("a loss");
    let full = Full::new(&layout, p, 1);
    for t in &layout.tensors {
        let trained = full.tensors().iter().any(|other| other.name == t.name);
        assert_eq!(
            trained,
            t.name.contains("layers.1.") || t.name == "model.norm.weight",
            "{}",
            t.name
        );
        let (part, whole) = (&part[t.range.clone()], &whole[t.range.clone()]);
        assert!(if trained { part == whole } else { part.iter().all(|g| *g == 0.0) }, "{}", t.name);
    }
}

#[test]
fn a_run_with_adapters_learns_goes_on_to_the_bit_and_merges() {
    for (frozen_layers, int4) in [(0, false), (1, true)] {
        let (dir, config) = scene(12);
        let adapter = Some(AdapterConfig { rank: 4, alpha: 8.0, tokens: vec![0, 2] });
        let config = RunConfig { adapter, frozen_layers, int4, ..config };
        let shards = Shards::load(dir.path()).expect("shards");
        let (whole, broken) = (dir.path().join("whole"), dir.path().join("broken"));
        let stop = AtomicBool::new(false);
        let mut want = Record::default();
        let mut trainer = Trainer::new(config.clone(), &shards, Row::F32, 2).expect("a trainer");
        let base = trainer.parameters().to_vec();
        trainer.run(&whole, &stop, &mut want).expect("a run");
        let (first, last) = (f64::from_bits(want.losses[0].1), f64::from_bits(want.losses[11].1));
        assert!(last < first, "{first} to {last}");

        let mut begun = Trainer::new(config.clone(), &shards, Row::F32, 2).expect("a trainer");
        begun.run(&broken, &stop, &mut StopAfter(5, &stop)).expect("a run");
        let mut got = Record::default();
        // Whoever goes on need not say again what is adapted, nor the sizes.
        let plain = RunConfig {
            adapter: None,
            frozen_layers: 0,
            shape: Shape::default(),
            ..config.clone()
        };
        let mut second =
            Trainer::resume(&broken, plain, &shards, Row::F32, 1).expect("the checkpoint");
        second.run(&broken, &AtomicBool::new(false), &mut got).expect("a run");
        assert_eq!(got.losses, want.losses[5..]);
        assert_eq!(second.parameters(), trainer.parameters());

        let checkpoint = locate(&whole).expect("a checkpoint");
        assert!(!checkpoint.join("model.safetensors").exists(), "the base alone is not the model");
        assert_eq!(read_weights(&checkpoint, &tiny()).expect("weights"), trainer.parameters());
        let layout = Layout::new(&tiny());
        for t in &layout.tensors {
            let same = base[t.range.clone()] == trainer.parameters()[t.range.clone()];
            assert_eq!(
                same,
                frozen_layers > 0 && (t.kind == Kind::Embedding || t.name.contains("layers.0.")),
                "{}",
                t.name
            );
        }
        let written = dir.path().join("snapshot");
        snapshot(&whole, &written).expect("a snapshot");
        let merged = read_weights(&written, &tiny()).expect("weights");
        assert!(
            merged
                .iter()
                .zip(trainer.parameters())
                .all(|(a, b)| (a - b).abs() <= 1e-3 * b.abs().max(1e-3))
        );

        // The adapters alone, over the same base, are the same model; over another base they are
        // refused.
        let (alone, base_dir) = (dir.path().join("alone"), dir.path().join("base"));
        snapshot_adapters(&whole, &alone).expect("adapters");
        assert!(
            !alone.join("model.safetensors").exists() && alone.join("adapter_config.json").exists()
        );
        write_model(&base_dir, &tiny(), &base, b"{}").expect("a base");
        let (adapter, frozen) = adapters_of(&alone).expect("what was adapted");
        let again = RunConfig { adapter, frozen_layers: frozen, ..config };
        let rounded = read_weights(&base_dir, &tiny()).expect("weights");
        let mut third =
            Trainer::init_from(&base_dir, again.clone(), &shards, Row::F32, 1).expect("a trainer");
        let refused =
            third.take_adapters(&alone).expect_err("f16 is not what they were trained on");
        assert!(refused.to_string().contains("other weights"), "{refused}");
        assert_ne!(rounded, base);
        let mut fourth = Trainer::new(again, &shards, Row::F32, 1).expect("a trainer");
        assert_eq!(fourth.parameters(), base, "the seed decides the base");
        fourth.take_adapters(&alone).expect("the same base");
        let distance = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
        };
        let (rounding, learnt) = (
            distance(fourth.parameters(), trainer.parameters()),
            distance(&base, trainer.parameters()),
        );
        assert!(rounding < 0.01 * learnt, "{rounding} of {learnt}");
    }
}

#[test]
fn a_run_goes_on_with_other_shards_and_says_so() {
    let (dir, config) = scene(4);
    let shards = Shards::load(dir.path()).expect("shards");
    let run = dir.path().join("run");
    let mut trainer = Trainer::new(config.clone(), &shards, Row::F32, 1).expect("a trainer");
    trainer.run(&run, &AtomicBool::new(false), &mut ()).expect("a run");
    let mut others = shards.clone();
    others.fingerprint = "another".to_owned();
    let config = RunConfig { steps: Some(6), ..config };
    let mut second =
        Trainer::resume(&run, config.clone(), &others, Row::F32, 1).expect("the checkpoint");
    let state = second.state();
    assert_eq!((state.step, state.row), (4, 0));
    assert_eq!(
        state.earlier_shards,
        [EarlierShards { shards: shards.fingerprint.clone(), until_step: 4 }]
    );
    second.run(&run, &AtomicBool::new(false), &mut ()).expect("a run");
    let third =
        Trainer::resume(&run, config.clone(), &others, Row::F32, 1).expect("the checkpoint");
    assert_eq!(third.state().earlier_shards.len(), 1);
    others.tokenizer = b"{ }".to_vec();
    let refused = Trainer::resume(&run, config, &others, Row::F32, 1)
        .err()
        .expect("another tokenizer")
        .to_string();
    assert!(refused.contains("another tokenizer"), "{refused}");
}

/// What version 0.1.0 wrote: `other_rate`, and nothing of adapters, frozen layers or earlier
/// shards.
#[test]
fn checkpoints_of_0_1_0_are_read() {
    let (dir, config) = scene(2);
    let shards = Shards::load(dir.path()).expect("shards");
    let run = dir.path().join("run");
    let mut trainer = Trainer::new(config.clone(), &shards, Row::F32, 1).expect("a trainer");
    trainer.run(&run, &AtomicBool::new(false), &mut ()).expect("a run");
    let path = run.join("step-000002/state.json");
    let mut state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a state")).expect("JSON");
    let settings = state["config"].as_object_mut().expect("settings");
    settings.remove("adapter");
    settings.remove("frozen_layers");
    let optimizer = settings["optimizer"].as_object_mut().expect("an optimizer");
    let rate = optimizer.remove("embedding_rate").expect("a rate");
    optimizer.remove("norm_rate");
    optimizer.insert("other_rate".into(), rate);
    state.as_object_mut().expect("a state").remove("earlier_shards");
    std::fs::write(&path, state.to_string()).expect("written");
    let read = Trainer::resume(&run, config, &shards, Row::F32, 1).expect("the checkpoint");
    assert_eq!(read.parameters(), trainer.parameters());
    assert_eq!(
        (read.state().step, read.state().row, read.state().tokens),
        (2, 8, trainer.state().tokens)
    );
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
    check("model.safetensors", &[0xff; 64], "too small for the");
    check("model.safetensors", &vec![0xff; model.len()], "no safetensors file");
    check("optimizer.safetensors", &model, "has no tensor `m.");
    check("state.json", b"{", "no checkpoint state");
    let text = std::fs::read_to_string(checkpoint.join("config.json")).expect("a configuration");
    check("config.json", text.replace("40", "41").as_bytes(), "sizes");
    check(
        "config.json",
        text.replace("\"hidden_size\": 16", "\"hidden_size\": 99999999999").as_bytes(),
        "hidden_size",
    );
    check(
        "config.json",
        text.replace("\"attention_bias\": false", "\"attention_bias\": true").as_bytes(),
        "biases",
    );
    let scaled = text.replace(
        "\"model_type\"",
        "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}, \"model_type\"",
    );
    check("config.json", scaled.as_bytes(), "rope_scaling");
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
