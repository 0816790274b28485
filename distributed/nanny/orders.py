"""What a process with nannies and its fork server tell each other, one JSON line per message.

Orders go down a stream socket whose end of file also says that the sender is gone; reports come up
a pipe that the fork server and all workers write, each line in one piece.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "Ending",
    "Exited",
    "Listening",
    "Order",
    "Registered",
    "Report",
    "SendSignal",
    "Spawn",
    "Spawned",
    "WorkerSettings",
    "decode_order",
    "decode_report",
    "encode",
]


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker process is told.

    ``scheduler`` is ``"host:port"``; ``cluster_file``, if any, says it anew at each attempt to
    connect.  ``host`` is the address to listen on, ``memory_limit`` bytes, 0 for none;
    ``death_timeout_s`` None for ever; ``environment`` holds variables to set, ``defaults`` those to
    set unless the process has them; ``shared_memory`` is a mode, None for the environment's.
    """

    scheduler: str | None
    secret: bytes
    cluster_file: str | None = None
    host: str | None = None
    port: int = 0
    name: str | None = None
    nthreads: int = 1
    memory_limit: int = 0
    resources: dict[str, float] = {}
    nanny: str | None = None
    job_id: str = ""
    death_timeout_s: float | None = 60.0
    local_directory: str | None = None
    environment: dict[str, str] = {}
    defaults: dict[str, str] = {}
    log_level: str | None = None
    shared_memory: str | None = None


class Spawn(msgspec.Struct, tag=True):
    """Fork a worker process, to be called ``id`` from now on."""

    id: int
    settings: WorkerSettings


class SendSignal(msgspec.Struct, tag=True):
    """Send a signal to a worker process, if it still lives."""

    id: int
    number: int


class Spawned(msgspec.Struct, tag=True):
    """The process exists."""

    id: int
    pid: int


class Listening(msgspec.Struct, tag=True):
    """The worker listens at ``address`` and keeps its files in ``directory``."""

    id: int
    address: str
    directory: str


class Registered(msgspec.Struct, tag=True):
    """The scheduler at ``scheduler`` knows the worker."""

    id: int
    scheduler: str


class Ending(msgspec.Struct, tag=True):
    """The worker's last words."""

    id: int
    reason: str


class Exited(msgspec.Struct, tag=True):
    """The process is gone; a negative code is the signal that ended it."""

    id: int
    exit_code: int


Order: TypeAlias = Spawn | SendSignal
Report: TypeAlias = Spawned | Listening | Registered | Ending | Exited

_encoder = msgspec.json.Encoder()
_orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_reports: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)


def encode(message: Order | Report) -> bytes:
    """Return a message as one line."""
    return _encoder.encode(message) + b"\n"


def decode_order(line: bytes) -> Order:
    """Return the order in a line.  Raises msgspec.MsgspecError."""
    return _orders.decode(line)


def decode_report(line: bytes) -> Report:
    """Return the report in a line.  Raises msgspec.MsgspecError."""
    return _reports.decode(line)
