"""Payloads that later changes of the user's objects cannot reach."""

from __future__ import annotations

from distributed.payloads import Buffer, Payload

__all__ = ["detached"]


def detached(payload: Payload) -> Payload:
    """Return the payload with its own copy of all memory that the user could still write to.

    A call is sent some time after ``submit`` has returned, and an array among its arguments is sent from where it lies:
    a program that fills the same array anew for each call would otherwise change calls that it made before.
    """
    if isinstance(payload, bytes):
        return payload
    return [_detached(part) if isinstance(part, Buffer) else part for part in payload]


def _detached(buffer: Buffer) -> Buffer:
    with memoryview(buffer.data) as view:
        return buffer if view.readonly else Buffer(view.tobytes())
