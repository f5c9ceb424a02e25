"""OpenAI's own client against `/v1/completions`: plain, with a suffix, streamed, refused."""

import openai
import pytest

from conftest import ACCOUNT, LIMIT_S

PREFIX, SUFFIX = ACCOUNT.split("raise Val\n")[0] + "raise Val", "\n" + ACCOUNT.split("raise Val\n")[1]


@pytest.fixture
def client(http):
    with openai.OpenAI(base_url=f"{http.url}/v1", api_key="any", max_retries=0, timeout=LIMIT_S) as client:
        yield client


def test_the_model_is_listed(client):
    models = list(client.models.list())
    assert [model.id for model in models] == ["embedded"]
    assert models[0].object == "model"


def test_a_plain_prompt_is_continued(client):
    reply = client.completions.create(model="any", prompt="for i in ran", max_tokens=12, temperature=0)
    assert reply.object == "text_completion" and reply.id
    (choice,) = reply.choices
    assert choice.text.startswith("ge("), choice.text
    assert choice.finish_reason in ("stop", "length")
    usage = reply.usage
    assert 1 <= usage.completion_tokens <= 13
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_a_suffix_is_what_stands_behind_the_cursor(client):
    reply = client.completions.create(model="any", prompt=PREFIX, suffix=SUFFIX, max_tokens=32, temperature=0, stop=["\n"])
    (choice,) = reply.choices
    assert choice.text.startswith("ueError("), choice.text
    assert "\n" not in choice.text and choice.finish_reason == "stop"


def test_a_stream_is_the_same_text_in_pieces(client):
    request = dict(model="any", prompt=PREFIX, suffix=SUFFIX, max_tokens=24, temperature=0)
    whole = client.completions.create(**request)
    chunks = list(client.completions.create(**request, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert len(chunks) > 2, "in pieces"
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends[-1] == whole.choices[0].finish_reason and set(ends[:-1]) == {None}
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_that_is_left_early_frees_its_place(client, http):
    for _ in range(40):
        with client.completions.create(model="any", prompt=PREFIX, suffix=SUFFIX, max_tokens=500, stream=True) as stream:
            next(iter(stream))
    assert client.completions.create(model="any", prompt="x = ", max_tokens=1).choices
    assert http.is_ready()


def test_alternatives_differ(client):
    reply = client.completions.create(model="any", prompt="def read(path):\n    ", suffix="\n", max_tokens=16, n=4, temperature=1.0, seed=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in reply.choices}) > 1


def test_refusals_are_errors_of_the_clients_own_kinds(client):
    with pytest.raises(openai.BadRequestError, match="one a request"):
        client.completions.create(model="any", prompt=["a", "b"])
    with pytest.raises(openai.BadRequestError, match="echo"):
        client.completions.create(model="any", prompt="a", echo=True)
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.completions.create(model="any", prompt="a", temperature=99)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hello"}])


def test_a_token_is_the_api_key(binary, tmp_path):
    from conftest import Http

    (tmp_path / "token").write_text("0123456789abcdef0123\n")
    (tmp_path / "token").chmod(0o600)
    server = Http(binary, tmp_path, "--token-file", "token")
    try:
        while not server.is_ready():
            pass
        for key, right in [("0123456789abcdef0123", True), ("0123456789abcdef0124", False)]:
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=LIMIT_S) as client:
                if right:
                    assert client.completions.create(model="any", prompt="x = ", max_tokens=2).choices
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.completions.create(model="any", prompt="x = ", max_tokens=2)
    finally:
        server.stop()
