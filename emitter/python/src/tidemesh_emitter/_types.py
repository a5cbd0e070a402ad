"""Events, and what is known of them once they are durable."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Receipt:
    """Where an event is durable."""

    topic: str
    partition: int
    #: Unknown where the event is there and the answer that told where was lost.
    offset: int | None
    #: Its number among the gateway's events in the partition, since the gateway began.
    sequence: int | None


@dataclass(frozen=True)
class Topic:
    """A topic with its schema."""

    name: str
    schema_id: int
    schema: str
    key: list[str]
    partitions: int


@dataclass
class Event:
    """An event with what is said of it beside its fields."""

    value: Mapping[str, Any]
    headers: Mapping[str, str] | None = None
    #: When it happened, in milliseconds since 1970 or with a time zone. Default: now.
    event_time: int | datetime.datetime | None = None
    ordering_key: str | None = None
    partition: int | None = None
    #: Names the event; one is made if none is given.
    idempotency_key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def encoded(self) -> bytes:
        """As the gateway takes it.

        Decimals, dates, times and UUIDs become text, bytes become a list of numbers.

        Raises TypeError or ValueError for what JSON has no form for.
        """
        written: dict[str, Any] = {"value": self.value, "idempotency_key": self.idempotency_key}
        if self.headers:
            written["headers"] = dict(self.headers)
        if self.event_time is not None:
            written["event_time_ms"] = _milliseconds(self.event_time)
        if self.ordering_key is not None:
            written["ordering_key"] = self.ordering_key
        if self.partition is not None:
            written["partition"] = self.partition
        try:
            text = json.dumps(written, default=_json, allow_nan=False, separators=(",", ":"))
        except ValueError:
            # Python's own message may repeat the value.
            raise ValueError(
                "an event cannot have a number that is not finite, or hold itself"
            ) from None
        return text.encode()


def _milliseconds(at: int | datetime.datetime) -> int:
    if isinstance(at, datetime.datetime):
        if at.tzinfo is None:
            raise ValueError("event_time needs a time zone: datetime.now(timezone.utc)")
        since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
        return since // datetime.timedelta(milliseconds=1)
    return at


def _json(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return list(bytes(value))
    if isinstance(value, Mapping):
        return dict(value)
    # The value itself is not repeated.
    raise TypeError(f"an event cannot have a value of type {type(value).__name__}")
