#!/usr/bin/env python3
"""Checks import_base.py without a network: a small GGUF file made here is converted and compared.

    test_import_base.py

Needs what import_base.py needs (gguf, numpy, safetensors, tokenizers); says `skipped` and ends well without them.
"""
import importlib.util
import json
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LAYERS, D, HEADS, KV, FF = 2, 64, 4, 2, 96


def module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def pieces(base):
    """The base's special tokens, all bytes, and two merges."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *base.MARKERS]
    special += [f"<unused_{i}>" for i in range(base.N_SPECIAL - len(special))]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    stand_ins = [chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256)]
    return special + stand_ins + ["re", "ret"], ["r e", "re t"]


def write_gguf(path, base, draw):
    import gguf
    import numpy as np

    names, merges = pieces(base)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_context_length(512)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100000.0)
    writer.add_token_list(names)
    writer.add_token_merges(merges)
    d, kv, weights = D, KV * D // HEADS, {}
    shapes = {"token_embd.weight": (len(names), d), "output_norm.weight": (d,)}
    for i in range(LAYERS):
        shapes |= {
            f"blk.{i}.attn_norm.weight": (d,), f"blk.{i}.ffn_norm.weight": (d,), f"blk.{i}.attn_q.weight": (d, d),
            f"blk.{i}.attn_k.weight": (kv, d), f"blk.{i}.attn_v.weight": (kv, d), f"blk.{i}.attn_output.weight": (d, d),
            f"blk.{i}.ffn_gate.weight": (FF, d), f"blk.{i}.ffn_up.weight": (FF, d), f"blk.{i}.ffn_down.weight": (d, FF),
        }
    for name, shape in shapes.items():
        weights[name] = draw.standard_normal(shape).astype(np.float32)
        # Matrices as the base has them: 4 bits.
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q4_1
            data = gguf.quants.quantize(weights[name], kind)
            weights[name] = gguf.quants.dequantize(data, kind)
            writer.add_tensor(name, data, raw_dtype=kind)
        else:
            writer.add_tensor(name, weights[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return names, weights


def main():
    base = module("import_base")
    try:
        import gguf  # noqa: F401
        import numpy as np
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer
    except ImportError as missing:
        print(f"skipped: {missing}")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names, weights = write_gguf(folder / "base.gguf", base, np.random.default_rng(1))
        base.write(folder / "base.gguf", folder / "out")
        config = json.loads((folder / "out/config.json").read_text())
        expected = dict(hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV, intermediate_size=FF,
                        vocab_size=len(names), max_position_embeddings=512, tie_word_embeddings=True)
        assert {k: config[k] for k in expected} == expected, config
        stored = load_file(str(folder / "out/model.safetensors"))
        f16 = lambda w: w.astype(np.float16)
        assert len(stored) == len(weights)
        assert np.array_equal(stored["model.embed_tokens.weight"], f16(weights["token_embd.weight"]))
        assert np.array_equal(stored["model.layers.1.mlp.down_proj.weight"], f16(weights["blk.1.ffn_down.weight"]))
        # Hugging Face's rows i and i + half of a head are GGUF's 2i and 2i + 1.
        for name, short, heads in (("q_proj", "attn_q", HEADS), ("k_proj", "attn_k", KV)):
            ours, theirs, half = stored[f"model.layers.0.self_attn.{name}.weight"], f16(weights[f"blk.0.{short}.weight"]), D // HEADS // 2
            for head in range(heads):
                rows, pairs = ours[2 * half * head :][: 2 * half], theirs[2 * half * head :][: 2 * half]
                assert np.array_equal(rows[:half], pairs[0::2]) and np.array_equal(rows[half:], pairs[1::2]), (name, head)
        tk = Tokenizer.from_file(str(folder / "out/tokenizer.json"))
        for old, new in base.MARKERS.items():
            assert tk.token_to_id(new) == names.index(old) and tk.token_to_id(old) is None, (old, new)
        for text in ["return 12\n", "naïve 🦀\t\r\n"]:
            assert tk.decode(tk.encode(text).ids, skip_special_tokens=False) == text
        assert "ret" in tk.encode("return").tokens
        provenance = json.loads((folder / "out/PROVENANCE.json").read_text())
        assert provenance["sha256"] == base.SHA256 and provenance["version"] == base.VERSION
        # A wheel that is not the pinned one is refused before it is read.
        with zipfile.ZipFile(folder / "other.whl", "w") as archive:
            archive.writestr(base.MEMBER, b"GGUF")
        try:
            base.wheel(folder, folder / "other.whl")
        except SystemExit as refused:
            assert base.SHA256 in str(refused), refused
        else:
            sys.exit("a wheel with another hash was taken")
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
