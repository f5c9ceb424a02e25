//! The matrices of a model shape: their sizes, what reading them costs, and random ones to multiply with.

use half::f16;
use lacuna_engine::Config;
use lacuna_kernels::Int4Matrix;

/// The products of a layer and the vocabulary projection, joined as the engine joins them: name, outputs, inputs.
pub fn products(config: &Config) -> [(&'static str, usize, usize); 5] {
    let (d, q, kv, ff) = (config.hidden, config.q_width(), config.kv_width(), config.ff);
    [("qkv", q + 2 * kv, d), ("output", d, q), ("gate+up", 2 * ff, d), ("down", d, ff), ("vocabulary", config.n_vocab, d)]
}

/// Multiply-adds a token of all layers' products, and of the vocabulary projection; an operation is half of one.
pub fn ops(config: &Config) -> (u64, u64) {
    let macs = products(config).map(|(_, n, k)| (n * k) as u64);
    let layer: u64 = macs[..4].iter().sum();
    (2 * layer * config.layers as u64, 2 * macs[4])
}

/// Weights (not bytes) of the layers' matrices and of the vocabulary projection, which a token reads once.
pub fn read_weights(config: &Config) -> (u64, u64) {
    let (layers, head) = ops(config);
    (layers / 2, head / 2)
}

/// Bytes of norms and biases that a token reads, as f32.
pub fn vector_bytes(config: &Config) -> u64 {
    4 * config.tensors().iter().filter(|t| t.columns.is_none()).map(|t| t.rows as u64).sum::<u64>()
}

/// Bytes of INT4 weights that a token reads with our kernels: 16 rows × 64 inputs are 576 bytes, scales included.
pub fn int4_token_bytes(config: &Config) -> u64 {
    let bytes = products(config).map(|(_, n, k)| (n.div_ceil(16) * k.div_ceil(64) * 576) as u64);
    bytes[..4].iter().sum::<u64>() * config.layers as u64 + bytes[4] + vector_bytes(config)
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
    let scales: Vec<f16> = (0..n * k.div_ceil(32)).map(|_| f16::from_f32(scale * (1.0 + 0.5 * random.signed()))).collect();
    Int4Matrix::from_file_parts(n, k, &nibbles, &scales).expect("a shape of the table, finite scales")
}

#[cfg(test)]
mod tests {
    use lacuna_engine::synth::{SHAPES, shape};

    use super::*;

    #[test]
    fn bytes_and_operations_of_known_shapes() {
        let config = shape("qwen2.5-coder-0.5b").expect("a shape").config();
        // Published: 0.36 billion parameters without the embedding, 136 million in it.
        assert_eq!(ops(&config), (2 * 357_826_560, 2 * 151_936 * 896));
        assert_eq!(read_weights(&config).1, 136_134_656);
        let int4 = (357_826_560 + 136_134_656) * 9 / 16;
        assert_eq!(int4_token_bytes(&config), int4 + vector_bytes(&config));
        for shape in &SHAPES {
            let config = shape.config();
            let matrices: u64 = config.tensors().iter().filter_map(|t| Some((t.rows * t.columns?) as u64)).sum();
            let embedding = if config.tied_embeddings { 0 } else { (config.n_vocab * config.hidden) as u64 };
            let (layers, head) = read_weights(&config);
            assert_eq!(layers + head + embedding, matrices, "{}", shape.name);
        }
    }

    #[test]
    fn matrices_have_the_bytes_that_are_counted() {
        let config = shape("tiny").expect("a shape").config();
        let mut bytes = 0;
        for (i, (_, n, k)) in products(&config).into_iter().enumerate() {
            bytes += random_matrix(n, k, &mut Random(1)).bytes() * if i < 4 { config.layers } else { 1 };
        }
        assert_eq!(bytes as u64 + vector_bytes(&config), int4_token_bytes(&config));
    }
}
