"""The binary under test, and a home of its own for each test."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binary():
    path = Path(os.environ.get("LACUNA_BIN", ROOT / "target" / "release" / "lacuna")).absolute()
    assert path.is_file(), f"{path} does not exist: build it, or set LACUNA_BIN"
    return path


class Lacuna:
    def __init__(self, binary, home):
        self.binary, self.home = binary, home
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}

    def run(self, *args, code=0):
        """Standard output of a run that ends with `code`."""
        done = subprocess.run([self.binary, *map(str, args)], cwd=self.home, env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, f"{args}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def json(self, *args):
        return json.loads(self.run(*args))

    def lsp(self):
        return subprocess.Popen([self.binary, "lsp"], cwd=self.home, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def serve(self, *args):
        """`lacuna serve` on a free port, as soon as it listens."""
        command = [self.binary, "serve", "--listen", "127.0.0.1:0", *map(str, args)]
        process = subprocess.Popen(command, cwd=self.home, env=self.env, stderr=subprocess.PIPE, text=True)
        said = process.stderr.readline()
        process.url = said.removeprefix("lacuna: listening on ").strip()
        process.stop = lambda: (process.kill(), process.wait(), process.stderr.close())
        assert process.url.startswith("http://127.0.0.1:"), said
        return process


@pytest.fixture
def lacuna(binary, tmp_path):
    return Lacuna(binary, tmp_path)
