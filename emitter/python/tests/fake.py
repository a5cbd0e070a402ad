"""A gateway that answers what a test says: for what a real one does not do on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Events = list[dict[str, Any]]

#: A status and a body; bytes are sent as they are, with more announced.
Answer = tuple[int, Any]


class FakeGateway:
    """`answer` is asked for each request, with its topic and events; `seen` are the ids of each request."""

    def __init__(self, answer: Callable[[str, Events], Answer]) -> None:
        self.seen: list[list[int]] = []
        self._answer = answer
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events = json.loads(body)["events"]
                fake.seen.append([event["value"]["id"] for event in events])
                status, answer = fake._answer(self.path.split("/")[3], events)
                self.close_connection = is_cut = isinstance(answer, bytes)
                written = answer if is_cut else json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(written) + is_cut))
                    self.end_headers()
                    self.wfile.write(written)
                except OSError:
                    # The client has gone.
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._serving.start()

    def close(self) -> None:
        self._server.shutdown()
        self._serving.join()
        self._server.socket.close()


def taken(events: Events) -> Answer:
    """All are durable; their numbers are their ids."""
    ids = [event["value"]["id"] for event in events]
    return 200, {"results": [{"partition": 0, "offset": id, "sequence": id} for id in ids]}


def refusal(status: int, kind: str) -> dict[str, Any]:
    return {"error_code": status, "kind": kind, "message": "as the test says"}


def refused(events: Events, status: int, kind: str) -> Answer:
    """All are refused, each in its place."""
    error = refusal(status, kind)
    return status, {**error, "results": [error] * len(events)}
