"""Running the commands of a batch system: with a time limit, a clean environment, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import signal

from launchers.errors import CommandError, ProgramMissingError, WrongSystemError
from launchers.protocol import Command, Inspector, Output, Plugin

__all__ = ["check_programs", "check_system", "environment_for", "run"]

logger = logging.getLogger(__name__)

_KILL_AFTER_S = 2.0


def check_programs(plugin: Plugin) -> None:
    """Raise ProgramMissingError if a program of the plugin is not in PATH."""
    for program in plugin.programs:
        if shutil.which(program) is None:
            raise ProgramMissingError(program, plugin.missing_hint)


async def check_system(plugin: Plugin) -> None:
    """Raise WrongSystemError if the plugin's programs are those of another batch system."""
    if not isinstance(plugin, Inspector):
        return
    command = plugin.inspect_command()
    try:
        problem = plugin.parse_inspection(await run(command))
    except CommandError as error:  # it did not come to an answer: the submission will tell
        logger.debug("%s does not say which system it is of: %s", command.argv[0], error)
        return
    if problem:
        raise WrongSystemError(command.argv[0], problem)


def environment_for(command: Command) -> dict[str, str]:
    """Return the environment of a command: ours without what it must not inherit."""

    def is_dropped(name: str) -> bool:
        if name in command.keep:
            return False
        return any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in command.drop
        )

    kept = {name: value for name, value in os.environ.items() if not is_dropped(name)}
    return {**kept, **command.env}


async def run(command: Command) -> Output:
    """Run a command to its end and return what it left, whatever its exit code.

    Raises ProgramMissingError, and CommandError (transient) if it takes longer than its ``timeout_s`` seconds; then
    it and its children are ended.
    """
    logger.debug("running %s", shlex.join(command.argv))
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment_for(command),
            # A Ctrl-C at the terminal must not end a submission half way.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ProgramMissingError(command.argv[0], "its programs were there before") from error
    except OSError as error:
        raise CommandError(
            f"cannot start {command.argv[0]}: {error.strerror}", argv=command.argv, transient=True
        ) from error
    try:
        stdout, stderr = await asyncio.wait_for(
            process.communicate(command.stdin.encode("utf-8", "surrogateescape")), command.timeout_s
        )
    except asyncio.TimeoutError as error:
        raise CommandError(
            f"{shlex.join(command.argv)} did not answer within {command.timeout_s:g} s",
            argv=command.argv,
            transient=True,
            uncertain=True,
        ) from error
    finally:
        if process.returncode is None:
            await _end(process)
    assert process.returncode is not None
    output = Output(command.argv, process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
    logger.debug("%s ended with exit code %s", command.argv[0], output.exit_code)
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), _KILL_AFTER_S)
            return
