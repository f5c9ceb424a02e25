"""The binary under test, homes of their own, and the HTTP server."""

import os
import re
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("LACUNA_BIN", ROOT / "target" / "release" / "lacuna")).resolve()

#: Nothing that is waited for takes this long.
LIMIT_S = 60

#: One line is missing at `raise Val`, of which any code model knows how it goes on.
ACCOUNT = (ROOT / "tests" / "samples" / "account.py").read_text()
#: 0-based, behind `raise Val`.
AT_RAISE = (9, 21)


@pytest.fixture(scope="session")
def binary():
    assert BINARY.is_file(), f"{BINARY} does not exist: build it, or set LACUNA_BIN"
    return BINARY


def environment(home):
    """Nothing of the user's own settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_DATA_HOME": f"{home}/data", "XDG_CONFIG_HOME": f"{home}/config", "LANG": "C.UTF-8"}


class Http:
    """`lacuna serve` with the embedded model."""

    def __init__(self, binary, home, *arguments):
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", *arguments], cwd=home, env=environment(home), stderr=subprocess.PIPE, text=True
        )
        said = self.process.stderr.readline()
        found = re.search(r"listening on (http://\S+)", said)
        assert found, said
        self.url = found[1]

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/health", timeout=LIMIT_S).status == 200
        except urllib.error.HTTPError as error:
            assert error.code == 503, error
            return False

    def stop(self):
        self.process.terminate()
        self.process.communicate(timeout=LIMIT_S)


@pytest.fixture(scope="session")
def http(binary, tmp_path_factory):
    server = Http(binary, tmp_path_factory.mktemp("http"))
    try:
        # Until the weights are read; each try takes as long as a connection.
        while not server.is_ready():
            assert server.process.poll() is None, "the server has ended"
        yield server
    finally:
        server.stop()
