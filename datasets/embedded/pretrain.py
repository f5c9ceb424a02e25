#!/usr/bin/env python3
"""Pre-trains the embedded model on a GPU: same shards, same loss, same checkpoints as `lacuna finetune run`.

    pretrain.py run  --shards DIR --out DIR --minutes M [--shape d=512,layers=8,heads=8,kv_heads=2,ff=1408] [--init-from DIR]
    pretrain.py loss --shards DIR --model DIR [--rows N]      loss on the first N validation rows, to compare with
                                                              `lacuna finetune loss` (equal to 1e-3)

Needs PyTorch 2.5 or newer, numpy, safetensors and the `zstd` command (or the zstandard module). Writes Hugging Face directories
(f32), which `lacuna model pack` and `lacuna finetune run --init-from` read.
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

DECAY_SHARE, FLOOR = 0.25, 0.02  # as in crates/train/src/trainer/schedule.rs


def decompress(path):
    try:
        return subprocess.run(["zstd", "-dc", str(path)], stdout=subprocess.PIPE, check=True).stdout
    except FileNotFoundError:
        import zstandard

        return zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=1 << 31)


class Shards:
    """All rows of a shard folder: `train` and `validation`, [rows, seq_len] of u16."""

    def __init__(self, folder):
        self.folder = Path(folder)
        index = json.loads((self.folder / "shards.json").read_text())
        self.seq_len, self.n_vocab = index["seq_len"], index["n_vocab"]
        # Shards of version 0.1.0 do not say which tokens part documents: they are the first embedded model's.
        self.markers = index.get("markers", {"end": 0, "middle": 2, "pad": 4})
        self.train = self.read(index["files"])
        self.validation = self.read(index["validation"])

    def read(self, files):
        parts = [np.frombuffer(decompress(self.folder / f["name"]), dtype="<u2") for f in files]
        rows = np.concatenate(parts).reshape(-1, self.seq_len)
        if rows.max(initial=0) >= self.n_vocab:
            raise SystemExit(f"{self.folder}: a token id is not below {self.n_vocab}")
        return rows


def batch(rows, markers, device, middle_weight):
    """Inputs, targets, loss weights, document numbers and positions of rows [b, t]; documents end with the end marker."""
    end, middle_id, pad = markers["end"], markers["middle"], markers["pad"]
    x = torch.from_numpy(rows.astype(np.int64)).to(device, non_blocking=True)
    b, t = x.shape
    target = torch.cat([x[:, 1:], x.new_full((b, 1), pad)], 1)
    ended = torch.cat([x.new_zeros((b, 1)), (x[:, :-1] == end).long()], 1)
    document = ended.cumsum(1)
    index = torch.arange(t, device=device).expand(b, t)
    start = torch.where(ended.bool(), index, 0).cummax(1).values
    # A position is in a middle when a middle marker stands at or before it in its own document.
    last_middle = torch.where(x == middle_id, index, -1).cummax(1).values
    middle = last_middle >= start
    counted = (x != end) & (x != pad)
    if pad != end:
        counted &= target != pad
    weight = torch.where(middle, middle_weight, 1.0) * counted
    return x, target, weight, middle & counted, document, index - start


class Model(torch.nn.Module):
    def __init__(self, vocab, d=256, layers=8, heads=4, kv_heads=2, ff=896, head_dim=64, rope_theta=10000.0, eps=1e-6, positions=2048):
        super().__init__()
        self.sizes = dict(d=d, layers=layers, heads=heads, kv_heads=kv_heads, ff=ff)
        self.vocab, self.head_dim, self.rope_theta, self.eps, self.positions = vocab, head_dim, rope_theta, eps, positions
        linear = lambda n_in, n_out: torch.nn.Linear(n_in, n_out, bias=False)
        self.embed = torch.nn.Embedding(vocab, d)
        self.layers = torch.nn.ModuleList()
        for _ in range(layers):
            layer = torch.nn.ModuleDict(
                dict(q=linear(d, heads * head_dim), k=linear(d, kv_heads * head_dim), v=linear(d, kv_heads * head_dim),
                     o=linear(heads * head_dim, d), gate=linear(d, ff), up=linear(d, ff), down=linear(ff, d)))
            layer.norm1 = torch.nn.Parameter(torch.ones(d))
            layer.norm2 = torch.nn.Parameter(torch.ones(d))
            self.layers.append(layer)
        self.norm = torch.nn.Parameter(torch.ones(d))
        for name, p in self.named_parameters():
            if p.ndim == 2:
                residual = name.endswith(("o.weight", "down.weight"))
                torch.nn.init.normal_(p, std=0.02 / (math.sqrt(2 * layers) if residual else 1))

    def forward(self, x, document, position):
        s = self.sizes
        b, t = x.shape
        frequency = self.rope_theta ** (-torch.arange(0, self.head_dim, 2, device=x.device).float() / self.head_dim)
        angle = position[..., None].float() * frequency
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        mask = (document[:, :, None] == document[:, None, :]).tril()[:, None]

        def rope(v):
            a, c = v.chunk(2, -1)
            return torch.cat([a * cos - c * sin, c * cos + a * sin], -1).to(v.dtype)

        def split(v, n):
            return v.view(b, t, n, self.head_dim).transpose(1, 2)

        h = self.embed(x)
        for layer in self.layers:
            z = F.rms_norm(h, (s["d"],), layer.norm1, self.eps)
            q, k = rope(split(layer["q"](z), s["heads"])), rope(split(layer["k"](z), s["kv_heads"]))
            v = split(layer["v"](z), s["kv_heads"])
            k, v = (u.repeat_interleave(s["heads"] // s["kv_heads"], 1) for u in (k, v))
            o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            h = h + layer["o"](o.transpose(1, 2).reshape(b, t, -1))
            z = F.rms_norm(h, (s["d"],), layer.norm2, self.eps)
            h = h + layer["down"](F.silu(layer["gate"](z)) * layer["up"](z))
        return F.rms_norm(h, (s["d"],), self.norm, self.eps)

    def losses(self, x, target, weight, middle, document, position):
        """Sums: weighted loss, weights, loss of counted positions, their number, loss in middles, their number."""
        h = self(x, document, position)
        keep = weight > 0
        each = F.cross_entropy((h[keep] @ self.embed.weight.T).float(), target[keep], reduction="none")
        w, m = weight[keep], middle[keep]
        return (each * w).sum(), w.sum(), each.sum(), torch.tensor(float(each.numel())), (each * m).sum(), m.sum()

    NAMES = dict(q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj", o="self_attn.o_proj",
                 gate="mlp.gate_proj", up="mlp.up_proj", down="mlp.down_proj")

    def tensors(self):
        """Parameters by their Hugging Face names."""
        out = {"model.embed_tokens.weight": self.embed.weight, "model.norm.weight": self.norm}
        for i, layer in enumerate(self.layers):
            for short, name in self.NAMES.items():
                out[f"model.layers.{i}.{name}.weight"] = layer[short].weight
            out[f"model.layers.{i}.input_layernorm.weight"] = layer.norm1
            out[f"model.layers.{i}.post_attention_layernorm.weight"] = layer.norm2
        return out

    def save(self, folder, shards):
        s = self.sizes
        config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=s["d"], num_hidden_layers=s["layers"],
                      num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"], head_dim=self.head_dim, intermediate_size=s["ff"],
                      vocab_size=self.vocab, rope_theta=self.rope_theta, rms_norm_eps=self.eps, max_position_embeddings=self.positions,
                      tie_word_embeddings=True, attention_bias=False, mlp_bias=False, hidden_act="silu", torch_dtype="float32")
        folder = Path(folder)
        unfinished = folder.with_name(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / "config.json").write_text(json.dumps(config, indent=2))
        shutil.copy(shards.folder / "tokenizer.json", unfinished)
        save_file({k: v.detach().float().cpu().contiguous() for k, v in self.tensors().items()}, unfinished / "model.safetensors")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(unfinished, folder)

    @staticmethod
    def load(folder):
        c = json.loads((Path(folder) / "config.json").read_text())
        model = Model(c["vocab_size"], c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"],
                      c["num_key_value_heads"], c["intermediate_size"], c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"],
                      c["rope_theta"], c["rms_norm_eps"], c["max_position_embeddings"])
        stored = load_file(Path(folder) / "model.safetensors")
        with torch.no_grad():
            for name, p in model.tensors().items():
                p.copy_(stored[name].float())
        return model


def orthogonalise(g):
    """Five Newton–Schulz steps towards the nearest orthogonal matrix."""
    x = g.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).float()


class Optimizer:
    """Muon for the matrices of the layers, AdamW for embedding and norms."""

    def __init__(self, model, rate, other_rate):
        self.matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith("embed")]
        others = [p for n, p in model.named_parameters() if p.ndim != 2 or n.startswith("embed")]
        self.momentum = [torch.zeros_like(p) for p in self.matrices]
        self.adamw = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
        self.rate, self.other_rate, self.all = rate, other_rate, self.matrices + others

    @torch.no_grad()
    def step(self, factor):
        norm = torch.nn.utils.clip_grad_norm_(self.all, 1.0)
        for group in self.adamw.param_groups:
            group["lr"] = self.other_rate * factor
        self.adamw.step()
        for p, m in zip(self.matrices, self.momentum):
            m.mul_(0.95).add_(p.grad)
            update = orthogonalise(p.grad + 0.95 * m) * 0.2 * math.sqrt(max(p.shape))
            p.sub_(self.rate * factor * (update + 0.1 * p))
        for p in self.all:
            p.grad = None
        return norm


@torch.no_grad()
def validation_loss(model, shards, n_rows, device, at_a_time=8):
    sums = np.zeros(4)
    rows = shards.validation[:n_rows]
    for i in range(0, len(rows), at_a_time):
        _, _, loss, n, middle_loss, middle_n = model.losses(*batch(rows[i : i + at_a_time], shards.markers, device, 1.0))
        sums += [loss.item(), n.item(), middle_loss.item(), middle_n.item()]
    return sums[0] / sums[1], sums[2] / sums[3]


def run(args):
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shards = Shards(args.shards)
    sizes = {k: int(v) for k, v in (pair.split("=") for pair in args.shape.split(","))} if args.shape else {}
    model = (Model.load(args.init_from) if args.init_from else Model(shards.n_vocab, **sizes)).to(device)
    optimizer = Optimizer(model, args.rate, args.other_rate)
    losses = torch.compile(model.losses, dynamic=True) if device == "cuda" and args.compile else model.losses
    order, at, epoch = None, 0, 0
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    log = open(out / "log.jsonl", "a", buffering=1)
    start, step, tokens = time.time(), 0, 0
    while (done := (time.time() - start) / (60 * args.minutes)) < 1:
        if order is None or at + args.rows > len(order):
            order, at, epoch = np.random.default_rng(args.seed + epoch).permutation(len(shards.train)), 0, epoch + 1
        rows, at = shards.train[order[at : at + args.rows]], at + args.rows
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss, weight, *_ = losses(*batch(rows, shards.markers, device, args.middle_weight))
        (loss / weight).backward()
        factor = min(1.0, (step + 1) / args.warmup) * (FLOOR + (1 - FLOOR) * min(1.0, (1 - done) / DECAY_SHARE))
        norm = optimizer.step(factor)
        step, tokens = step + 1, tokens + rows.size
        if step % 50 == 0:
            seconds = time.time() - start
            row = dict(step=step, tokens=tokens, loss=(loss / weight).item(), norm=float(norm), factor=factor, seconds=seconds)
            log.write(json.dumps(row) + "\n")
            print(f"step {step} loss {row['loss']:.4f} {tokens / seconds:.0f} tok/s {tokens / 1e6:.0f} M tokens {done:.0%}", flush=True)
        if step % args.validate_every == 0:
            every, middle = validation_loss(model, shards, 256, device)
            print(f"step {step} validation {every:.4f} middle {middle:.4f}", flush=True)
            model.save(out / "latest-checkpoint", shards)
    model.save(out / "final", shards)
    every, middle = validation_loss(model, shards, len(shards.validation), device)
    print(f"final: {step} steps, {tokens} tokens, validation {every:.4f} middle {middle:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("run")
    for name in ["--shards", "--out"]:
        p.add_argument(name, required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--shape", default="")
    p.add_argument("--init-from")
    p.add_argument("--rows", type=int, default=64)
    p.add_argument("--rate", type=float, default=4e-3)
    p.add_argument("--other-rate", type=float, default=3e-3)
    p.add_argument("--warmup", type=int, default=100)
    p.add_argument("--middle-weight", type=float, default=2.0)
    p.add_argument("--validate-every", type=int, default=1000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--compile", action="store_true")
    p = commands.add_parser("loss")
    p.add_argument("--shards", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--rows", type=int, default=16)
    args = parser.parse_args()
    if args.command == "run":
        run(args)
    else:
        every, middle = validation_loss(Model.load(args.model), Shards(args.shards), args.rows, "cpu", 2)
        print(f"validation {every:.4f} middle {middle:.4f} on {args.rows} rows")


if __name__ == "__main__":
    main()
