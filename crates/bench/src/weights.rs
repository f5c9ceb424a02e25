//! The matrices of a model shape: their sizes, what reading them costs, and random ones to multiply
//! with.

use half::f16;
use lacuna_kernels::Int4Matrix;
use lacuna_model::ModelSpec;

/// The products of a layer and the vocabulary projection, joined as the engine joins them: name,
/// outputs, inputs.
pub fn products(spec: &ModelSpec) -> [(&'static str, usize, usize); 5] {
    let (d, q, kv, ff) = (spec.hidden, spec.q_width(), spec.kv_width(), spec.mlp().width);
    [
        ("qkv", q + 2 * kv, d),
        ("output", d, q),
        ("gate+up", 2 * ff, d),
        ("down", d, ff),
        ("vocabulary", spec.n_vocab, d),
    ]
}

/// Multiply-adds a token of all layers' products, and of the vocabulary projection; an operation is
/// half of one.
pub fn ops(spec: &ModelSpec) -> (u64, u64) {
    let macs = products(spec).map(|(_, n, k)| (n * k) as u64);
    let layer: u64 = macs[..4].iter().sum();
    (2 * layer * spec.layers() as u64, 2 * macs[4])
}

/// Weights (not bytes) of the layers' matrices and of the vocabulary projection, which a token
/// reads once.
pub fn read_weights(spec: &ModelSpec) -> (u64, u64) {
    let (layers, head) = ops(spec);
    (layers / 2, head / 2)
}

/// Bytes of norms and biases that a token reads, as f32.
pub fn vector_bytes(spec: &ModelSpec) -> u64 {
    4 * spec.tensors().iter().filter(|t| t.columns.is_none()).map(|t| t.rows as u64).sum::<u64>()
}

/// Bytes of INT4 weights that a token reads with our kernels: 16 rows × 64 inputs are 576 bytes,
/// scales included.
pub fn int4_token_bytes(spec: &ModelSpec) -> u64 {
    let bytes = products(spec).map(|(_, n, k)| (n.div_ceil(16) * k.div_ceil(64) * 576) as u64);
    bytes[..4].iter().sum::<u64>() * spec.layers() as u64 + bytes[4] + vector_bytes(spec)
}

/// A repeatable sequence of numbers.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.signed()).collect()
    }
}

/// Random weights of about 1/√k.
pub fn random_matrix(n: usize, k: usize, random: &mut Random) -> Int4Matrix {
    let nibbles: Vec<u8> = (0..n * k.div_ceil(2)).map(|_| random.next() as u8).collect();
    let scale = 0.2 / (k as f32).sqrt();
    let scales: Vec<f16> = (0..n * k.div_ceil(32))
        .map(|_| f16::from_f32(scale * (1.0 + 0.5 * random.signed())))
        .collect();
    Int4Matrix::from_file_parts(n, k, &nibbles, &scales)
        .expect("a shape of the table, finite scales")
}

#[cfg(test)]
mod tests {
    use lacuna_model::Head;
    use lacuna_model::synth::{SHAPES, shape};

    use super::*;

    #[test]
    fn bytes_and_operations_of_known_shapes() {
        let spec = shape("qwen2.5-coder-0.5b").expect("a shape").spec();
        // Published: 0.36 billion parameters without the embedding, 136 million in it.
        assert_eq!(ops(&spec), (2 * 357_826_560, 2 * 151_936 * 896));
        assert_eq!(read_weights(&spec).1, 136_134_656);
        let int4 = (357_826_560 + 136_134_656) * 9 / 16;
        assert_eq!(int4_token_bytes(&spec), int4 + vector_bytes(&spec));
        for shape in &SHAPES {
            let spec = shape.spec();
            let matrices: u64 =
                spec.tensors().iter().filter_map(|t| Some((t.rows * t.columns?) as u64)).sum();
            let embedding =
                if spec.head == Head::Tied { 0 } else { (spec.n_vocab * spec.hidden) as u64 };
            let (layers, head) = read_weights(&spec);
            assert_eq!(layers + head + embedding, matrices, "{}", shape.name);
        }
    }

    #[test]
    fn matrices_have_the_bytes_that_are_counted() {
        let spec = shape("tiny").expect("a shape").spec();
        let mut bytes = 0;
        for (i, (_, n, k)) in products(&spec).into_iter().enumerate() {
            bytes +=
                random_matrix(n, k, &mut Random(1)).bytes() * if i < 4 { spec.layers() } else { 1 };
        }
        assert_eq!(bytes as u64 + vector_bytes(&spec), int4_token_bytes(&spec));
    }
}
