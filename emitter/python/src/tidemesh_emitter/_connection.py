"""One connection to the gateway, kept between requests, and how long is tried what may pass."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

from ._errors import EmitError, Unavailable, can_pass, from_body

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
        self, method: str, path: str, body: bytes | None, until: float
    ) -> tuple[int, Any]:
        """The answer's status and body; tried again until it is one that does not pass, or `until` is over.

        What is sent must be the same if it is sent twice: each event has its idempotency key.
        """
        pause = PAUSE_MIN_S
        while True:
            error: EmitError
            try:
                with self._lock:
                    status, answer, after = self._once(method, path, body)
                if not can_pass(status):
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

    def _once(self, method: str, path: str, body: bytes | None) -> tuple[int, Any, float]:
        if self._http is not None and time.monotonic() - self._used > IDLE_MAX_S:
            self._drop()
        connection = self._http or self._connect()
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, self._prefix + path, body=body, headers=headers)
            response = connection.getresponse()
            read = response.read(ANSWER_BYTES_MAX)
        except BaseException:
            # What comes next on this connection would be the answer to this request.
            self._drop()
            raise
        self._used = time.monotonic()
        if response.will_close:
            self._drop()
        try:
            answer = json.loads(read)
        except ValueError:
            # A proxy between may have said that.
            answer = None
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

    def close(self) -> None:
        """Closes it; the next request would open it again."""
        with self._lock:
            self._drop()


def topic_path(topic: str) -> str:
    """A topic's path."""
    return f"/v1/topics/{quote(topic, safe='')}"
