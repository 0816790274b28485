"""Every error that dlaunch raises on purpose.

One root, data in attributes, and a message that says what happened, with which value, and what to do next.
Mistakes in arguments stay ``TypeError`` and ``ValueError``.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AuthenticationError",
    "CancelledError",
    "CommError",
    "ConfigError",
    "ConnectionClosedError",
    "ConnectionLostError",
    "DistributedError",
    "InvalidTransitionError",
    "KilledWorker",
    "LocalProtocolError",
    "NoWorkersError",
    "ProtocolError",
    "RemoteError",
    "RemoteProtocolError",
    "RequestTimeoutError",
    "SharedMemoryError",
    "TaskError",
    "WorkerLostError",
]


def _rebuild(cls: type[DistributedError], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    """Make an error again from its pickled parts without calling its constructor."""
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class DistributedError(Exception):
    """The root; never raised itself.

    Pickles by its attributes, so that subclasses may take any constructor arguments.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


class ConfigError(DistributedError):
    """A setting has a value that cannot be used.

    ``key`` is the setting, ``value`` what was given, ``origin`` where it came from (an option, a file).
    """

    def __init__(self, message: str, *, key: str = "", value: object = None, origin: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.value = value
        self.origin = origin


class ProtocolError(DistributedError):
    """Abstract: bytes or messages that break the protocol."""


class LocalProtocolError(ProtocolError):
    """We built a message that cannot be sent (our bug, or an argument that cannot be encoded)."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that is not a valid message."""


class CommError(DistributedError, OSError):
    """A peer cannot be reached or talked to.  ``address`` is ``"host:port"``."""

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address


class ConnectionClosedError(CommError):
    """We closed this connection and it was used again."""


class ConnectionLostError(CommError):
    """The peer or the network closed the connection."""


class AuthenticationError(CommError):
    """The two sides do not hold the same cluster secret, or do not speak the same protocol version."""


class SharedMemoryError(DistributedError):
    """A segment of shared memory cannot be made or opened: the data have to travel."""


class RequestTimeoutError(DistributedError, TimeoutError):
    """No answer within the time allowed."""


class RemoteError(DistributedError):
    """An operation failed on the peer with an exception that cannot be rebuilt here.

    ``type_name`` is the remote class, ``traceback`` the remote traceback as text; ``info`` what
    came over the wire, so that it can be passed on whole to somebody who can rebuild it.
    """

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "", info: object = None) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.traceback = traceback
        self.info = info


class InvalidTransitionError(DistributedError):
    """A machine reached a state it must not reach: a bug.  ``story`` tells the events of ``key``."""

    def __init__(self, key: str, message: str, story: list[str] | None = None) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.story = story or []


class TaskError(DistributedError):
    """User code failed with an exception that cannot be rebuilt in the client.

    ``key`` is the task, ``worker`` where it ran, ``type_name`` the exception's class, ``traceback`` remote text.
    """

    def __init__(
        self, message: str, *, key: str = "", worker: str = "", type_name: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message)
        self.key = key
        self.worker = worker
        self.type_name = type_name
        self.traceback = traceback


class CancelledError(DistributedError):
    """The task was cancelled.  ``key`` names it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the task {key} was cancelled")
        self.key = key


class WorkerLostError(DistributedError):
    """Data that cannot be computed again went away with its worker.

    ``key`` is the data, ``workers`` the addresses that held it.
    """

    def __init__(self, key: str, workers: list[str], message: str = "") -> None:
        super().__init__(
            message
            or f"{key} was scattered to {', '.join(workers) or 'a worker'} which is gone: it cannot be computed again; "
            "scatter it once more"
        )
        self.key = key
        self.workers = workers


class KilledWorker(DistributedError):  # noqa: N818 - the field's name since 2017
    """A task ended the worker it ran on, several times.

    ``key`` is the task, ``causes`` one line per lost worker: its address and how it ended.
    """

    def __init__(self, key: str, causes: list[str]) -> None:
        lines = "".join(f"\n  - {cause}" for cause in causes)
        super().__init__(
            f"the task {key} was running when {len(causes)} different workers died, so it is not tried again:{lines}\n"
            "Look at the logs of these workers; usual causes are too little memory and crashes in compiled code."
        )
        self.key = key
        self.causes = causes


class NoWorkersError(DistributedError):
    """No worker can do what was asked.

    ``wanted`` says what was asked, ``present`` the addresses there are, ``waited_s`` how long we waited in seconds.
    """

    def __init__(self, wanted: str, present: list[str], waited_s: float = 0.0) -> None:
        there = f"there are {len(present)} workers" if present else "there are no workers"
        waited = f" after {waited_s:g} s" if waited_s else ""
        super().__init__(f"no worker for {wanted}{waited}: {there}; start one with 'dworker ADDRESS'")
        self.wanted = wanted
        self.present = present
        self.waited_s = waited_s
