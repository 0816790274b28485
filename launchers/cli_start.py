"""``dlaunch SYSTEM -n N [options] [-- COMMAND ...]``: a cluster from the first line to the clean end."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import click

from distributed import logs
from distributed.cli.run import EXIT_FAILED, run_command
from distributed.clusterfile import DEFAULT_CLUSTER
from distributed.errors import CommError, ConfigError, DistributedError, RequestTimeoutError
from launchers.child import ChildCommand
from launchers.errors import LauncherError, ProgramMissingError, SubmitError
from launchers.options import OPTIONS, Option, Settings
from launchers.progress import ProgressPrinter
from launchers.registry import load_launcher, own_options
from launchers.session import Plan, Session, make_log_dir, make_plan, resolve_settings

__all__ = ["EXIT_NOT_STARTED", "EXIT_REFUSED", "EXIT_SCHEDULER_LOST", "EXIT_WAIT", "click_option", "make_command"]

EXIT_NOT_STARTED = 4
EXIT_REFUSED = 5
EXIT_WAIT = 6
EXIT_SCHEDULER_LOST = 7
EXIT_NO_PROGRAM = 127

_EPILOG = """\b
Exit codes: that of COMMAND; without one 0 when ended by Ctrl-C or 'dlaunch stop'.
1 could not start  2 wrong usage  4 the workers did not start  5 the batch system refused the jobs
6 --wait-timeout was over  7 the scheduler died  70 a bug  127 a program is not in PATH"""


class _StartCommand(click.Command):
    """Splits the arguments at ``--``: what follows is the user's command, whatever it looks like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, command = args, []
        if "--" in args:
            cut = args.index("--")
            own, command = args[:cut], args[cut + 1 :]
            if not command:
                raise click.UsageError("after -- comes a command, like: -- python script.py", ctx)
        ctx.meta["command"] = command
        return super().parse_args(ctx, own)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


def make_command(system: str) -> click.Command:
    """Return the subcommand of one system."""
    options = (*OPTIONS, *own_options(load_launcher(system)))
    params: list[click.Parameter] = [click_option(option) for option in options]
    params.append(click.Option(["--dry-run"], is_flag=True, help="Print the jobscript; start and submit nothing."))
    params.append(click.Option(["--log-level"], metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR."))
    return _StartCommand(
        system,
        callback=functools.partial(_start, system),
        params=params,
        epilog=_EPILOG,
        help=f"Start a scheduler here and workers on {system}; with COMMAND, run it against them and end.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def click_option(option: Option) -> click.Option:
    """Return an option of the table for the command line."""
    names = [option.short, option.field] if option.short else [f"--{option.key}"]
    default = f"  [default: {option.default}]" if option.default else ""
    return click.Option(
        names,
        metavar=option.metavar,
        multiple=option.multiple,
        help=option.help + default,
        callback=functools.partial(_check, option),
    )


def _check(option: Option, ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Parse only to complain early, with the option's name; the settings parse the text again."""
    try:
        for text in value if option.multiple else () if value is None else (value,):
            option.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return value


def _start(system: str, dry_run: bool, log_level: str | None, **given: Any) -> int:
    context = click.get_current_context()
    command: list[str] = context.meta["command"]
    try:
        logs.configure(log_level or os.environ.get("DLAUNCH_LOG_LEVEL") or "ERROR")
        settings = resolve_settings(system, {key.replace("_", "-"): value for key, value in given.items()})
        plan = make_plan(system, settings, dry_run=dry_run)
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    except ConfigError as error:
        if not error.origin:
            raise click.UsageError(str(error), context) from error
        return _complain(error)
    except DistributedError as error:
        return _complain(error)
    if dry_run:
        return _show(plan)
    return run_command("dlaunch", lambda stop: _Run(plan, settings, command, stop).run())


def _complain(error: Exception) -> int:
    sys.stderr.write(f"dlaunch: {error}\n")
    return EXIT_FAILED


def _show(plan: Plan) -> int:
    """Print the script for the user to submit; what its jobs need to write to is there then."""
    name, log_dir = plan.folder.name, str(plan.spec.log_dir)
    try:
        make_log_dir(Path(log_dir))
    except ConfigError as error:
        return _complain(error)
    print(plan.script, end="")
    head = "dlaunch head" if name == DEFAULT_CLUSTER else f"dlaunch head --name {name}"
    sys.stderr.write(
        f"dlaunch: nothing was submitted. Submit this script yourself, as often as you like: its workers join the "
        f"cluster {name}, which '{head}' starts.{f' Their logs come to {log_dir}.' if log_dir in plan.script else ''}\n"
    )
    return 0


class _Run:
    """One run of the command."""

    def __init__(self, plan: Plan, settings: Settings, command: list[str], stop: asyncio.Event) -> None:
        self.plan = plan
        self.settings = settings
        self.command = command
        self.stop = stop
        self.printer = ProgressPrinter()
        self.session: Session | None = None
        self.child: ChildCommand | None = None

    async def run(self) -> int:
        """Open, use, close; return the exit code."""
        self._take_signals()
        try:
            self.session = await Session.open(self.plan, self.printer)
        except ProgramMissingError as error:
            _complain(error)
            return EXIT_NO_PROGRAM
        code = EXIT_FAILED
        try:
            code = await self._use(self.session)
        finally:
            await self._close(self.session, code)
        return code or self.session.launcher.exit_code

    def _take_signals(self) -> None:
        """First signal: a clean end.  Second: do not wait for the batch system.  Third: at once."""
        loop = asyncio.get_running_loop()
        seen: list[int] = []

        def on_signal(number: int) -> None:
            seen.append(number)
            if self.child is not None and self.child.pass_on(number, len(seen)):
                return
            self.stop.set()
            if len(seen) == 2 and self.session is not None:
                self.printer.tell("not waiting for the batch system; a third signal ends at once", False)
                self.session.hurry()
            elif len(seen) > 2:
                os._exit(128 + number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)

    async def _use(self, session: Session) -> int:
        self._announce(session)
        wanted = self.settings.wait if self.settings.wait is not None else (1 if self.command else 0)
        if wanted and (code := await self._wait(session, wanted)) is not None:
            return code
        if not self.command:
            await self._first(session.launcher.over.wait())
            return self._verdict(session)
        return await self._run_child(session)

    def _announce(self, session: Session) -> None:
        lines = [
            f"Cluster {session.name} at {session.address}",
            f'Connect by: Client(cluster="{session.name}"), or Client("{session.address}")',
        ]
        if not self.command:
            self.printer.say("\n".join(lines))
        else:  # stdout is the command's
            self.printer.tell(lines[0], False)

    async def _wait(self, session: Session, n: int) -> int | None:
        """Wait for workers; an exit code if there is no point in going on."""
        waiting = asyncio.ensure_future(session.launcher.wait_for_workers(n, self.settings.wait_timeout))
        await self._first(waiting)
        if not waiting.done():
            waiting.cancel()
            return self._verdict(session)
        try:
            waiting.result()
        except RequestTimeoutError as error:
            self.printer.tell(f"gave up waiting: {error}", True)
            return EXIT_WAIT
        except (LauncherError, CommError) as error:
            if error is not session.launcher.problem:
                self.printer.tell(str(error), True)
            return _exit_code_of(error)
        if not self.command:
            self.printer.say("1 worker is there" if n == 1 else f"{n} workers are there")
        return None

    async def _run_child(self, session: Session) -> int:
        self.printer.finish()
        self.printer.quiet = True
        try:
            self.child = await ChildCommand.start(self.command, session.cluster_file)
        except OSError as error:
            self.printer.tell(f"cannot run {self.command[0]}: {error.strerror}", True)
            return 126 if isinstance(error, PermissionError) else EXIT_NO_PROGRAM
        ended = asyncio.ensure_future(self.child.wait())
        await self._first(ended, session.launcher.over.wait())
        if ended.done():
            return ended.result()
        await self.child.end()
        if session.launcher.problem is None:
            return await ended
        return self._verdict(session)

    def _verdict(self, session: Session) -> int:
        problem = session.launcher.problem
        return _exit_code_of(problem) if problem is not None and session.launcher.over.is_set() else 0

    async def _first(self, *awaitables: Awaitable[Any]) -> None:
        """Wait for the first of these, for a signal, or for the order to terminate."""
        assert self.session is not None
        waits = [asyncio.ensure_future(each) for each in awaitables]
        extra = [self.stop.wait(), self.session.launcher.finished(), self.session.launcher.told_to_end.wait()]
        helpers = [asyncio.ensure_future(each) for each in extra]
        try:
            await asyncio.wait([*waits, *helpers], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in helpers:
                each.cancel()

    async def _close(self, session: Session, code: int) -> None:
        self.printer.quiet = False
        self.child = None
        if code:
            session.launcher.trouble_seen = True
        if self.stop.is_set() and session.launcher.progress.jobs:
            self.printer.tell("cancelling the jobs; another Ctrl-C does not wait for the batch system", False)
        await session.close("the command has ended" if self.command else "told to end")
        self.printer.finish()
        if left := session.launcher.left:
            again = f"they are still in the batch system: {' '.join(left)}; try 'dlaunch stop {session.name}'"
            self.printer.tell(f"not all jobs ended in time, {again}", True)
        elif session.keeps_logs:
            self.printer.tell(f"all jobs are gone; logs are kept in {self.plan.spec.log_dir}", False)
        else:
            self.printer.tell("all jobs are gone", False)


def _exit_code_of(problem: Exception) -> int:
    if isinstance(problem, ProgramMissingError):
        return EXIT_NO_PROGRAM
    if isinstance(problem, SubmitError):
        return EXIT_REFUSED
    return EXIT_SCHEDULER_LOST if isinstance(problem, CommError) else EXIT_NOT_STARTED
