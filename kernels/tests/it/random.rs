//! Deterministic test data. The seed is printed, so that a failure can be repeated.

/// Lengths at and around lane, group and block borders.
pub const LENGTHS: [usize; 16] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 1023];

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

pub const SEED: u64 = 0x1ac0_0a11;

pub struct Random(SplitMix64);

impl Random {
    pub fn new() -> Self {
        println!("seed {SEED:#x}");
        Random(SplitMix64::seed_from_u64(SEED))
    }

    pub fn uniform(&mut self) -> f32 {
        (self.0.next_u64() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        (-2.0 * self.uniform().max(1e-7).ln()).sqrt()
            * (std::f32::consts::TAU * self.uniform()).cos()
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// `Σ (got − want)² / Σ want²`; 0 when both are zero.
pub fn nmse(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let error: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
    if error == 0.0 { 0.0 } else { error / want.iter().map(|w| w * w).sum::<f64>() }
}

/// A buffer with guard bands before and after the part that a kernel may write.
pub struct Guarded {
    all: Vec<f32>,
}

const GUARD: usize = 37;
const MARK: f32 = 1.2345e33;

impl Guarded {
    pub fn new(len: usize) -> Self {
        let mut all = vec![MARK; len + 2 * GUARD];
        // What was there must not matter.
        all[GUARD..GUARD + len].fill(f32::NAN);
        Guarded { all }
    }

    pub fn inner(&mut self) -> &mut [f32] {
        let end = self.all.len() - GUARD;
        &mut self.all[GUARD..end]
    }

    /// The written part; panics if a guard was touched.
    pub fn checked(&mut self) -> &[f32] {
        let end = self.all.len() - GUARD;
        assert!(
            self.all[..GUARD].iter().chain(&self.all[end..]).all(|v| *v == MARK),
            "written outside of the output"
        );
        &self.all[GUARD..end]
    }
}
