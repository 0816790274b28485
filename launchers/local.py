"""The own machine: the same protocol without a batch system.

Our own small program (``launchers/spawn.py``) plays sbatch, squeue and scancel: each element is a process session of
its own, named ``host:pid:start`` with the start time of the process, since pids come back.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus
from launchers.protocol import Command, Failure, Output, command_error

__all__ = ["LocalPlugin"]

_SPAWNER = Path(__file__).with_name("spawn.py")


class LocalPlugin:
    """Workers as plain processes of this machine."""

    name = "local"
    template = "local.sh.j2"
    programs = ("bash",)
    missing_hint = "install it: jobscripts are bash scripts"
    directive_prefix = ""
    directive_aliases: ClassVar[Mapping[str, str]] = {}
    reserved_directives: ClassVar[Mapping[str, str]] = {}
    scheduler_host: str | None = "127.0.0.1"

    def context(self, spec: JobSpec) -> dict[str, object]:
        """Refuses what only a batch system could give.  Raises ValueError."""
        asked = {"--queue": spec.queue, "--account": spec.account, "--walltime": spec.walltime_s}
        if given := [option for option, value in asked.items() if value is not None]:
            raise ValueError(f"{given[0]} means nothing without a batch system: leave it out for 'local'")
        return {"log": str(spec.log_path("INDEX"))}

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """The script on stdin; the output files are made by the spawner."""
        options = ("--first", str(spec.first), "--last", str(spec.last), "--name", spec.name)
        return _command("submit", *options, "--log", str(spec.log_path("%")), stdin=script)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """One line per element, in their order."""
        ids = output.stdout.split()
        if len(ids) != len(spec.indices):
            raise UnexpectedOutputError(output.argv, output.stdout, f"{len(spec.indices)} ids", output.stderr)
        return JobArray(",".join(ids), dict(zip(spec.indices, ids, strict=True)))

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """Which of these processes live."""
        return _command("status", *ids)

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """The ids that live, one per line."""
        if output.exit_code != 0:
            raise command_error(StatusError, output, self.explain_failure(output))
        return {line: JobStatus(JobState.RUNNING) for line in output.stdout.split()}

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """TERM to each session, then KILL to what is left of it."""
        return _command("cancel", *(element for several in ids for element in several.split(",")))

    def explain_failure(self, output: Output) -> Failure:
        """Nothing here passes by waiting."""
        return Failure(output.stderr.strip() or f"exit code {output.exit_code}, no message")


def _command(*words: str, stdin: str = "") -> Command:
    # By its path and alone (-I): a folder named launchers where the user works must not come first.
    argv = (sys.executable, "-I", str(_SPAWNER), *words)
    return Command(argv, stdin=stdin, drop=("DLAUNCH_CLUSTER*",))
