"""How every command runs its daemons: one loop, clean ends on signals, one sentence for failures.

Exit codes: 0 clean end (also by SIGINT, SIGTERM and the operation ``terminate``); 1 could not
start, or gave up, the reason on stderr; 2 wrong usage; 3 the scheduler was gone for longer than
``--death-timeout``; 70 a bug of ours; 128 and the number of a signal named in ``DLAUNCH_END_SIGNALS``
(like ``USR2``): batch systems send it some time before they kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from distributed import eventloop
from distributed.daemon import EXIT_BUG, Daemon
from distributed.errors import DistributedError

__all__ = ["END_SIGNALS", "EXIT_DEATH_TIMEOUT", "EXIT_FAILED", "raise_file_limit", "run_command", "serve_until"]

logger = logging.getLogger(__name__)

END_SIGNALS = "DLAUNCH_END_SIGNALS"
EXIT_FAILED = 1
_ENDS = (signal.SIGINT, signal.SIGTERM)
_SHRUGS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_HEARD = _ENDS + _SHRUGS
_ONE_ORDER_S = 0.5
EXIT_DEATH_TIMEOUT = 3


def run_command(prog: str, main: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run ``main(stop)`` in a new event loop and return its exit code.

    SIGINT and SIGTERM set ``stop``; a second one, half a second later or more, ends the process at once.
    Errors of ours become one line on stderr and exit code 1, anything else is a bug and exit code 70
    with a traceback.
    """
    raise_file_limit()
    try:
        return eventloop.run(_with_signals(main))
    except (DistributedError, OSError, ValueError) as error:
        logger.debug("ended by", exc_info=True)
        print(f"{prog}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 0
    except Exception:
        logger.exception("%s: bug", prog)
        return EXIT_BUG


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    stop = asyncio.Event()
    warned: list[int] = []
    loop = asyncio.get_running_loop()
    told_s: list[float] = []

    def on_signal(number: int) -> None:
        # One order may arrive twice at one moment: batch systems signal the process, its group and its session.
        if told_s and loop.time() - told_s[0] < _ONE_ORDER_S:
            return
        if stop.is_set():
            os._exit(128 + number)
        logger.info("%s: closing", signal.Signals(number).name)
        told_s.append(loop.time())
        stop.set()

    def on_warning(number: int) -> None:
        # Some systems send it twice at one moment: the second one is no reason to hurry.
        if not stop.is_set():
            logger.info("%s: closing, as the batch system is about to end the job", signal.Signals(number).name)
            warned.append(number)
            stop.set()

    for number in _ENDS:
        loop.add_signal_handler(number, on_signal, number)
    # A logout or a batch system's warning is no reason to end.  Not SIG_IGN: children inherit it.
    for number in _SHRUGS:
        loop.add_signal_handler(number, _shrug, number)
    for warning in _end_signals():
        loop.add_signal_handler(warning, on_warning, warning)
    try:
        code = await main(stop)
    finally:
        _ignore(loop)
    return 128 + warned[0] if warned and not code else code


def _ignore(loop: asyncio.AbstractEventLoop) -> None:
    """From now on the process ends anyway: a late signal must not meet a closed loop, nor change the exit code."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    for number in _HEARD:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_signals() -> list[int]:
    """The signals of the variable; a jobscript sets it for all that runs in its job."""
    names = os.environ.get(END_SIGNALS, "").split()
    known = {"USR1": signal.SIGUSR1, "USR2": signal.SIGUSR2, "HUP": signal.SIGHUP}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{END_SIGNALS}={' '.join(names)}: {unknown[0]!r} is none of {', '.join(known)}")
    return [known[name] for name in names]


def _shrug(number: int) -> None:
    logger.info("%s: ignored", signal.Signals(number).name)


async def serve_until(stop: asyncio.Event, *daemons: Daemon) -> int:
    """Wait until ``stop`` is set or one of the daemons has closed, then close them all.

    Returns the exit code.
    """
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
    waits += [asyncio.ensure_future(daemon.finished()) for daemon in daemons]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    reason = "signal" if stop.is_set() else "a sibling closed"
    await asyncio.gather(*(daemon.close(reason) for daemon in daemons))
    for wait in waits:
        wait.cancel()
    return max((daemon.exit_code for daemon in daemons), default=0)


def raise_file_limit() -> None:
    """A daemon has a socket per peer: take as many descriptors as the system gives us."""
    with contextlib.suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
