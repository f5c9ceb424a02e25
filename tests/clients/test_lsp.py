"""pytest-lsp, pygls and lsprotocol as a client: typed requests, and every reply checked against the specification's schema."""

import asyncio

import pytest
import pytest_asyncio
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from conftest import ACCOUNT, AT_RAISE, LIMIT_S, environment
from strict import capabilities, strict_client

URI = "file:///project/account.py"
CANCELLED = -32800


@pytest.fixture
def encodings():
    return [types.PositionEncodingKind.Utf16]


@pytest_asyncio.fixture
async def client(binary, tmp_path, encodings):
    client = strict_client()
    await client.start_io(str(binary), "lsp", cwd=tmp_path, env=environment(tmp_path))
    result = await client.initialize_session(
        types.InitializeParams(
            capabilities=capabilities(encodings),
            workspace_folders=[types.WorkspaceFolder(uri="file:///project", name="project")],
            # No deadline: nothing may depend on how fast the machine is.
            initialization_options={"lacuna": {"latency": {"deadline_ms": 0}, "show": {"min_confidence": 0}}},
        )
    )
    client.announced = result
    yield client
    await asyncio.wait_for(client.shutdown_session(), LIMIT_S)
    await client.stop()
    assert not client.protocol.faults, "\n".join(client.protocol.faults)
    assert client.protocol.checked >= 2, "the check has looked at something"


def opened(client, text=ACCOUNT, uri=URI, language="python"):
    item = types.TextDocumentItem(uri=uri, language_id=language, version=1, text=text)
    client.text_document_did_open(types.DidOpenTextDocumentParams(text_document=item))


def edited(client, version, *changes):
    client.text_document_did_change(
        types.DidChangeTextDocumentParams(
            text_document=types.VersionedTextDocumentIdentifier(uri=URI, version=version),
            content_changes=[
                types.TextDocumentContentChangePartial(
                    range=types.Range(start=types.Position(*start), end=types.Position(*end)), text=text
                )
                for start, end, text in changes
            ],
        )
    )


def asked(client, line, character, kind=types.InlineCompletionTriggerKind.Automatic, uri=URI, selected=None):
    return client.text_document_inline_completion_async(
        types.InlineCompletionParams(
            text_document=types.TextDocumentIdentifier(uri=uri),
            position=types.Position(line=line, character=character),
            context=types.InlineCompletionContext(trigger_kind=kind, selected_completion_info=selected),
        )
    )


async def items(client, *args, **kwargs):
    result = await asyncio.wait_for(asked(client, *args, **kwargs), LIMIT_S)
    assert isinstance(result, types.InlineCompletionList)
    return result.items


async def test_what_is_announced_is_of_the_specification(client):
    announced = client.announced.capabilities
    assert isinstance(announced.inline_completion_provider, (types.InlineCompletionOptions, bool))
    assert announced.position_encoding == types.PositionEncodingKind.Utf16
    assert announced.execute_command_provider.commands
    assert client.announced.server_info.name == "lacuna"


async def test_an_item_goes_on_with_what_was_typed(client):
    opened(client)
    (item,) = await items(client, *AT_RAISE)
    line, character = AT_RAISE
    assert item.range == types.Range(start=types.Position(line, character - 3), end=types.Position(line, character))
    assert item.insert_text.startswith("ValueError(") and "\n" not in item.insert_text
    assert item.command.command in client.announced.capabilities.execute_command_provider.commands
    done = await client.workspace_execute_command_async(
        types.ExecuteCommandParams(command=item.command.command, arguments=item.command.arguments)
    )
    assert done is None


async def test_asked_by_the_user_there_are_several(client):
    opened(client, "import os\n\ndef read(path):\n    \n")
    several = await items(client, 3, 4, types.InlineCompletionTriggerKind.Invoked)
    assert len({item.insert_text for item in several}) == len(several) > 1


async def test_the_selected_entry_of_the_list_is_kept(client):
    opened(client)
    line, character = AT_RAISE
    place = types.Range(start=types.Position(line, character - 3), end=types.Position(line, character))
    selected = types.SelectedCompletionInfo(range=place, text="ValueError")
    for item in await items(client, line, character, selected=selected):
        assert item.insert_text.startswith("ValueError") and item.range == place


async def test_typing_along_shortens_and_superseded_requests_end_in_the_right_error(client):
    opened(client)
    line, character = AT_RAISE
    (first,) = await items(client, line, character)
    pending = []
    for i, letter in enumerate(first.insert_text[3:9]):
        at = (line, character + i)
        edited(client, i + 2, (at, at, letter))
        pending.append(asyncio.ensure_future(asked(client, line, character + i + 1)))
    results = await asyncio.wait_for(asyncio.gather(*pending, return_exceptions=True), LIMIT_S)
    for result in results[:-1]:
        if isinstance(result, JsonRpcException):
            assert result.code == CANCELLED, result
    assert [item.insert_text for item in results[-1].items] == [first.insert_text]


async def test_a_cancelled_request_is_answered_once(client):
    opened(client)
    future = client.protocol.send_request(
        types.TEXT_DOCUMENT_INLINE_COMPLETION,
        types.InlineCompletionParams(
            text_document=types.TextDocumentIdentifier(uri=URI),
            position=types.Position(*AT_RAISE),
            context=types.InlineCompletionContext(trigger_kind=types.InlineCompletionTriggerKind.Automatic),
        ),
        msg_id="to be cancelled",
    )
    client.cancel_request(types.CancelParams(id="to be cancelled"))
    try:
        result = await asyncio.wait_for(asyncio.wrap_future(future), LIMIT_S)
        assert isinstance(result, types.InlineCompletionList), "it was faster than its cancellation"
    except JsonRpcException as error:
        assert error.code == CANCELLED
    assert await items(client, *AT_RAISE), "and life goes on"


async def test_saving_closing_and_settings_are_taken_in_silence(client):
    opened(client)
    client.text_document_did_save(types.DidSaveTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=URI), text=ACCOUNT))
    client.workspace_did_change_configuration(types.DidChangeConfigurationParams(settings={"any": 1}))
    assert await items(client, *AT_RAISE)
    client.text_document_did_close(types.DidCloseTextDocumentParams(text_document=types.TextDocumentIdentifier(uri=URI)))
    with pytest.raises(JsonRpcException) as raised:
        await items(client, *AT_RAISE)
    assert raised.value.code == -32602
    assert client.log_messages == []


@pytest.mark.parametrize(
    ("encodings", "width"),
    [([types.PositionEncodingKind.Utf16], 2), ([types.PositionEncodingKind.Utf8], 4), ([types.PositionEncodingKind.Utf32], 1)],
)
async def test_positions_are_in_the_agreed_encoding(client, encodings, width):
    assert client.announced.capabilities.position_encoding == encodings[0]
    opened(client, ACCOUNT.replace("raise Val", "s = '🦀'; raise Val"))
    line, character = AT_RAISE
    column = character + len("s = ''; ") + width
    (item,) = await items(client, line, column)
    assert item.range.end == types.Position(line, column) and item.range.start == types.Position(line, column - 3)
    assert item.insert_text.startswith("Val")


async def test_the_status_tells_of_each_answer(client):
    opened(client)
    told = client.protocol.wait_for_notification_async("lacuna/status")
    assert await items(client, *AT_RAISE)
    report = await asyncio.wait_for(told, LIMIT_S)
    assert report.last.outcome == "suggest" and report.state == "ready"
