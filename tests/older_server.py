#!/usr/bin/env python3
"""A server of before docs/protocol.md: passes messages on, without what goes beyond the standard.

Usage: older_server.py LACUNA [ARGUMENT…]
"""

import json
import subprocess
import sys
import threading

METHOD_NOT_FOUND = -32601


def read(stream):
    """One message, or None at the end."""
    length = None
    while line := stream.readline():
        if line == b"\r\n":
            break
        name, value = line.split(b":", 1)
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(stream.read(length)) if length is not None else None


def write(stream, message):
    body = json.dumps(message).encode()
    stream.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    stream.flush()


def is_newer(message):
    """Whether a client's message is one that an older server does not know."""
    command = (message.get("params") or {}).get("command", "") if message.get("method") == "workspace/executeCommand" else ""
    return message.get("method") == "lacuna/status" or command in ("lacuna.pause", "lacuna.resume", "lacuna.status")


def to_client(server, lock):
    while message := read(server.stdout):
        capabilities = (message.get("result") or {}).get("capabilities") if isinstance(message.get("result"), dict) else None
        if capabilities:
            capabilities.pop("experimental", None)
            capabilities["executeCommandProvider"] = {"commands": ["lacuna.accepted"]}
            message["result"]["serverInfo"]["version"] = "0.0.1"
        if message.get("method") != "lacuna/status":
            with lock:
                write(sys.stdout.buffer, message)


def main():
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lock = threading.Lock()
    thread = threading.Thread(target=to_client, args=(server, lock), daemon=True)
    thread.start()
    while message := read(sys.stdin.buffer):
        if not is_newer(message):
            write(server.stdin, message)
        elif "id" in message:
            error = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
            with lock:
                write(sys.stdout.buffer, {"jsonrpc": "2.0", "id": message["id"], "error": error})
    server.stdin.close()
    thread.join(10)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main())
