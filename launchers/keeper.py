"""The batch system of hosts that have none: ``submit``, ``status`` and ``cancel`` for jobs over ``ssh``.

``submit`` reads an order (see :func:`submit`) from stdin and leaves a *keeper* behind, a process that holds the
connections of one array (``remote.py``), writes what comes from them into the logs, and answers questions at a socket.
It ends with its jobs, and ends them when the process that submitted them is gone.  Only the standard library is used,
so that a command starts fast.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, cast

from launchers.remote import Remote, starter, table

__all__ = ["main", "submit"]

_LINGER_S = 120.0
_OWNER_POLL_S = 1.0
_AT_ONCE, _AT_ONCE_PER_HOST = 32, 4
_START_FIELD = 19  # of /proc/PID/stat after the name in brackets: start time in clock ticks


# -- the keeper ------------------------------------------------------------------------


class _Keeper:
    """Holds the jobs of one array until all have ended and somebody has seen that, or their owner is gone."""

    def __init__(self, order: dict[str, Any], path: Path) -> None:
        self.order = order
        self.path = path
        self.remotes: dict[int, Remote] = {}
        self._over = asyncio.Event()

    async def run(self) -> None:
        cluster = Path(self.order["cluster_file"]).read_text() if self.order["cluster_file"] else ""
        for element in self.order["elements"]:
            self.remotes[element["index"]] = self._remote(element, cluster)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop_all)
        watch = asyncio.ensure_future(self._watch_owner())
        results = await self._start_all()
        failed = {remote.host for remote in results if not results[remote]}
        good = len({remote.host for remote in results} - failed)
        server = None
        if good >= self.order["need"]:
            server = await asyncio.start_unix_server(self._answer, str(self.path))
        else:
            await self._cancel(self.remotes)
        if self._report(results, good) and server is not None:
            await self._over.wait()
        watch.cancel()
        await self._cancel(self.remotes)
        if server is not None:
            server.close()
            self.path.unlink(missing_ok=True)

    def _remote(self, element: dict[str, Any], cluster: str) -> Remote:
        token = f"dlaunch-{secrets.token_hex(8)}"
        program = starter(
            self.order["script"],
            cluster=cluster,
            index=element["index"],
            job=f"{self.path.name}.{element['index']}@{element['host']}",
            token=token,
            silence_s=self.order["silence_s"],
        )
        return Remote(
            element["host"], element["argv"], program, token, self.order["silence_s"], _writer(Path(element["log"]))
        )

    async def _start_all(self) -> dict[Remote, bool]:
        all_hosts = asyncio.Semaphore(_AT_ONCE)
        per_host = {remote.host: asyncio.Semaphore(_AT_ONCE_PER_HOST) for remote in self.remotes.values()}

        async def start(remote: Remote) -> bool:
            async with per_host[remote.host], all_hosts:
                return await remote.start()

        remotes = list(self.remotes.values())
        return dict(zip(remotes, await asyncio.gather(*map(start, remotes)), strict=True))

    def _report(self, results: dict[Remote, bool], good: int) -> bool:
        """Tell who submitted how it went; whether they were there to hear it."""
        refused = {i: f"{r.host}: {r.reason}" for i, r in self.remotes.items() if not results[r]}
        ended = good < self.order["need"]
        rows = {r.host: "started, then ended again" if ended else "started" for r in results} | {
            r.host: r.reason + (f" ({r.tries} tries)" if r.tries > 1 else "") for r in results if not results[r]
        }
        report = {"good": good, "hosts": len(rows), "refused": refused, "rows": list(rows.items())}
        try:
            sys.stdout.write(json.dumps(report))
            sys.stdout.flush()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        except OSError:
            return False
        return True

    async def _watch_owner(self) -> None:
        idle_since = time.monotonic()
        pid, start = self.order["owner"]
        while _start_time(pid) == start:
            if any(not remote.ended.is_set() for remote in self.remotes.values()):
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _LINGER_S:
                break
            await asyncio.sleep(_OWNER_POLL_S)
        self._stop_all()

    def _stop_all(self) -> None:
        for remote in self.remotes.values():
            remote.stop()
        self._over.set()

    async def _cancel(self, indices: Iterable[int]) -> None:
        chosen = [self.remotes[index] for index in indices if index in self.remotes]
        for remote in chosen:
            remote.stop()
        await asyncio.gather(*(remote.gone() for remote in chosen))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            question = json.loads(await reader.readline())
            if question["op"] == "cancel":
                await self._cancel(question["indices"] or self.remotes)
            found = {i: [r.state, r.code, r.host, r.reason] for i, r in self.remotes.items()}
            writer.write(json.dumps(found).encode())
            await writer.drain()
            if question["op"] == "cancel" and all(remote.ended.is_set() for remote in self.remotes.values()):
                self._over.set()
        writer.close()


def _writer(path: Path) -> Callable[[bytes], None]:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk is no reason to end the job
            os.write(handle, line)

    return write


def _start_time(pid: int) -> int:
    """When a process started, in clock ticks; 0 if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[_START_FIELD])


# -- the commands ----------------------------------------------------------------------


def _folder() -> Path:
    """Where the keepers' sockets are; ours alone.  Raises OSError."""
    path = Path(tempfile.gettempdir()) / f"dlaunch-ssh-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder of this user alone: remove it, or set another TMPDIR")
    return path


def submit(text: str) -> int:
    """Leave a keeper behind that starts what ``text`` orders; return the exit code.

    The order is JSON: ``program`` (the words that run this module), ``script``, ``cluster_file`` (path or ""),
    ``silence_s``, ``need`` (so many hosts must start) and ``elements``, each with ``index``, ``host``, ``argv`` (the
    words of ssh) and ``log``.
    """
    order = json.loads(text)
    owner = os.getppid()
    path = _folder() / secrets.token_hex(4)
    keeper = subprocess.Popen(
        [*order["program"], "keep", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    said = {**order, "owner": [owner, _start_time(owner)]}
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps(said).encode())
        keeper.stdin.close()
    answer = keeper.stdout.read()
    if not answer:
        words = cast("IO[bytes]", keeper.stderr).read().decode(errors="replace").strip().splitlines()
        sys.stderr.write(f"{words[-1] if words else 'the keeper of the connections ended without a word'}\n")
        return 1
    keeper.returncode = 0  # It outlives us on purpose: no warning about that.
    report = json.loads(answer)
    if report["good"] < order["need"]:
        lost = report["hosts"] - report["good"]
        sys.stderr.write(
            f"{lost} of {report['hosts']} hosts did not start, so nothing was left running on any:\n"
            f"{table(report['rows'])}\n"
        )
        return 1
    for element in order["elements"]:
        index = str(element["index"])
        why = report["refused"].get(index)
        sys.stdout.write(
            f"refused {index} {why}\n" if why else f"started {index} {path.name}.{index}@{element['host']}\n"
        )
    return 0


def _ask(name: str, question: dict[str, Any]) -> dict[str, list[Any]]:
    """The answer of a keeper; nothing if it is gone."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(_folder() / name))
            connection.sendall(json.dumps(question).encode() + b"\n")
            parts = list(iter(lambda: connection.recv(65_536), b""))
        except ConnectionRefusedError:  # killed, so that it could not remove its socket
            (_folder() / name).unlink(missing_ok=True)
            return {}
        except OSError:
            return {}
    answer = b"".join(parts)
    return dict(json.loads(answer)) if answer else {}


def _status(ids: list[str]) -> int:
    for name in dict.fromkeys(element.partition(".")[0] for element in ids):
        for index, (state, code, host, reason) in _ask(name, {"op": "status"}).items():
            sys.stdout.write(f"{name}.{index}@{host} {state} {-1 if code is None else code} {reason}\n")
    return 0


def _cancel(ids: list[str]) -> int:
    chosen: dict[str, list[int]] = {}
    for element in ids:
        name, _, rest = element.partition(".")
        chosen.setdefault(name, []).extend([int(rest.partition("@")[0])] if rest else [])
    whole = {element for element in ids if "." not in element}
    for name, indices in chosen.items():
        _ask(name, {"op": "cancel", "indices": None if name in whole else indices})
    return 0


def main() -> int:
    """Run one of the verbs; return the exit code."""
    parser = argparse.ArgumentParser(prog="keeper", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("verb", choices=("submit", "status", "cancel", "keep"))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    try:
        if options.verb == "submit":
            return submit(sys.stdin.read())
        if options.verb == "keep":
            asyncio.run(_keep(json.load(sys.stdin), Path(options.words[0])))
            return 0
        return _status(options.words) if options.verb == "status" else _cancel(options.words)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _keep(order: dict[str, Any], path: Path) -> None:
    await _Keeper(order, path).run()


if __name__ == "__main__":
    sys.exit(main())
