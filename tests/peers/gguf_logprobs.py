#!/usr/bin/env python3
"""Next-token log-probabilities of a GGUF file as llama.cpp computes them, and the ids it makes of a text.

    tests/peers/gguf_logprobs.py BUILD FILE --ids 1,2,3 [--last]
    tests/peers/gguf_logprobs.py BUILD FILE --text FILE

BUILD is a folder that tests/peers/llama_cpp.sh has built, for example target/peers/llama.cpp-native: its libllama.so is loaded
through the ctypes declarations of the llama-cpp-python source unpacked beside it, so that no structure is declared a second time.
Prints one JSON object: {"logprobs": [[…], …]} with a row of the whole vocabulary for each id (--last: for the last one), or
{"ids": […]}. Needs nothing but Python's standard library. Runs on the CPU, keys and values in f16, two threads.
"""

import argparse
import ctypes
import glob
import json
import math
import os
import sys
import types
import typing


def bindings(build):
    """The ctypes declarations, bound to the library of `build`."""
    sources = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(build)), "llama_cpp_python-*", "llama_cpp")))
    if not sources:
        sys.exit(f"no llama_cpp_python-*/llama_cpp beside {build}: run tests/peers/llama_cpp.sh")
    os.environ["LLAMA_CPP_LIB_PATH"] = os.path.join(os.path.abspath(build), "bin")
    # The package's own __init__ imports numpy and more; only its module of declarations is wanted.
    package = types.ModuleType("llama_cpp")
    package.__path__ = [sources[-1]]
    sys.modules["llama_cpp"] = package
    try:
        import typing_extensions  # noqa: F401
    except ImportError:
        sys.modules["typing_extensions"] = typing
    import llama_cpp.llama_cpp as api

    return api


def log_softmax(row):
    largest = max(row)
    total = largest + math.log(math.fsum(math.exp(v - largest) for v in row))
    return [v - total for v in row]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ids", help="token ids, separated by commas")
    what.add_argument("--text", metavar="FILE", help="a file to tokenise")
    parser.add_argument("--last", action="store_true", help="only after the last id")
    args = parser.parse_args()

    api = bindings(args.build)
    silent = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(silent, ctypes.c_void_p(0))
    api.llama_backend_init()
    params = api.llama_model_default_params()
    params.vocab_only = args.text is not None
    params.n_gpu_layers = 0
    model = api.llama_model_load_from_file(args.file.encode(), params)
    if not model:
        sys.exit(f"llama.cpp cannot load {args.file}")
    vocab = api.llama_model_get_vocab(model)

    if args.text is not None:
        with open(args.text, "rb") as file:
            text = file.read()
        tokens = (api.llama_token * (len(text) + 8))()
        n = api.llama_tokenize(vocab, text, len(text), tokens, len(tokens), False, False)
        print(json.dumps({"ids": list(tokens[:n])}))
        return

    ids = [int(i) for i in args.ids.split(",")]
    params = api.llama_context_default_params()
    params.n_ctx = max(256, len(ids))
    params.n_batch = params.n_ubatch = params.n_ctx
    params.n_threads = params.n_threads_batch = 2
    context = api.llama_init_from_model(model, params)
    if not context:
        sys.exit(f"llama.cpp cannot make a context for {args.file}")
    batch = api.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    wanted = [i for i in range(len(ids)) if not args.last or i == len(ids) - 1]
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, i, 1, 0
        batch.logits[i] = i in wanted
    if api.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")
    n_vocab = api.llama_vocab_n_tokens(vocab)
    print(json.dumps({"logprobs": [log_softmax(api.llama_get_logits_ith(context, i)[:n_vocab]) for i in wanted]}))


if __name__ == "__main__":
    main()
