//! Whether a GPU computes what the specification says: products of known numbers, before a model is
//! trusted to it. The kernels have been proven on a simulator, which is not the GPU at hand.

use std::sync::Arc;

use half::f16;

use super::launch::{self, Inputs, Output};
use super::weights::{Int4Weights, Weights};
use super::{Gpu, GpuError, Room, View};
use crate::reference;

/// Outputs and inputs of the product.
const SHAPE: (usize, usize) = (192, 448);
/// Tokens: each kernel of products takes some.
const TOKENS: [usize; 3] = [1, 5, 41];
/// Relative L2 error that f32 sums have beside f64 ones.
const BOUND: f64 = 1e-5;

/// Errors: [`GpuError::Failed`] with what it computed.
pub fn verify(gpu: &Arc<dyn Gpu>) -> Result<(), GpuError> {
    let (n, k) = SHAPE;
    let mut seed = 7u64;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32
    };
    let nibbles: Vec<u8> = (0..n * k / 2).map(|_| (draw() * 256.0) as u8).collect();
    let scales: Vec<f16> =
        (0..n * k / reference::GROUP).map(|_| f16::from_f32(0.01 + 0.1 * draw())).collect();
    let w = Weights::Int4(Int4Weights::upload(gpu, &[n], k, &nibbles, &scales)?);
    for m in TOKENS {
        let x: Vec<f32> = (0..m * k).map(|_| 2.0 * draw() - 1.0).collect();
        let mut inputs = Inputs::default();
        inputs.resize(gpu, m, k, true)?;
        launch::quantize(&**gpu, Room::of(gpu, &x)?.view(), &inputs)?;
        let y = Room::new(gpu, 4 * m * n)?;
        let out = Output { bias: View::NONE, residual: View::NONE, y: y.view(), stride: n };
        launch::matmul(&**gpu, &w, &inputs, out)?;
        let mut got = vec![0f32; m * n];
        y.view().read(&**gpu, &mut got)?;
        let expected = reference::gemm_int4(n, k, &nibbles, &scales, m, &x);
        let error: f64 =
            got.iter().zip(&expected).map(|(got, y)| (f64::from(*got) - y).powi(2)).sum();
        let error = (error / expected.iter().map(|y| y * y).sum::<f64>()).sqrt();
        // Not a number is no small error either.
        if error.is_nan() || error > BOUND {
            return Err(GpuError::Failed {
                what: format!("the comparison with the CPU ({m} tokens)"),
                why: format!(
                    "its products are {error:.1e} from the specification: set model.device = \"cpu\", and please report {}",
                    gpu.name()
                ),
            });
        }
    }
    Ok(())
}
