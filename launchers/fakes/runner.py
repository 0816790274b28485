"""Running the jobs of a played batch system: one detached process for each submission, until its jobs have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from launchers.fakes.batch import (
    CANCELLED,
    COMPLETED,
    COMPLETING,
    FAILED,
    PENDING,
    RUNNING,
    FakeBatch,
    is_running,
    startable,
)

__all__ = ["start_runner"]

_POLL_S = 0.03
_NO_OUTPUT_SIGNAL = 53  # what SLURM reports if it cannot open the output file


def start_runner(batch: FakeBatch, array: str) -> None:
    """Start the process that runs the jobs of one submission; it belongs to nobody."""
    if os.fork():
        return
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        _Runner(batch, array).run()
    finally:
        os._exit(0)


class _Runner:
    def __init__(self, batch: FakeBatch, array: str) -> None:
        self.batch = batch
        self.array = array
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        while True:
            with self.batch.opened() as memory:
                end = memory.get("closed") or not is_running(memory["owner"])
                mine = [entry for entry in memory["jobs"].values() if entry["array"] == self.array]
                if end:
                    self._end_all(mine)
                    return
                for entry in startable(memory):
                    if entry["array"] == self.array:
                        self._start(entry, memory["options"])
                for entry in mine:
                    self._look_after(entry, memory["options"])
                self._reap_forgotten({entry["id"] for entry in mine})
                if not self.children and not any(entry["state"] == PENDING for entry in mine):
                    return
            time.sleep(_POLL_S)

    def _start(self, entry: dict[str, Any], options: dict[str, Any]) -> None:
        entry["node"] = options["node"]
        try:
            with Path(entry["output"]).open("ab" if entry["append"] else "wb") as output:
                child = subprocess.Popen(
                    [entry["script"]],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **entry["env"]},
                    start_new_session=True,
                )
        except OSError:
            entry.update(state=FAILED, exit_code=0, signal=_NO_OUTPUT_SIGNAL, ended_s=time.time())
            entry["reason"] = f"RaisedSignal:{_NO_OUTPUT_SIGNAL}(Real-time_signal_19)"
            return
        self.children[entry["id"]] = child
        entry.update(state=RUNNING, reason="", pid=child.pid)

    def _look_after(self, entry: dict[str, Any], options: dict[str, Any]) -> None:
        child = self.children.get(entry["id"])
        if child is None:
            return
        if child.poll() is not None:
            _kill_session(child.pid)
            del self.children[entry["id"]]
            entry["pid"] = 0
            if not entry["forced"]:
                _note_end(entry, child.returncode)
        elif entry["state"] not in (RUNNING, PENDING):
            # Cancelled, or ended by the order of a test: first a polite signal to the script.
            now_s = time.time()
            if not entry["kill_s"]:
                entry["kill_s"] = now_s + options["kill_wait_s"]
                child.send_signal(signal.SIGCONT)
                child.send_signal(options["end_signal"])
            elif now_s > entry["kill_s"]:
                _kill_session(child.pid)

    def _reap_forgotten(self, known: set[str]) -> None:
        for job_id in self.children.keys() - known:
            if self.children[job_id].poll() is not None:
                del self.children[job_id]

    def _end_all(self, mine: list[dict[str, Any]]) -> None:
        for child in self.children.values():
            _kill_session(child.pid)
            child.wait()
        for entry in mine:
            entry["pid"] = 0


def _note_end(entry: dict[str, Any], code: int) -> None:
    was_cancelled = entry["state"] == COMPLETING
    entry.update(exit_code=max(code, 0), signal=max(-code, 0), ended_s=time.time())
    if was_cancelled:
        entry["state"] = CANCELLED
    elif code == 0:
        entry["state"] = COMPLETED
    else:
        entry["state"] = FAILED
        entry["reason"] = "NonZeroExitCode" if code > 0 else f"RaisedSignal:{-code}"


def _kill_session(leader: int) -> None:
    """End all processes of a session, as a batch system does by its control group."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                os.kill(int(entry.name), signal.SIGKILL)
