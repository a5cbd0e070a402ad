"""The gateway that the tests are told of, fresh topics in it, and a line to it that can be cut."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import unittest
import uuid
from urllib.parse import urlsplit

from tidemesh_emitter import Emitter

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": None},
    ],
}


def variable(name: str) -> str:
    """What `cargo test -p tidemesh-emit-gateway python` sets."""
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set: run `cargo test -p tidemesh-emit-gateway python`")
    return value


GATEWAY = variable("TIDEMESH_TEST_GATEWAY")
REGISTRY = variable("TIDEMESH_TEST_REGISTRY")
TOKEN = variable("TIDEMESH_TEST_GATEWAY_TOKEN")


def new_topic(schema: dict = ORDER) -> str:
    """A topic that nobody has used, with one partition: so the numbers of its events tell how many there are."""
    topic = f"py.{uuid.uuid4().hex}"
    parts = urlsplit(REGISTRY)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    body = json.dumps({"schema": json.dumps(schema)})
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/subjects/{topic}-value/versions", body, headers)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"the registry answered {response.status}: {answer!r}")
    return topic


def order(number: int) -> dict:
    return {"id": number, "customer": "ada", "note": None}


class Line:
    """A port before the gateway. Of each connection the first `answers` answers come through; the next one is
    swallowed, and the connection is cut. `calm` ends that. While it is `away` nobody is let in."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self.cuts = 0
        self._is_calm = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def calm(self) -> None:
        self._is_calm.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        parts = urlsplit(GATEWAY)
        far = socket.create_connection((parts.hostname, parts.port))
        threading.Thread(target=_copy, args=(near, far), daemon=True).start()
        left = self._answers
        # The gateway writes an answer in one piece, and a client waits for it before it asks again.
        while data := far.recv(1 << 20):
            if left == 0 and not self._is_calm.is_set():
                self.cuts += 1
                break
            left -= 1
            near.sendall(data)
        for end in (near, far):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction has ended.
        pass


class WithEmitter(unittest.TestCase):
    """Tests with an emitter on the gateway itself."""

    def setUp(self) -> None:
        self.emitter = self.an_emitter()

    def an_emitter(self, url: str = GATEWAY, token: str | None = TOKEN, **more) -> Emitter:
        emitter = Emitter(url, token, **more)
        self.addCleanup(emitter.close)
        return emitter
