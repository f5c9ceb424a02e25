//! What a tensor is for, and its name in the files of others.

/// What a tensor does in a model. The order is the order of computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The table of token embeddings, `[n_vocab, hidden]`.
    Embedding,
    /// Norm before attention.
    AttentionNorm,
    /// Queries, `[heads · head_dim, hidden]`.
    Query,
    /// Keys, `[kv_heads · head_dim, hidden]`.
    Key,
    /// Values, as keys.
    Value,
    /// Norm of each head of the queries, `[head_dim]`.
    QueryNorm,
    /// Norm of each head of the keys, `[head_dim]`.
    KeyNorm,
    /// From the heads back to the residual stream, `[hidden, heads · head_dim]`.
    Output,
    /// Norm before the feed-forward part.
    MlpNorm,
    /// What passes through the activation, `[ff, hidden]`.
    Gate,
    /// What the gate lets pass, `[ff, hidden]`.
    Up,
    /// Back to the residual stream, `[hidden, ff]`.
    Down,
    /// Norm before the head.
    FinalNorm,
    /// The vocabulary projection of a model that does not tie it to the embedding, `[n_vocab,
    /// hidden]`.
    Head,
}

/// Names: in Hugging Face files (of modules; below `model.layers.N.` for what a block has) and in
/// GGUF (below `blk.N.`).
const NAMES: [(Role, &str, &str); 14] = [
    (Role::Embedding, "model.embed_tokens", "token_embd"),
    (Role::AttentionNorm, "input_layernorm", "attn_norm"),
    (Role::Query, "self_attn.q_proj", "attn_q"),
    (Role::Key, "self_attn.k_proj", "attn_k"),
    (Role::Value, "self_attn.v_proj", "attn_v"),
    (Role::QueryNorm, "self_attn.q_norm", "attn_q_norm"),
    (Role::KeyNorm, "self_attn.k_norm", "attn_k_norm"),
    (Role::Output, "self_attn.o_proj", "attn_output"),
    (Role::MlpNorm, "post_attention_layernorm", "ffn_norm"),
    (Role::Gate, "mlp.gate_proj", "ffn_gate"),
    (Role::Up, "mlp.up_proj", "ffn_up"),
    (Role::Down, "mlp.down_proj", "ffn_down"),
    (Role::FinalNorm, "model.norm", "output_norm"),
    (Role::Head, "lm_head", "output"),
];

impl Role {
    /// Name of the module in Hugging Face files; `layer` for what a block has.
    pub fn module(self, layer: Option<usize>) -> String {
        let (_, name, _) = self.names();
        match layer {
            Some(layer) => format!("model.layers.{layer}.{name}"),
            None => name.to_owned(),
        }
    }

    /// Name in GGUF files, without `.weight` or `.bias`.
    pub fn gguf(self, layer: Option<usize>) -> String {
        let (_, _, name) = self.names();
        match layer {
            Some(layer) => format!("blk.{layer}.{name}"),
            None => name.to_owned(),
        }
    }

    fn names(self) -> (Role, &'static str, &'static str) {
        NAMES[self as usize]
    }
}

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// As in Hugging Face files, with `.weight` or `.bias`.
    pub name: String,
    pub role: Role,
    /// The block that has it; none for embedding, last norm and head.
    pub layer: Option<usize>,
    /// The bias of its role's matrix.
    pub is_bias: bool,
    /// Outputs of a matrix, elements of a vector.
    pub rows: usize,
    /// Inputs of a matrix; `None` for a vector (norm or bias).
    pub columns: Option<usize>,
}

impl TensorSpec {
    pub(crate) fn matrix(role: Role, layer: Option<usize>, rows: usize, columns: usize) -> Self {
        TensorSpec {
            name: format!("{}.weight", role.module(layer)),
            role,
            layer,
            is_bias: false,
            rows,
            columns: Some(columns),
        }
    }

    pub(crate) fn norm(role: Role, layer: Option<usize>, rows: usize) -> Self {
        TensorSpec { columns: None, ..Self::matrix(role, layer, rows, 1) }
    }

    pub(crate) fn bias(role: Role, layer: Option<usize>, rows: usize) -> Self {
        TensorSpec {
            name: format!("{}.bias", role.module(layer)),
            role,
            layer,
            is_bias: true,
            rows,
            columns: None,
        }
    }

    /// Dimensions as a safetensors header has them.
    pub fn shape(&self) -> Vec<usize> {
        std::iter::once(self.rows).chain(self.columns).collect()
    }

    /// Number of its values.
    pub fn elements(&self) -> usize {
        self.rows * self.columns.unwrap_or(1)
    }

    /// Name in GGUF files.
    pub fn gguf_name(&self) -> String {
        format!("{}.{}", self.role.gguf(self.layer), if self.is_bias { "bias" } else { "weight" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_roles() {
        for (i, (role, ..)) in NAMES.iter().enumerate() {
            assert_eq!(*role as usize, i);
        }
    }

    #[test]
    fn names_are_those_of_llama_cpp() {
        let gguf = |role, layer| TensorSpec::matrix(role, layer, 1, 1).gguf_name();
        assert_eq!(gguf(Role::Embedding, None), "token_embd.weight");
        assert_eq!(TensorSpec::bias(Role::Query, Some(11), 1).gguf_name(), "blk.11.attn_q.bias");
        assert_eq!(gguf(Role::Output, Some(1)), "blk.1.attn_output.weight");
        assert_eq!(gguf(Role::Down, Some(0)), "blk.0.ffn_down.weight");
        assert_eq!(gguf(Role::AttentionNorm, Some(0)), "blk.0.attn_norm.weight");
        assert_eq!(gguf(Role::MlpNorm, Some(0)), "blk.0.ffn_norm.weight");
        assert_eq!(gguf(Role::FinalNorm, None), "output_norm.weight");
        assert_eq!(gguf(Role::Head, None), "output.weight");
    }
}
