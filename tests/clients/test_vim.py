"""Debian's Vim as a client: llama.vim's requests from a real buffer (infill.vim), the answer in the file."""

import json
import subprocess
from pathlib import Path

import pytest

from conftest import ACCOUNT, AT_RAISE, LIMIT_S

SCRIPT = Path(__file__).parent / "infill.vim"


def fill(http, path, line, column):
    """Runs the script at a 0-based place; the server's reply."""
    done = subprocess.run(
        ["vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", SCRIPT, path],
        env={"PATH": "/usr/bin:/bin", "HOME": str(path.parent), "LANG": "C.UTF-8", "ENDPOINT": f"{http.url}/infill", "LINE": str(line + 1), "COLUMN": str(column)},
        capture_output=True, text=True, timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


def test_the_answer_stands_in_the_file_and_the_flat_fields_in_the_reply(http, tmp_path):
    path = tmp_path / "account.py"
    path.write_text(ACCOUNT)
    reply = fill(http, path, *AT_RAISE)
    assert reply["content"].startswith("ueError("), reply
    assert path.read_text() == ACCOUNT.replace("raise Val\n", f"raise Val{reply['content']}\n")
    numbers = [key for key in reply if key.startswith("timings/")]
    assert len(numbers) == 8 and all(isinstance(reply[key], (int, float)) for key in numbers), reply
    assert reply["truncated"] is False and reply["tokens_cached"] > 0


@pytest.mark.parametrize("before", ["s = 'äöü'; ", "s = '🦀漢字'; ", ""])
def test_wide_characters_left_of_the_cursor(http, tmp_path, before):
    path = tmp_path / "account.py"
    text = ACCOUNT.replace("raise Val\n", f"{before}raise Val\n")
    path.write_text(text)
    reply = fill(http, path, AT_RAISE[0], AT_RAISE[1] + len(before))
    assert path.read_text() == text.replace("raise Val\n", f"raise Val{reply['content']}\n")


def test_the_second_request_finds_the_prompt_in_the_cache(http, tmp_path):
    path = tmp_path / "account.py"
    path.write_text(ACCOUNT)
    fill(http, path, *AT_RAISE)
    path.write_text(ACCOUNT.replace("raise Val\n", "raise Valu\n"))
    reply = fill(http, path, AT_RAISE[0], AT_RAISE[1] + 1)
    assert reply["timings/prompt_n"] <= 8, reply
