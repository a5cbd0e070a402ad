"""One connection to the gateway, kept between requests, and how long is tried what may pass."""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

from ._errors import ClosedError, EmitError, Unavailable, answer_can_pass, from_body

#: The first pause before something is tried again, in seconds; each one is twice as long as the one before.
PAUSE_MIN_S = 0.05

#: The longest pause, in seconds.
PAUSE_MAX_S = 5.0

#: How long after its last use a connection is taken for good, in seconds: the gateway closes those that are
#: idle for 75 seconds.
IDLE_MAX_S = 60.0

#: The most bytes of an answer.
ANSWER_BYTES_MAX = 256 * 1024 * 1024


class Connection:
    """Sends requests, one after the other. Threads wait for one another."""

    def __init__(
        self,
        url: str,
        token: str | None,
        request_timeout_s: float,
        context: ssl.SSLContext | None,
        closing: threading.Event,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the gateway's address must be http://HOST:PORT or https://HOST:PORT")
        if parts.username or parts.password:
            raise ValueError("no user stands in the gateway's address: give the token by itself")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ValueError("a token is printable ASCII")
        self._host, self._port = parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._context = context or ssl.create_default_context() if parts.scheme == "https" else None
        self._timeout_s = request_timeout_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http: http.client.HTTPConnection | None = None
        self._used = 0.0
        self._lock = threading.Lock()
        self._closing = closing

    def request(
        self, method: str, path: str, body: bytes | None, until: float, member: str
    ) -> tuple[int, Any]:
        """The answer's status and body; tried again until it is one that does not pass, or `until` is over.

        An answer that says it went well and has no `member` was cut short, or is not the gateway's. What is
        sent must be the same if it is sent twice: each event has its idempotency key.
        """
        pause = PAUSE_MIN_S
        while True:
            error: EmitError
            try:
                with self._lock:
                    if self._closing.is_set():
                        raise ClosedError("the emitter was closed before", kind="unavailable")
                    status, answer, after = self._once(method, path, body, member)
                if not answer_can_pass(status, answer):
                    return status, answer
                error = from_body(status, answer)
            except (OSError, http.client.HTTPException) as broken:
                error = Unavailable(
                    f"the gateway cannot be reached: {type(broken).__name__}", kind="unavailable"
                )
                error.__cause__, status, answer, after = broken, 0, None, 0.0
            # Some of what was refused may be of the kind that passes, and some not.
            wait = max(after, pause * (0.5 + random.random() / 2))
            if time.monotonic() + wait > until or self._closing.is_set():
                if status and isinstance(answer, dict) and "results" in answer:
                    return status, answer
                raise error
            self._closing.wait(wait)
            pause = min(pause * 2, PAUSE_MAX_S)

    def _once(
        self, method: str, path: str, body: bytes | None, member: str
    ) -> tuple[int, Any, float]:
        if self._http is not None and time.monotonic() - self._used > IDLE_MAX_S:
            self._drop()
        connection = self._http or self._connect()
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, body=body, headers=headers)
            response = connection.getresponse()
            answer = _answer(response, member)
        except BaseException:
            # What comes next on this connection would be the answer to this request.
            self._drop()
            raise
        self._used = time.monotonic()
        if response.will_close:
            self._drop()
        after = response.headers.get("Retry-After", "")
        return response.status, answer, float(after) if after.isdigit() else 0.0

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is not None:
            self._http = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._context
            )
        else:
            self._http = http.client.HTTPConnection(
                self._host, self._port, timeout=self._timeout_s
            )
        return self._http

    def _drop(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def close(self, timeout: float | None = None) -> None:
        """Waits for the request that there is, for `timeout` seconds at most, and closes it.

        One that takes longer is cut off, and told as one whose connection was lost.
        """
        wait = self._timeout_s if timeout is None else max(timeout, 0.0)
        if self._lock.acquire(timeout=wait):
            try:
                self._drop()
            finally:
                self._lock.release()
        else:
            _cut(self._http)


def _answer(response: http.client.HTTPResponse, member: str) -> Any:
    """An answer's JSON; none if it is no JSON: a proxy between may have said that."""
    read = response.read(ANSWER_BYTES_MAX)
    # `read` with a bound says nothing of what is missing.
    if response.length:
        raise http.client.IncompleteRead(read, response.length)
    try:
        answer = json.loads(read)
    except ValueError:
        answer = None
    is_whole = isinstance(answer, dict) and member in answer
    if 200 <= response.status < 300 and not is_whole:
        raise http.client.IncompleteRead(read)
    return answer


def _cut(connection: http.client.HTTPConnection | None) -> None:
    """Wakes the thread that waits for an answer there."""
    stream = connection.sock if connection is not None else None
    if stream is not None:
        try:
            # Not TLS's own `shutdown`, which changes what the other thread is using.
            socket.socket.shutdown(stream, socket.SHUT_RDWR)
        except OSError:
            # It was gone already.
            pass


def topic_path(topic: str) -> str:
    """A topic's path."""
    return f"/v1/topics/{quote(topic, safe='')}"
