"""A job on another host, held by a connection of the system's own ``ssh``.

The connection is the lifeline: on the other side a small shell program (:func:`starter`) watches its stdin.  If that
says ``stop``, ends, or is silent for too long, the job is ended there.  So nothing outlives us, however we end.
Secrets travel in that stdin, never in arguments or variables.  Nothing but the standard library is loaded:
``keeper.py`` must start fast.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
from collections import deque
from collections.abc import Callable, Iterable
from typing import cast

from launchers.signals import signal_child

__all__ = ["TRIES", "Remote", "starter", "table"]

TRIES = 3
START_S = 40.0
GRACE_S = 8.0
_END_S = GRACE_S + 6.0
_RETRY_S = 1.5
_DRAIN_S = 2.0
_LONGEST_LINE = 65_536
# sshd turns connections away while many others are being made (MaxStartups).
_PASSES = re.compile(r"kex_exchange_identification|Connection (reset|closed) by|Connection timed out during banner")

_STARTER = """{
exec 3<&0 </dev/null
trap : HUP PIPE
old=$(umask)
umask 077
folder=$(mktemp -d "${TMPDIR:-/tmp}/dlaunch.XXXXXXXX") || exit 1
trap 'rm -rf -- "$folder"' EXIT
mark=DLAUNCH_JOB_ID=@JOB@
told=("$mark" DLAUNCH_ARRAY_INDEX=@INDEX@)
if [ -n @CLUSTER@ ]; then
    printf '%s\\n' @CLUSTER@ >"$folder/cluster.json" || exit 1
    told+=("DLAUNCH_CLUSTER_FILE=$folder/cluster.json")
fi
printf '%s' @SCRIPT@ >"$folder/job.sh" || exit 1
umask "$old"
env "${told[@]}" setsid bash "$folder/job.sh" 2>&1 3<&- &
job=$!
# By the mark in their environment: also those that made a process group or session of their own.
marked() { grep -lzsxF "$mark" /proc/[0-9]*/environ | cut -d/ -f3; }
hit() { kill "-$1" "$job" "-$job" $(marked); } 2>/dev/null
lives() { kill -0 "$job" 2>/dev/null || [ -n "$(marked)" ]; }
finish() {
    hit TERM
    for ((i = 0; i < $1; i++)); do lives || return 0; sleep 0.1; done
    hit KILL
}
echo "@TOKEN@ started"
(
    while IFS= read -r -t @SILENCE@ -u 3 word && [ "$word" != stop ]; do :; done
    finish @GRACE@
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$job"
code=$?
kill "$watcher" 2>/dev/null
if lives; then finish 20; fi
kill -KILL "-$job" 2>/dev/null
echo "@TOKEN@ ended $code"
exit "$code"
}
"""


def starter(script: str, *, cluster: str, index: int, job: str, token: str, silence_s: float) -> str:
    """Return the program for ``bash -s`` on the other side, which runs ``script`` and watches its own stdin.

    ``cluster`` is the text of the cluster file, "" for none; ``token`` marks the lines that are meant for us;
    ``silence_s``: after so many seconds without a word from us the job ends.
    """
    values = {
        "CLUSTER": shlex.quote(cluster),
        "SCRIPT": shlex.quote(script),
        "INDEX": str(index),
        "JOB": shlex.quote(job),
        "TOKEN": token,
        "SILENCE": str(max(1, round(silence_s))),
        "GRACE": str(round(GRACE_S * 10)),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _STARTER)


class _Pipes(asyncio.SubprocessProtocol):
    """What comes from one ``ssh``, in lines: ``take(line, is_stdout)``.

    ``exited``: the program has ended; ``closed``: and nobody else holds the other ends of its pipes.
    """

    def __init__(self, take: Callable[[bytes, bool], None]) -> None:
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self._take = take
        self._rest = {1: b"", 2: b""}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        *lines, rest = (self._rest[fd] + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._rest[fd] = rest
        for line in lines:
            self._take(line, fd == 1)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if rest := self._rest.pop(fd, b""):
            self._take(rest, fd == 1)

    def process_exited(self) -> None:
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.closed.set()


class Remote:
    """One job on one host.

    ``state``: "starting", "running", "ended" (with ``code``), "lost" (the connection broke), "refused" (it was never
    made) or "cancelled"; ``reason`` in words.  ``output`` gets each line of the job, and what ssh itself says.
    """

    def __init__(
        self, host: str, argv: list[str], program: str, token: str, silence_s: float, output: Callable[[bytes], None]
    ) -> None:
        self.host = host
        self.state = "starting"
        self.code: int | None = None
        self.reason = ""
        self.tries = 0
        self.ended = asyncio.Event()
        self._argv = argv
        self._program = program
        self._token = token.encode()
        self._silence_s = silence_s
        self._output = output
        self._words: deque[str] = deque(maxlen=5)
        self._settled = asyncio.Event()
        self._stopping = False
        self._process: asyncio.SubprocessTransport | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> bool:
        """Connect and start the job; whether it runs.  Later its end is in ``ended``."""
        self._task = asyncio.ensure_future(self._run())
        await self._settled.wait()
        return self.state not in ("refused", "cancelled")

    def stop(self) -> None:
        """Have the job ended there; ``ended`` is set when that is done, or was tried for long enough."""
        if self._stopping or self.ended.is_set():
            return
        self._stopping = True
        if self._process is not None:
            self._say("stop\n", close=True)
            asyncio.get_running_loop().call_later(_END_S, self._kill)

    async def gone(self) -> None:
        """Wait until nothing of it is left; at once if it was never started."""
        if self._task is not None:
            await self.ended.wait()

    async def _run(self) -> None:
        try:
            while self.state == "starting" and self.tries < TRIES and not self._stopping:
                if self.tries:
                    await asyncio.sleep(_RETRY_S * self.tries)
                    self.reason = ""
                self.tries += 1
                await self._connect()
                if self.state == "starting" and not _PASSES.search(self.reason):
                    break
            if self.state == "starting":
                self.state = "cancelled" if self._stopping else "refused"
        finally:
            self._settled.set()
            self.ended.set()

    async def _connect(self) -> None:
        self._words.clear()
        loop = asyncio.get_running_loop()
        try:
            process, pipes = await loop.subprocess_exec(
                lambda: _Pipes(self._take),
                *self._argv,
                # A Ctrl-C at the terminal is for us: we end the jobs in good order.
                start_new_session=True,
            )
        except OSError as error:
            self.reason = f"cannot start {self._argv[0]}: {error.strerror}"
            return
        self._process = process
        if self._stopping:
            self._kill()
        self._say(self._program)
        impatient = loop.call_later(START_S, self._give_up)
        heartbeat = asyncio.ensure_future(self._beat())
        try:
            await pipes.exited.wait()
            # A connection that ssh shares with others, or its proxy, may hold the other ends for long: not us.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(pipes.closed.wait(), _DRAIN_S)
        finally:
            impatient.cancel()
            heartbeat.cancel()
            process.close()
        self._learn_end(process.get_returncode() or 0)

    def _learn_end(self, code: int) -> None:
        if self.state == "running":
            if self._stopping:
                self.state = "cancelled"
            elif self.code is not None:
                self.state = "ended"
            else:
                self.state = "lost"
                self.reason = f"the connection to {self.host} broke: {self._said(code)}"
        elif not self.reason:
            self.reason = self._said(code)

    def _said(self, code: int) -> str:
        """What ssh, or the shell there, said at last."""
        lines = [line for line in self._words if not line.startswith("Warning:")]
        return lines[-1] if lines else f"ssh ended with exit code {code}, no message"

    def _give_up(self) -> None:
        if self.state == "starting":
            self.reason = f"no answer within {START_S:g} s"
            self._kill()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._silence_s / 4)
            self._say("\n")

    def _say(self, text: str, close: bool = False) -> None:
        if self._process is not None and (stdin := self._process.get_pipe_transport(0)) is not None:
            with contextlib.suppress(OSError, RuntimeError):
                cast("asyncio.WriteTransport", stdin).write(text.encode("utf-8", "surrogateescape"))
                if close:
                    stdin.close()

    def _kill(self) -> None:
        if self._process is not None and self._process.get_returncode() is None:
            signal_child(self._process.get_pid(), signal.SIGKILL)

    def _take(self, line: bytes, is_job: bool) -> None:
        # Our lines may stand behind a last one of the job's that it did not end.
        own, found, said = line.partition(self._token) if is_job else (line, b"", b"")
        if found:
            if own:
                self._output(own + b"\n")
            word, _, code = said.decode().strip().partition(" ")
            if word == "started":
                self.state = "running"
                self._settled.set()
            elif word == "ended":
                self.code = int(code)
                asyncio.get_running_loop().call_later(_DRAIN_S, self._kill)
            return
        if (not is_job or self.state == "starting") and (text := line.decode(errors="replace").strip()):
            self._words.append(text.removeprefix("ssh: "))
        self._output(line + b"\n")


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return lines of host and result, the hosts in one column."""
    rows = list(rows)
    width = max((len(host) for host, _ in rows), default=0)
    return "\n".join(f"{host:<{width}}  {result}" for host, result in rows)
