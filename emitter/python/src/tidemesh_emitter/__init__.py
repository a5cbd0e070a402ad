"""Emits an application's events to Tidemesh, through `tidemesh emit-gateway`.

    from tidemesh_emitter import Emitter

    with Emitter("http://127.0.0.1:8093", token="...") as emitter:
        receipt = emitter.emit("shop.orders", {"id": 7, "customer": "ada"})

An event is durable when `emit` returns. What is sent again, since a connection was lost or the log was away,
is sent under the same idempotency key, which the gateway sends on once.
"""

from ._emitter import Emitter
from ._errors import (
    ClosedError,
    EmitError,
    EventRefused,
    NotPermitted,
    QueueFull,
    Unavailable,
)
from ._queue import Delivery, WhenFull
from ._types import Event, Receipt, Topic

__all__ = [
    "ClosedError",
    "Delivery",
    "EmitError",
    "Emitter",
    "Event",
    "EventRefused",
    "NotPermitted",
    "QueueFull",
    "Receipt",
    "Topic",
    "Unavailable",
    "WhenFull",
]
