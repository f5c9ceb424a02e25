"""An editor that says the least, and a session in which it accepts one suggestion of the embedded model."""

import json

TEXT = "def area(width, height):\n    return \n"


class Editor:
    """The least that a language client must say."""

    def __init__(self, lacuna):
        self.server, self.next_id = lacuna.lsp(), 0

    def send(self, method, params, request=False):
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if request:
            self.next_id += 1
            message["id"] = self.next_id
        body = json.dumps(message).encode()
        self.server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.server.stdin.flush()
        while request:
            length = 0
            while line := self.server.stdout.readline().strip():
                name, value = line.split(b": ")
                length = int(value) if name == b"Content-Length" else length
            reply = json.loads(self.server.stdout.read(length))
            if reply.get("id") == self.next_id:
                return reply["result"]


def record_a_session(lacuna):
    file = lacuna.home / "area.py"
    file.write_text(TEXT)
    editor = Editor(lacuna)
    editor.send("initialize", {"capabilities": {}, "initializationOptions": {"latency": {"deadline_ms": 0}, "show": {"min_confidence": 0}}}, request=True)
    editor.send("initialized", {})
    document = {"uri": file.as_uri(), "version": 1}
    editor.send("textDocument/didOpen", {"textDocument": {**document, "languageId": "python", "text": TEXT}})
    at = {"line": 1, "character": 11}
    items = editor.send("textDocument/inlineCompletion", {"textDocument": document, "position": at, "context": {"triggerKind": 2}}, request=True)["items"]
    assert items, "the embedded model has something to say"
    change = {"range": items[0]["range"], "text": items[0]["insertText"]}
    editor.send("textDocument/didChange", {"textDocument": {**document, "version": 2}, "contentChanges": [change]})
    editor.send("workspace/executeCommand", {"command": items[0]["command"]["command"], "arguments": items[0]["command"]["arguments"]}, request=True)
    editor.send("shutdown", None, request=True)
    editor.send("exit", None)
    assert editor.server.wait(60) == 0
