"""Events that were taken and are sent in the background: a bounded queue, and what tells of each."""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from dataclasses import dataclass

from ._errors import ClosedError, EmitError, QueueFull
from ._types import Receipt


class WhenFull(enum.Enum):
    """What to do with an event that finds the queue full."""

    #: `enqueue` waits until there is room.
    WAIT = "wait"
    #: `enqueue` raises `QueueFull`.
    FAIL = "fail"
    #: The event is dropped and counted; its delivery says so.
    DROP = "drop"


class Delivery:
    """An event that was taken. `result` tells where it has become durable; forgetting it changes nothing."""

    def __init__(self, *, dropped: bool = False) -> None:
        self._ended = threading.Event()
        self._receipt: Receipt | None = None
        self._error: EmitError | None = None
        #: Whether the event was dropped at once, as `WhenFull.DROP` has it.
        self.dropped = dropped
        if dropped:
            self._error = QueueFull(
                "the event was dropped: the queue was full, and is told to drop then",
                kind="exhausted",
            )
            self._ended.set()

    def done(self) -> bool:
        """Whether it has ended: is durable, or has failed."""
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> Receipt:
        """Waits until the event is durable.

        Raises what ended it, or TimeoutError if it goes on for longer than `timeout` seconds.
        """
        if not self._ended.wait(timeout):
            raise TimeoutError("the event is not durable yet")
        if self._error is not None:
            raise self._error
        assert self._receipt is not None
        return self._receipt

    def _end(self, outcome: Receipt | EmitError) -> None:
        if isinstance(outcome, Receipt):
            self._receipt = outcome
        else:
            self._error = outcome
        self._ended.set()


@dataclass
class Queued:
    """An event in the queue, encoded."""

    topic: str
    encoded: bytes
    delivery: Delivery
    #: Until when it is tried, in `time.monotonic()` seconds; the queue says it once there is room.
    until: float = 0.0


class Queue:
    """Bounded by bytes; what is being sent counts too."""

    def __init__(self, bytes_max: int, when_full: WhenFull, retry_timeout_s: float) -> None:
        self._bytes_max, self._when_full = bytes_max, when_full
        self._retry_timeout_s = retry_timeout_s
        self._events: deque[Queued] = deque()
        self._bytes = 0
        #: Events that were put in and have not ended.
        self._open = 0
        self._closed = False
        self._failed: EmitError | None = None
        self._changed = threading.Condition()
        self.dropped = 0
        #: Events that were taken and have failed.
        self.failures = 0

    def put(self, event: Queued) -> Delivery:
        """Takes an event, or does with it what `WhenFull` says."""
        size = len(event.encoded)
        with self._changed:
            # One that is larger than the queue goes alone.
            while not self._closed and self._bytes and self._bytes + size > self._bytes_max:
                if self._when_full is WhenFull.DROP:
                    self.dropped += 1
                    return Delivery(dropped=True)
                if self._when_full is WhenFull.FAIL:
                    raise QueueFull(
                        "the queue is full: events come faster than they become durable "
                        f"(queue_bytes_max={self._bytes_max})",
                        kind="exhausted",
                    )
                self._changed.wait()
            if self._closed:
                raise ClosedError("the emitter is closed", kind="unavailable")
            event.until = time.monotonic() + self._retry_timeout_s
            self._events.append(event)
            self._bytes += size
            self._open += 1
            self._changed.notify_all()
            return event.delivery

    def take(self, events_max: int, batch_bytes_max: int) -> list[Queued]:
        """Waits for events and takes the oldest ones that go to one topic; none once the queue has ended."""
        with self._changed:
            while not self._events and not self._closed:
                self._changed.wait()
            taken: list[Queued] = []
            size = 0
            while self._events and len(taken) < events_max:
                event = self._events[0]
                size += len(event.encoded) + 1
                if taken and (event.topic != taken[0].topic or size > batch_bytes_max):
                    break
                taken.append(self._events.popleft())
            return taken

    def take_topic(self, topic: str) -> list[Queued]:
        """Takes all that goes to a topic, as when what was before it has failed."""
        with self._changed:
            taken = [event for event in self._events if event.topic == topic]
            self._events = deque(event for event in self._events if event.topic != topic)
            return taken

    @property
    def open(self) -> int:
        """Events that were put in and have not ended."""
        with self._changed:
            return self._open

    def ended(self, event: Queued, outcome: Receipt | EmitError) -> None:
        """An event that was taken has ended so."""
        event.delivery._end(outcome)
        with self._changed:
            self._bytes -= len(event.encoded)
            self._open -= 1
            if isinstance(outcome, EmitError):
                self.failures += 1
                self._failed = self._failed or outcome
            self._changed.notify_all()

    def flush(self, timeout: float | None) -> None:
        """Waits until all that was put in has ended; raises the first failure since the last call."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, timeout):
                raise TimeoutError("events are not durable yet")
            failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def close(self) -> None:
        """From here on nothing is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
