"""Every message on the wire, as declared types.

A connection carries batches: each batch is a list of these messages, encoded as msgpack arrays with an integer
tag, so that a malformed message is an error that names the field.  ``wire/frames.py`` turns batches into bytes.

``run`` numbers in task messages count the times that the scheduler handed any task to any worker: an answer with
another number than the scheduler's current one for that task is stale and ignored.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from distributed.payloads import Payload

__all__ = [
    "MESSAGE_TYPES",
    "AddFunction",
    "BlockFinished",
    "CancelKeys",
    "CancelTask",
    "DataAdded",
    "DataDropped",
    "DataScattered",
    "DropData",
    "ErrorInfo",
    "FetchData",
    "FetchFailed",
    "Goodbye",
    "Heartbeat",
    "KeyCancelled",
    "KeyErred",
    "KeyInMemory",
    "KeyLost",
    "KeyPending",
    "KeysInMemory",
    "Message",
    "ReleaseKeys",
    "Reply",
    "Request",
    "RetryKeys",
    "RunBlock",
    "RunTask",
    "SetHeartbeat",
    "StealTask",
    "SubmitBlock",
    "SubmitTasks",
    "TaskErred",
    "TaskFinished",
    "TaskMissingData",
    "TaskOptions",
    "TaskReturned",
    "TaskSpec",
    "WantKeys",
    "WorkerAppeared",
    "WorkerDisappeared",
]


def _check_columns(*columns: list[Any]) -> None:
    """Raise ValueError, which makes the message a malformed one, if the columns of a block differ in length."""
    if len(set(map(len, columns))) != 1:
        raise ValueError(f"a block with columns of {', '.join(str(len(column)) for column in columns)} items")


class _Message(msgspec.Struct, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all messages: positional, with an integer tag."""


class ErrorInfo(msgspec.Struct, array_like=True, gc=False):
    """An exception on its way: pickled for whoever can rebuild it, and as text for whoever cannot.

    ``exception`` is a payload of the exception chain (``wire/payload.py: dump_exception``), empty if it cannot be
    pickled; ``traceback`` is the formatted remote traceback; ``worker`` the address where it was raised.
    ``data``: constructor arguments of an error of ours, named by ``type_name`` (``distributed.errors.KilledWorker``),
    which the scheduler makes without ever pickling.
    """

    type_name: str
    message: str
    traceback: str = ""
    exception: Payload = b""
    worker: str = ""
    data: dict[str, Any] = {}


# -- control operations: any connection -------------------------------------------------------------------------


class Request(_Message, tag=1):
    """Call operation ``op`` with keyword arguments (msgpack values, payloads and Buffers)."""

    op: str
    kwargs: dict[str, Any] = {}
    id: int = 0


class Reply(_Message, tag=2):
    """The answer to the request with the same ``id``: ``result``, or ``error`` if it is not None."""

    id: int = 0
    result: Any = None
    error: ErrorInfo | None = None


# -- client -> scheduler ------------------------------------------------------------------------------------------


class TaskOptions(msgspec.Struct, array_like=True, gc=False):
    """What a task asks of placement.

    ``priority``: higher runs first.  ``retries``: how often to try again after an exception.  ``workers``: addresses,
    hosts or names it may run on (None: any); with ``allow_other_workers`` only a preference.  ``resources``:
    amounts of named worker resources that it holds while it runs.
    """

    priority: int = 0
    retries: int = 0
    workers: list[str] | None = None
    allow_other_workers: bool = False
    resources: dict[str, float] | None = None


class TaskSpec(msgspec.Struct, array_like=True, gc=False):
    """One task: ``function`` is the id of a function payload, ``args`` a payload of a call's arguments.

    ``dependencies``: the keys of the futures among these, in the order in which ``args`` counts them
    (``wire/payload.py: dumps_call``).
    """

    key: str
    function: str
    args: Payload
    dependencies: list[str] = []
    options: TaskOptions | None = None


class SubmitTasks(_Message, tag=10):
    """New tasks, whose keys the client wants; ``functions`` holds the payloads not sent on this stream before."""

    tasks: list[TaskSpec]
    functions: dict[str, Payload] = {}


class SubmitBlock(_Message, tag=16):
    """New tasks of one function that ask for nothing, and all have the same ``dependencies`` (in :class:`TaskSpec`;
    mostly none), column by column: key and arguments.

    A thousand tasks as columns cost less than half of a thousand :class:`TaskSpec` to write and to read.
    """

    function: str
    keys: list[str]
    args: list[Payload]
    functions: dict[str, Payload] = {}
    dependencies: list[str] = []

    def __post_init__(self) -> None:
        _check_columns(self.keys, self.args)


class WantKeys(_Message, tag=11):
    """The client holds futures of these keys from now on."""

    keys: list[str]


class ReleaseKeys(_Message, tag=12):
    """The client holds no future of these keys any more."""

    keys: list[str]


class CancelKeys(_Message, tag=13):
    """Cancel these tasks and all that depend on them; unless ``force``, not those that other clients want."""

    keys: list[str]
    force: bool = False


class RetryKeys(_Message, tag=14):
    """Run these failed tasks (and the failed tasks they depend on) again."""

    keys: list[str]


class DataScattered(_Message, tag=15):
    """The client has put data on workers: key -> (bytes, addresses of its holders); it wants these keys."""

    data: dict[str, tuple[int, list[str]]]


# -- scheduler -> client --------------------------------------------------------------------------------------------


class KeyInMemory(_Message, tag=20):
    """A wanted key has its result: inline if it is small, else at ``workers`` (addresses)."""

    key: str
    type_name: str
    nbytes: int
    workers: list[str]
    result: Payload | None = None


class KeysInMemory(_Message, tag=25):
    """Several wanted keys have results of one type at the same ``workers``: KeyInMemory, column by column."""

    type_name: str
    workers: list[str]
    keys: list[str]
    nbytes: list[int]
    results: list[Payload | None]

    def __post_init__(self) -> None:
        _check_columns(self.keys, self.nbytes, self.results)


class KeyErred(_Message, tag=21):
    """A wanted key failed: its own exception or that of a task it depends on."""

    key: str
    error: ErrorInfo


class KeyLost(_Message, tag=22):
    """A wanted key had scattered data whose last holder is gone; ``workers`` held it."""

    key: str
    workers: list[str]


class KeyCancelled(_Message, tag=23):
    """A wanted key was cancelled (or was never known to this scheduler: ``reason``)."""

    key: str
    reason: str = ""


class KeyPending(_Message, tag=24):
    """A key reported in memory or failed is to be computed again (its holder is gone, or retry)."""

    key: str


# -- scheduler -> worker ----------------------------------------------------------------------------------------------


class AddFunction(_Message, tag=30):
    """A function that later tasks name by ``function``; sent once per worker."""

    function: str
    payload: Payload


class RunTask(_Message, tag=31, eq=False):
    """Run a task.  ``rank``: lower runs first.  ``dependencies``: keys, in the order in which ``args`` counts them.

    ``who_has``: dependency -> addresses of holders, with ``nbytes`` its size in bytes: only of those that are to be
    fetched.  All others are at this worker, or it has been told to compute them before.

    Each is equal to itself alone: a worker's tables tell one order from another of the same key.
    """

    key: str
    run: int
    function: str
    args: Payload
    rank: int = 0
    dependencies: list[str] = []
    who_has: dict[str, list[str]] = {}
    nbytes: dict[str, int] = {}
    resources: dict[str, float] | None = None


class RunBlock(_Message, tag=37):
    """Run tasks of one function that have the same dependencies, mostly none: RunTask, column by column.

    The first has the run ``run``, each further one the next.
    """

    function: str
    run: int
    keys: list[str]
    args: list[Payload]
    ranks: list[int]
    dependencies: list[str] = []
    who_has: dict[str, list[str]] = {}
    nbytes: dict[str, int] = {}

    def __post_init__(self) -> None:
        _check_columns(self.keys, self.args, self.ranks)


class StealTask(_Message, tag=32):
    """Give the task back unless it has started; answered by TaskReturned, or by its end if it had started."""

    key: str
    run: int


class CancelTask(_Message, tag=33):
    """Nobody wants this run any more: drop it if it has not started, forget its result if it has. No answer."""

    key: str
    run: int


class DropData(_Message, tag=34):
    """Nobody wants these results any more."""

    keys: list[str]


class FetchData(_Message, tag=35):
    """Fetch copies: key -> addresses of holders; answered by DataAdded, or FetchFailed."""

    who_has: dict[str, list[str]]


class SetHeartbeat(_Message, tag=38):
    """Send a heartbeat every ``period_s`` seconds from now on, since there are more, or fewer, workers."""

    period_s: float


# -- worker -> scheduler ----------------------------------------------------------------------------------------------


class TaskFinished(_Message, tag=40):
    """A result is in memory.  ``duration_s`` is the run time; ``result`` rides along if it is small."""

    key: str
    run: int
    nbytes: int
    duration_s: float
    type_name: str
    result: Payload | None = None


class BlockFinished(_Message, tag=49):
    """Results of one type and function are in memory: TaskFinished, column by column; ``duration_s`` is their sum."""

    type_name: str
    duration_s: float
    keys: list[str]
    runs: list[int]
    nbytes: list[int]
    results: list[Payload | None]

    def __post_init__(self) -> None:
        _check_columns(self.keys, self.runs, self.nbytes, self.results)


class TaskErred(_Message, tag=41):
    """The task raised, or its function or arguments could not be unpickled."""

    key: str
    run: int
    error: ErrorInfo
    duration_s: float = 0.0


class TaskReturned(_Message, tag=42):
    """The task had not started and is given back (stolen, or the worker is closing)."""

    key: str
    run: int


class TaskMissingData(_Message, tag=43):
    """Dependencies could not be fetched from the named holders: key -> addresses that did not have it or
    could not be reached.  The task is given back.
    """

    key: str
    run: int
    missing: dict[str, list[str]]


class DataAdded(_Message, tag=44):
    """Copies are now here: key -> bytes."""

    data: dict[str, int]


class DataDropped(_Message, tag=45):
    """These results are not here any more."""

    keys: list[str]


class FetchFailed(_Message, tag=46):
    """Copies asked for by FetchData did not come: key -> addresses that did not have it or cannot be reached."""

    missing: dict[str, list[str]]


class Heartbeat(_Message, tag=47):
    """The worker is alive, or it has paused or resumed.  ``executing``: threads in user code; ``memory``: resident
    bytes; ``paused``: it starts no new tasks because it is short of memory.
    """

    executing: int
    memory: int
    paused: bool = False


class Goodbye(_Message, tag=48):
    """The sender leaves on purpose: its running tasks are not to blame.  ``data`` that it holds goes with it."""

    reason: str


# -- scheduler -> watcher (operation ``watch``) ------------------------------------------------------------------------


class WorkerAppeared(_Message, tag=50):
    """A worker registered (or was there when the watch began)."""

    address: str
    name: str
    nthreads: int
    host: str = ""
    pid: int = 0
    job_id: str = ""


class WorkerDisappeared(_Message, tag=51):
    """A worker is gone.  ``expected``: it said goodbye or was told to go."""

    address: str
    name: str
    reason: str
    expected: bool


MESSAGE_TYPES: tuple[type[_Message], ...] = tuple(_Message.__subclasses__())

Message: TypeAlias = (
    Request
    | Reply
    | SubmitTasks
    | SubmitBlock
    | WantKeys
    | ReleaseKeys
    | CancelKeys
    | RetryKeys
    | DataScattered
    | KeyInMemory
    | KeysInMemory
    | KeyErred
    | KeyLost
    | KeyCancelled
    | KeyPending
    | AddFunction
    | RunTask
    | RunBlock
    | StealTask
    | CancelTask
    | DropData
    | FetchData
    | SetHeartbeat
    | TaskFinished
    | BlockFinished
    | TaskErred
    | TaskReturned
    | TaskMissingData
    | DataAdded
    | DataDropped
    | FetchFailed
    | Heartbeat
    | Goodbye
    | WorkerAppeared
    | WorkerDisappeared
)
