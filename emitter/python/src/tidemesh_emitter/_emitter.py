"""The emitter: takes an application's events, and says when they are durable."""

from __future__ import annotations

import atexit
import datetime
import logging
import os
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from ._connection import Connection, topic_path
from ._errors import ClosedError, EmitError, QueueFull, can_pass, from_body, keeps_back
from ._queue import Delivery, Queue, Queued, WhenFull
from ._types import Event, Receipt, Topic

#: The most events of a request: below the gateway's own bound.
BATCH_EVENTS_MAX = 1_000

#: The most bytes of a request: below the gateway's own bound.
BATCH_BYTES_MAX = 1024 * 1024

#: How long is waited before events that found no room, among others that did, are sent again, in seconds.
AGAIN_S = 0.2

#: How long the end of the process waits for what was enqueued where nobody closed the emitter, in seconds.
EXIT_FLUSH_S = 5.0

#: How long closing waits for a request that it has cut off, in seconds.
CUT_S = 0.5

#: Statuses that may be one event's fault and be told of the whole request.
_ONE_EVENTS_FAULT = (400, 413, 422)

_LOG = logging.getLogger("tidemesh_emitter")

_BEGIN, _END = b'{"events":[', b"]}"


class Emitter:
    """Emits events through `tidemesh emit-gateway`.

    Threads may share one. What is emitted in one call, or enqueued, is sent in that order; an event is durable
    once its receipt is there. A connection that is lost, a gateway that is away and a queue there that is full
    are tried again for `retry_timeout_s`, each event under its own idempotency key.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retry_timeout_s: float = 60.0,
        request_timeout_s: float = 90.0,
        queue_bytes_max: int = 8 * 1024 * 1024,
        when_full: WhenFull | str = WhenFull.WAIT,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing is sent yet.

        :param url: the gateway's address, as `http://127.0.0.1:8093` or `https://gateway.example`.
        :param token: the client's token, where the gateway asks for one.
        :param retry_timeout_s: how long is tried again what may pass; of an event that is enqueued, from then on.
        :param request_timeout_s: how long an answer is waited for; the gateway takes at most 60 s.
        :param queue_bytes_max: bytes of events that were enqueued and are not durable yet.
        :param when_full: what `enqueue` does with an event that finds the queue full.
        :param ssl_context: for `https`, in the place of the default one; for an authority of one's own
            `ssl.create_default_context(cafile="ca.pem")`.
        """
        self._retry_timeout_s = retry_timeout_s
        self._closing = threading.Event()
        settings = (url, token, request_timeout_s, ssl_context, self._closing)
        self._connection = Connection(*settings)
        # The queue has a connection of its own: what it waits for holds up nobody who emits.
        self._background = Connection(*settings)
        self._queue = Queue(queue_bytes_max, WhenFull(when_full), retry_timeout_s)
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False
        # After a fork the thread that sends is the parent's alone, and so is what was enqueued.
        self._process = os.getpid()

    def emit(
        self,
        topic: str,
        value: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        event_time: int | datetime.datetime | None = None,
        ordering_key: str | None = None,
        partition: int | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Emits an event and waits until it is durable.

        Raises `EventRefused`, with the field's `path`, for one that does not conform to the topic's schema;
        `NotPermitted`; `QueueFull` and `Unavailable` for what has not passed in time.
        """
        event = _event(value, headers, event_time, ordering_key, partition, idempotency_key)
        (outcome,) = self.emit_many(topic, [event])
        if isinstance(outcome, EmitError):
            raise outcome
        return outcome

    def emit_many(
        self, topic: str, events: Iterable[Mapping[str, Any] | Event]
    ) -> list[Receipt | EmitError]:
        """Emits events, in order, and waits until each is durable or refused: what became of each.

        A plain mapping is an event's value. Raises `NotPermitted`, and what else concerns all of them, while
        none is durable; later that is told in the place of each event that it concerns. Once a request has not
        passed in time, the events behind it are not sent, so that order stays, and have its error.
        """
        if self._closed:
            raise ClosedError("the emitter is closed", kind="unavailable")
        encoded = [
            (event if isinstance(event, Event) else Event(event)).encoded() for event in events
        ]
        outcomes: list[Receipt | EmitError] = []
        for batch in _batches(encoded):
            until = time.monotonic() + self._retry_timeout_s
            try:
                outcomes += self._send(self._connection, topic, batch, until)
            except EmitError as error:
                if not outcomes:
                    raise
                outcomes.append(error)
                break
            if any(map(keeps_back, outcomes)):
                break
        return _filled(outcomes, len(encoded))

    def enqueue(
        self,
        topic: str,
        value: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        event_time: int | datetime.datetime | None = None,
        ordering_key: str | None = None,
        partition: int | None = None,
        idempotency_key: str | None = None,
    ) -> Delivery:
        """Takes an event, which is sent in the background, together with those that were enqueued meanwhile.

        Raises `QueueFull` if the queue is full and is told to fail then; `ClosedError`.
        """
        event = _event(value, headers, event_time, ordering_key, partition, idempotency_key)
        delivery = self._queue.put(Queued(topic, event.encoded(), Delivery()))
        if self._sender is None:
            self._start()
        return delivery

    def topic(self, name: str) -> Topic:
        """A topic with its schema."""
        until = time.monotonic() + self._retry_timeout_s
        status, body = self._connection.request("GET", topic_path(name), None, until, "schema")
        if status != 200 or not isinstance(body, dict):
            raise from_body(status, body)
        return Topic(
            name=body["topic"],
            schema_id=body["schema_id"],
            schema=body["schema"],
            key=body["key"],
            partitions=body["partitions"],
        )

    @property
    def dropped(self) -> int:
        """How many events were dropped since the queue was full."""
        return self._queue.dropped

    def flush(self, timeout: float | None = None) -> None:
        """Waits until everything that was enqueued has ended.

        Raises the first failure since the last call, or TimeoutError.
        """
        self._queue.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Takes no more events, and waits until what was enqueued has ended, or for `timeout` seconds.

        What is being sent then is cut off. Raises as `flush`.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self._closed = True
        self._queue.close()
        try:
            self._queue.flush(timeout)
        finally:
            # What is tried again ends after its present try.
            self._closing.set()
            for connection in (self._connection, self._background):
                connection.close(_left(until))
            if self._sender is not None and self._sender is not threading.current_thread():
                self._sender.join(CUT_S if until is None else max(_left(until) or 0.0, CUT_S))
            _open_emitters.discard(self)

    def __enter__(self) -> Emitter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        with self._starting:
            if self._sender is None:
                self._sender = threading.Thread(
                    target=self._run, name="tidemesh-emitter", daemon=True
                )
                _open_emitters.add(self)
                self._sender.start()

    def _run(self) -> None:
        while taken := self._queue.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX):
            outcomes = self._outcomes(taken)
            kept_back = next(filter(keeps_back, outcomes), None)
            if isinstance(kept_back, EmitError):
                # Sent now, they would be before the event that may be emitted again.
                behind = self._queue.take_topic(taken[0].topic)
                taken, outcomes = taken + behind, [*outcomes, *[kept_back] * len(behind)]
            for event, outcome in zip(taken, outcomes, strict=True):
                self._queue.ended(event, outcome)

    def _outcomes(self, taken: Sequence[Queued]) -> Sequence[Receipt | EmitError]:
        try:
            encoded = [event.encoded for event in taken]
            # The first was put in before the others: with it they are late.
            return self._send(self._background, taken[0].topic, encoded, taken[0].until)
        except EmitError as error:
            return [error] * len(taken)
        except Exception as error:  # A mistake of ours must not leave who waits without an end.
            broken = EmitError(f"the emitter broke: {type(error).__name__}")
            broken.__cause__ = error
            return [broken] * len(taken)

    def _exit(self, timeout: float) -> None:
        """Delivers what it can while the process ends, and tells what is lost."""
        before = self._queue.failures
        try:
            self.close(timeout)
        except (EmitError, TimeoutError):
            # The count below says it.
            pass
        lost = self._queue.open + self._queue.failures - before
        if lost:
            _LOG.warning(
                "%d events that were enqueued are lost with the process: close the emitter before it ends",
                lost,
            )

    def _send(
        self, connection: Connection, topic: str, encoded: Sequence[bytes], until: float
    ) -> list[Receipt | EmitError]:
        """Sends events until each is durable, or refused for good, or it is late."""
        path = topic_path(topic) + "/events"
        outcomes: list[Receipt | EmitError | None] = [None] * len(encoded)
        left = list(range(len(encoded)))
        while left:
            parts = [encoded[place] for place in left]
            body = _BEGIN + b",".join(parts) + _END
            status, answer = connection.request("POST", path, body, until, "results")
            results = answer.get("results") if isinstance(answer, dict) else None
            if not isinstance(results, list) or len(results) != len(left):
                error = from_body(status, answer)
                if status not in _ONE_EVENTS_FAULT:
                    raise error
                told = self._halves(connection, topic, parts, until, error)
                for place, outcome in zip(left, told, strict=True):
                    outcomes[place] = outcome
                break
            again = []
            for place, result in zip(left, results, strict=True):
                outcome = _outcome(topic, result)
                outcomes[place] = outcome
                if isinstance(outcome, EmitError) and can_pass(outcome.status or 0):
                    again.append(place)
            left = again
            if time.monotonic() + AGAIN_S > until or self._closing.is_set():
                break
            if left:
                self._closing.wait(AGAIN_S)
        return [outcome for outcome in outcomes if outcome is not None]

    def _halves(
        self,
        connection: Connection,
        topic: str,
        encoded: Sequence[bytes],
        until: float,
        error: EmitError,
    ) -> list[Receipt | EmitError]:
        """Sends what was refused as a whole in two halves, in order: so one event is refused in the end, not
        all that were beside it."""
        if len(encoded) == 1:
            return [error]
        outcomes: list[Receipt | EmitError] = []
        middle = len(encoded) // 2
        for half in (encoded[:middle], encoded[middle:]):
            try:
                outcomes += self._send(connection, topic, half, until)
            except EmitError as failed:
                outcomes.append(failed)
                break
            if any(map(keeps_back, outcomes)):
                break
        return _filled(outcomes, len(encoded))


#: Those that are to be closed when the process ends.
_open_emitters: weakref.WeakSet[Emitter] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    until = time.monotonic() + EXIT_FLUSH_S
    mine = [emitter for emitter in _open_emitters if emitter._process == os.getpid()]
    for emitter in mine:
        emitter._exit(max(until - time.monotonic(), 0.0))


def _left(until: float | None) -> float | None:
    return None if until is None else max(until - time.monotonic(), 0.0)


def _filled(outcomes: list[Receipt | EmitError], length: int) -> list[Receipt | EmitError]:
    """With the error that stopped it for those behind it, which keep their order by not being sent."""
    if len(outcomes) < length:
        stopped = next((one for one in outcomes if keeps_back(one)), outcomes[-1])
        outcomes += [stopped] * (length - len(outcomes))
    return outcomes


def _event(
    value: Mapping[str, Any],
    headers: Mapping[str, str] | None,
    event_time: int | datetime.datetime | None,
    ordering_key: str | None,
    partition: int | None,
    idempotency_key: str | None,
) -> Event:
    event = Event(value, headers, event_time, ordering_key, partition)
    if idempotency_key is not None:
        event.idempotency_key = idempotency_key
    return event


def _batches(encoded: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    """Parts that a request may have, in order; a large event goes alone."""
    begin = size = 0
    for place, event in enumerate(encoded):
        is_full = place - begin >= BATCH_EVENTS_MAX or size + len(event) > BATCH_BYTES_MAX
        if place > begin and is_full:
            yield encoded[begin:place]
            begin, size = place, 0
        size += len(event) + 1
    if begin < len(encoded):
        yield encoded[begin:]


def _outcome(topic: str, result: Any) -> Receipt | EmitError:
    if not isinstance(result, dict):
        return EmitError("the gateway's answer is none that is known")
    if result.get("dropped"):
        message = "the gateway dropped the event: its queue was full"
        return QueueFull(message, kind="exhausted")
    if "error_code" in result:
        return from_body(result["error_code"], result)
    return Receipt(topic, result["partition"], result.get("offset"), result.get("sequence"))
