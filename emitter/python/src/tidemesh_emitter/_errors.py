"""What goes wrong, by what an application does about it."""

from __future__ import annotations

from typing import Any


class EmitError(Exception):
    """An event could not be emitted. `kind`, `status` and `path` are as the gateway's OpenAPI document has them."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "internal",
        status: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        #: The field that is to blame: `order.lines[3].price` within the event's value.
        self.path = path


class EventRefused(EmitError):
    """The event, or the request, is not one that the topic takes: sending it again does not help."""


class NotPermitted(EmitError):
    """The gateway does not know the client, or the client may not use the topic."""


class QueueFull(EmitError):
    """A queue is full: this emitter's own, or, for longer than it is tried, the gateway's."""


class Unavailable(EmitError):
    """The gateway, or what stands behind it, is away for longer than it is tried. Whether the event is durable
    in the end is not known."""


class ClosedError(EmitError):
    """The emitter is closed."""


def from_body(status: int, body: Any) -> EmitError:
    """The error that a status and the gateway's error form say."""
    if not isinstance(body, dict):
        body = {}
    code = body.get("error_code", status)
    message = str(body.get("message", f"the gateway answered {status}"))
    kind = str(body.get("kind", "internal"))
    path = body.get("path")
    return _class_of(code)(message, kind=kind, status=code, path=path)


def _class_of(code: int) -> type[EmitError]:
    if code in (401, 403):
        return NotPermitted
    if code == 429:
        return QueueFull
    # An answer that says it went well, and does not say how, leaves it open too.
    if code == 409 or code >= 500 or code < 400:
        return Unavailable
    return EventRefused


def can_pass(code: int) -> bool:
    """Whether what has this status may be sent again."""
    return code in (408, 429, 503)


def answer_can_pass(status: int, body: Any) -> bool:
    """Whether a request with this answer may be sent again: a proxy's own 502 and 504 pass, too; the gateway's
    have its error form."""
    is_gateways = isinstance(body, dict) and "error_code" in body
    return can_pass(status) or (status in (502, 504) and not is_gateways)


def keeps_back(outcome: object) -> bool:
    """Whether what stands behind this outcome must not be sent, so that order stays: the event may come yet."""
    return isinstance(outcome, Unavailable) or (
        isinstance(outcome, EmitError) and can_pass(outcome.status or 0)
    )
