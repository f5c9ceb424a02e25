"""A language client that checks every message of the server against the types of the specification, both ways."""

from lsprotocol import types
from pygls.protocol import default_converter
from pytest_lsp import LanguageClient
from pytest_lsp.client import register_lsp_features
from pytest_lsp.protocol import LanguageClientProtocol

#: Ours (docs/protocol.md) and other servers': the specification has no types for them.
BEYOND = ("lacuna/", "didChangeStatus")


def without_nulls(value):
    """An absent key and null are the same to the specification's types."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    return value


class StrictProtocol(LanguageClientProtocol):
    """Reading a message into its type and writing it again must give the same message: nothing unknown, nothing misplaced."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.faults = []
        self.checked = 0

    def structure_message(self, data):
        try:
            message = super().structure_message(data)
        except Exception as error:
            self.faults.append(f"{data}: {error!r}")
            raise
        if "jsonrpc" not in data or data.get("method", "").startswith(BEYOND):
            return message
        self.checked += 1
        again = self._converter.unstructure(message)
        if without_nulls(again) != without_nulls(data):
            self.faults.append(f"{data} was read as {again}")
        if data["jsonrpc"] != "2.0" or ("method" not in data and ("result" in data) == ("error" in data)):
            self.faults.append(f"not JSON-RPC 2.0: {data}")
        return message


def strict_client():
    client = LanguageClient(protocol_cls=StrictProtocol, converter_factory=default_converter)
    register_lsp_features(client)
    return client


def capabilities(encodings):
    return types.ClientCapabilities(
        general=types.GeneralClientCapabilities(position_encodings=encodings),
        text_document=types.TextDocumentClientCapabilities(
            inline_completion=types.InlineCompletionClientCapabilities(dynamic_registration=False),
            synchronization=types.TextDocumentSyncClientCapabilities(did_save=True),
        ),
        workspace=types.WorkspaceClientCapabilities(workspace_folders=True),
        experimental={"lacunaStatus": True},
    )
