"""A recorded session in the hands of an OpenTelemetry collector: a receiver on loopback that takes only what the protocol's own message
types can read."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import duckdb
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from session import record_a_session


@pytest.fixture
def recorded(lacuna):
    """A session in which one suggestion is accepted."""
    record_a_session(lacuna)
    return lacuna


class Receiver:
    def __init__(self, answers=()):
        self.requests, answers = [], list(answers)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/logs" and self.headers["Content-Type"] == "application/json"
                # Unknown fields and values of the wrong type are errors.
                receiver.requests.append(json_format.Parse(body, ExportLogsServiceRequest()))
                status, answer = answers.pop(0) if answers else (200, {"partialSuccess": {}})
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def records(self):
        return [r for request in self.requests for resource in request.resource_logs for scope in resource.scope_logs for r in scope.log_records]


def test_a_collector_receives_what_was_recorded(recorded):
    receiver = Receiver()
    recorded.run("telemetry", "export", "--format", "otlp", "--to", receiver.url)
    records = receiver.records()
    kinds = sorted(r.event_name for r in records)
    assert kinds == ["lacuna.activity", "lacuna.request", "lacuna.suggestion"]
    suggestion = next(r for r in records if r.event_name == "lacuna.suggestion")
    attributes = {a.key: a.value for a in suggestion.attributes}
    assert attributes["lacuna.state"].string_value == "accepted"
    assert attributes["lacuna.evidence"].string_value == "client"
    assert attributes["lacuna.accepted_chars"].int_value > 0
    assert suggestion.time_unix_nano == attributes["lacuna.at"].int_value * 1_000_000
    names = {a.key: a.value.string_value for a in receiver.requests[0].resource_logs[0].resource.attributes}
    assert names["service.name"] == "lacuna" and len(names["service.instance.id"]) == 16
    # Nothing of the text goes over the wire.
    sent = "".join(str(request) for request in receiver.requests)
    assert "area" not in sent and "width" not in sent


def test_a_busy_collector_is_tried_again_and_a_refusal_is_told(recorded):
    busy = Receiver(answers=[(503, {}), (429, {})])
    recorded.run("telemetry", "export", "--format", "otlp", "--to", busy.url)
    assert len(busy.requests) == 3
    for answer in ((400, {"message": "no"}), (200, {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "full"}})):
        recorded.run("telemetry", "export", "--format", "otlp", "--to", Receiver(answers=[answer]).url, code=2)
    recorded.run("telemetry", "export", "--format", "otlp", "--to", "http://127.0.0.1:9", code=2)
    recorded.run("telemetry", "export", "--format", "otlp", code=2)


def test_exports_of_a_store_are_read_by_duckdb(recorded):
    for kind in ("parquet", "jsonl", "csv"):
        path = recorded.home / f"rows.{kind}"
        recorded.run("telemetry", "export", "--format", kind, "-o", path)
        row = duckdb.connect().execute(f"SELECT kind, state, language, accepted_chars FROM '{path}' WHERE kind = 'suggestion'").fetchone()
        assert row[:3] == ("suggestion", "accepted", "python") and row[3] > 0
        assert recorded.json("telemetry", "report", path, "--json")["all"] == recorded.json("telemetry", "report", "--json")["all"]
    later = recorded.home / "later.jsonl"
    recorded.run("telemetry", "export", "--format", "jsonl", "--since", "2100-01-01", "-o", later)
    assert later.read_text() == ""
