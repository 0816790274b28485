"""A batch system that is only played: a folder with its jobs, its orders to misbehave, and what was asked of it.

The faces (``slurm.py``) turn argument lists into calls of :class:`FakeBatch` and print in the words of their system.
Tests hold a :class:`FakeBatch` on the same folder: they give orders and read what was asked.  Jobs run as processes
of this machine (``runs=True``), or only pretend to.  Only the standard library is used, so that a command starts as
fast as a real one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Call", "FakeBatch", "Fault", "Job"]

PENDING, RUNNING, COMPLETING = "PENDING", "RUNNING", "COMPLETING"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"
ACTIVE = frozenset({PENDING, RUNNING, COMPLETING})

_HANG_POLL_S = 0.05
_CLOSE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Fault:
    """An order for the next ``times`` calls of ``program`` (negative: for all).

    After ``delay_s`` seconds it prints ``stdout`` and ``stderr`` and ends with ``exit_code``; None: it does what it
    should, only late.  ``works``: it does what it should and then reports this all the same.  ``hangs``: it never
    ends.  Only calls with ``argument`` among their arguments are meant, if it is given.
    """

    program: str
    exit_code: int | None = 1
    stdout: bytes = b""
    stderr: bytes = b""
    times: int = 1
    delay_s: float = 0.0
    works: bool = False
    hangs: bool = False
    argument: str = ""


@dataclass(frozen=True)
class Call:
    """What was asked: ``argv`` with the program's name, its ``stdin``, names of its environment ``variables``."""

    argv: tuple[str, ...]
    stdin: str
    variables: frozenset[str]


@dataclass
class Job:
    """One element of a job array (or a job that is none: ``index`` is None), as the batch system knows it.

    ``state`` and ``reason`` are the system's words; ``due_s`` and ``ended_s`` are times of ``time.time()``;
    ``forced``: a test has set the state, so nothing but a test changes it; ``pid``: leader of its session, or 0.
    """

    id: str
    array: str
    index: int | None
    name: str
    state: str = PENDING
    reason: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int = 0
    due_s: float = 0.0
    ended_s: float = 0.0
    kill_s: float = 0.0
    pid: int = 0
    forced: bool = False
    script: str = ""
    output: str = ""
    append: bool = False
    env: dict[str, str] = field(default_factory=dict)


class FakeBatch:
    """One played batch system, whose whole memory is ``folder``.

    ``programs`` is the folder to put into PATH.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"

    @classmethod
    def install(
        cls, folder: Path, programs: Sequence[str], module: str, *, path: Path | None = None, **options: Any
    ) -> FakeBatch:
        """Make the folder and executables named ``programs``, played by ``main(name, arguments, folder)`` of
        ``module``.

        ``path``: the folder of that module, if it is none of ours.

        ``options``: ``runs`` (jobs are processes), ``slots`` (jobs that run at a time), ``start_after_s``, ``node``,
        ``kill_wait_s`` (from ``end_signal``, SIGTERM, to KILL), and those that the face knows.  Jobs end when this
        process does.
        """
        batch = cls(folder)
        batch.programs.mkdir(parents=True)
        defaults = {"runs": False, "slots": 1000, "start_after_s": 0.0, "node": "node1", "kill_wait_s": 2.0}
        defaults["end_signal"] = signal.SIGTERM
        state = {"options": {**defaults, **options}, "owner": os.getpid(), "next": 1, "jobs": {}, "faults": []}
        (folder / "state.json").write_text(json.dumps(state))
        root = Path(__file__).resolve().parents[2]
        main = folder / "main.py"
        main.write_text(
            f"import sys\nsys.path[:0] = {[str(root), *([str(path)] if path else [])]!r}\nfrom {module} import main\n"
            f"sys.exit(main(sys.argv[1], sys.argv[2:], {str(folder)!r}))\n"
        )
        for name in programs:
            # -S: without the installed packages Python starts in a third of the time.
            words = shlex.join([sys.executable, "-SE", str(main), name])
            (batch.programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (batch.programs / name).chmod(0o755)
        return batch

    # -- for tests ---------------------------------------------------------------------

    def order(self, *faults: Fault) -> None:
        """Give orders to misbehave; those for the same program are followed one after another."""
        with self.opened() as state:
            for fault in faults:
                entry = asdict(fault)
                for stream in ("stdout", "stderr"):
                    entry[stream] = entry[stream].decode("latin-1")
                state["faults"].append(entry)

    def behave(self) -> None:
        """Take back all orders."""
        with self.opened() as state:
            state["faults"].clear()

    def set_options(self, **options: Any) -> None:
        """Change options of :meth:`install`, like ``slots``."""
        with self.opened() as state:
            state["options"].update(options)

    def set_state(self, job_id: str, state: str, **values: Any) -> None:
        """Set the state of a job, and other fields of :class:`Job`; from now on only tests change it."""
        with self.opened() as memory:
            entry = memory["jobs"][job_id]
            ended = 0.0 if state in ACTIVE else time.time()
            entry.update({"state": state, "reason": "", "ended_s": ended, "forced": True, **values})

    def forget(self, *job_ids: str) -> None:
        """Forget jobs, as batch systems do some minutes after they ended."""
        with self.opened() as memory:
            for job_id in job_ids:
                del memory["jobs"][job_id]

    def jobs(self) -> dict[str, Job]:
        """Return all jobs that are remembered, by id."""
        with self.opened() as memory:
            return {job_id: Job(**entry) for job_id, entry in memory["jobs"].items()}

    def calls(self, program: str = "") -> list[Call]:
        """Return what was asked so far, of one program or of all."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [
            Call(tuple(entry["argv"]), entry["stdin"], frozenset(entry["variables"]))
            for entry in found
            if not program or entry["argv"][0] == program
        ]

    def close(self) -> None:
        """End all jobs; return when no process is left.  Raises TimeoutError."""
        with self.opened() as memory:
            memory["closed"] = True
        deadline_s = time.monotonic() + _CLOSE_TIMEOUT_S
        while left := [job.id for job in self.jobs().values() if job.pid]:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the jobs {', '.join(left)} would not end")
            time.sleep(_HANG_POLL_S)

    # -- for the faces -----------------------------------------------------------------

    @contextlib.contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """Give the memory to one caller at a time; what it changes is kept."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "state.json"
            before = path.read_text()
            state: dict[str, Any] = json.loads(before)
            yield state
            after = json.dumps(state)
            if after != before:
                fresh = self.folder / "state.new"
                fresh.write_text(after)
                fresh.replace(path)

    def record(self, argv: Sequence[str], stdin: str) -> None:
        """Remember what was asked."""
        entry = {"argv": list(argv), "stdin": stdin, "variables": sorted(os.environ)}
        with (self.folder / "calls.jsonl").open("a") as calls:
            calls.write(json.dumps(entry) + "\n")

    def next_fault(self, argv: Sequence[str]) -> Fault | None:
        """Return the order that this call has to follow; one that hangs or is late does so here."""
        with self.opened() as memory:
            entry = next((item for item in memory["faults"] if _is_meant(item, argv)), None)
            if entry is None:
                return None
            entry["times"] -= 1
            if entry["times"] == 0:
                memory["faults"].remove(entry)
            owner = memory["owner"]
        texts = {stream: entry[stream].encode("latin-1") for stream in ("stdout", "stderr")}
        fault = Fault(**{**entry, **texts})
        time.sleep(fault.delay_s)
        while fault.hangs and is_running(owner):
            time.sleep(_HANG_POLL_S)
        return fault

    def add(self, jobs: Sequence[Job]) -> None:
        """Put jobs into the queue, as one submission."""
        with self.opened() as memory:
            due_s = time.time() + memory["options"]["start_after_s"]
            for job in jobs:
                job.due_s = due_s
                memory["jobs"][job.id] = asdict(job)

    def new_id(self) -> str:
        """Return the next job id."""
        with self.opened() as memory:
            memory["next"] += 1
            return str(memory["next"] - 1)

    def options(self) -> dict[str, Any]:
        """Return the options of :meth:`install`."""
        with self.opened() as memory:
            found: dict[str, Any] = memory["options"]
            return found

    def listing(self) -> list[Job]:
        """Return the jobs as they are now; those that only pretend are moved on first."""
        with self.opened() as memory:
            if not memory["options"]["runs"]:
                for entry in startable(memory):
                    entry.update(state=RUNNING, reason="", node=memory["options"]["node"])
            return [Job(**entry) for entry in memory["jobs"].values()]

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; return False if it is not known.  A running process gets its TERM from the runner."""
        with self.opened() as memory:
            entry = memory["jobs"].get(job_id)
            if entry and entry["state"] in ACTIVE:
                entry.update(forced=False, state=COMPLETING if entry["pid"] else CANCELLED, ended_s=time.time())
            return entry is not None


def startable(memory: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the jobs that may start now; the others are told why they wait."""
    running = sum(entry["state"] in (RUNNING, COMPLETING) for entry in memory["jobs"].values())
    found: list[dict[str, Any]] = []
    for entry in memory["jobs"].values():
        if entry["state"] != PENDING or entry["forced"] or entry["reason"].startswith("JobHeld"):
            continue
        if running + len(found) >= memory["options"]["slots"]:
            entry["reason"] = "Resources"
        elif entry["due_s"] > time.time():
            entry["reason"] = "Priority"
        else:
            found.append(entry)
    return found


def is_running(pid: int) -> bool:
    """Whether there is a process of this number that is no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def _is_meant(entry: Mapping[str, Any], argv: Sequence[str]) -> bool:
    return entry["program"] == argv[0] and (not entry["argument"] or entry["argument"] in argv)
