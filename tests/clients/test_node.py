"""vscode-languageserver-protocol in Node as a client (client.mjs)."""

import subprocess
from pathlib import Path

from conftest import LIMIT_S

HERE = Path(__file__).parent


def test_vscodes_protocol_library_in_node(binary, tmp_path, capsys):
    done = subprocess.run(
        ["node", HERE / "client.mjs", binary, tmp_path], capture_output=True, text=True, timeout=5 * LIMIT_S
    )
    with capsys.disabled():
        print("\n" + "".join(f"    {line}\n" for line in done.stdout.splitlines() if line.startswith("ok")), end="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("5 passed, 0 failed"), done.stdout
