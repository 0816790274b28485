"""What a launcher plugin supplies: argv builders and text parsers, nothing that blocks.

A plugin needs no base class.  ``docs/plugins.md`` shows how to write one; ``launchers/testing.py`` holds the tests
that it must pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from launchers.errors import CommandError
from launchers.hosts import Host
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus
from launchers.options import Option

__all__ = [
    "Command",
    "Configurable",
    "Failure",
    "Finder",
    "Historian",
    "Inspector",
    "LateHistorian",
    "Output",
    "Placer",
    "Plugin",
    "command_error",
]


@dataclass(frozen=True)
class Command:
    """A command of the batch system to run.

    ``stdin`` is given to it; after ``timeout_s`` seconds it is ended and counts as failed.  ``drop``: names of
    environment variables (``*`` at the end matches any rest) that it must not inherit, except those in ``keep``.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    timeout_s: float = 60.0
    drop: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """What a command that ended by itself left."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class Failure:
    """A failed command, explained.

    ``text``: a sentence or the command's own words.  ``transient``: worth trying again later.  ``option``: the
    directive at fault, in its canonical spelling, if that is known.  ``uncertain``: what was asked for may have been
    done all the same, as after a lost answer; before a submission is repeated its jobs are then looked for.
    ``harmless``: what was to be cancelled is gone, and nothing else was wrong.
    """

    text: str
    transient: bool = False
    option: str = ""
    uncertain: bool = False
    harmless: bool = False


class Plugin(Protocol):
    """One batch system.  All methods are pure; they may be called from any thread.

    ``name``: as in ``dlaunch NAME``.  ``template``: file name of the jobscript template.  ``programs``: what must be
    in PATH, with ``missing_hint`` saying why it may not be.  ``directive_prefix``: what directive lines begin with
    ("" if the system has none).  ``directive_aliases``: every spelling of an option -> its canonical one; a user's
    line replaces ours of the same canonical option; one that ends in `` *`` goes on with the name of a resource.
    ``reserved_directives``: canonical options that users must leave to us -> what to do instead.  ``scheduler_host``:
    where the scheduler listens unless told otherwise (None: on the address of this host that others can reach).
    """

    name: str
    template: str
    programs: tuple[str, ...]
    missing_hint: str
    directive_prefix: str
    directive_aliases: Mapping[str, str]
    reserved_directives: Mapping[str, str]
    scheduler_host: str | None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """Return the template variables that only this system's template uses.  Raises ValueError."""

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """Return the command that submits ``script`` as one array of the elements ``spec.first .. spec.last``."""

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """Return what a submission that ended with exit code 0 made.  Raises UnexpectedOutputError."""

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """Return the one command that asks for the states of all these elements."""

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Return the states found; elements that are not in it are gone.

        An unknown word is ``JobState.UNKNOWN``.  Raises StatusError if the output says nothing about the jobs.
        """

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """Return the command that cancels whole arrays (by their ``id``) and single elements."""

    def explain_failure(self, output: Output) -> Failure:
        """Say what a command that ended with another exit code than 0 means."""


@runtime_checkable
class Configurable(Protocol):
    """A plugin with options of its own, which end up in ``JobSpec.own`` by their keys.

    They are read from the command line, the plugin's block of the configuration files, and Python, as all are.
    """

    options: tuple[Option, ...]


@runtime_checkable
class Inspector(Protocol):
    """A plugin whose programs may be another system's of the same name (several have a ``qsub``), or need a library."""

    def inspect_command(self) -> Command:
        """Return the command that tells whether what is here is what the plugin needs, without a server."""

    def parse_inspection(self, output: Output) -> str:
        """Return, in a sentence, what is wrong and what to do instead; "" if nothing is, or that is not known."""


@runtime_checkable
class Historian(Protocol):
    """A plugin whose batch system can tell how one job ended after it left the queue."""

    def history_commands(self, element: ElementId) -> Sequence[Command]:
        """Return commands to try in turn until one is understood."""

    def parse_history(self, output: Output) -> JobStatus | None:
        """Return how the job ended, or None if the output does not say."""


@runtime_checkable
class LateHistorian(Historian, Protocol):
    """One whose batch system writes down only some time later how a job ended: at most ``history_delay_s`` seconds."""

    history_delay_s: float


@runtime_checkable
class Finder(Protocol):
    """A plugin that can find jobs by name: a submission may have failed and yet made a job."""

    def find_command(self, job_name: str) -> Command:
        """Return the command that lists this user's jobs of that name."""

    def parse_find(self, output: Output) -> list[JobArray]:
        """Return the arrays found.  Raises StatusError if the output says nothing about jobs."""


@runtime_checkable
class Placer(Protocol):
    """A plugin of a system that does not choose the hosts of the jobs: the user names them.

    Its options are, or hold, ``launchers.options.HOST_OPTIONS``; ``JobSpec.own["hosts"]`` is what :meth:`place`
    returned.  The hosts may not share our home folder: the plugin brings ``spec.cluster_file`` to each, by a way that
    nobody else can read, and the jobscript sets ``DLAUNCH_CLUSTER_FILE`` to where it is.
    """

    options: tuple[Option, ...]

    def place(self, hosts: Sequence[Host], jobs: int | None) -> tuple[Host, ...]:
        """Return the host of each of so many jobs; None: of as many as fit.  Raises ValueError."""


_Error = TypeVar("_Error", bound=CommandError)


def command_error(kind: type[_Error], output: Output, failure: Failure, *, script: str = "") -> _Error:
    """Return an error of this kind about a command that ended, with all that it printed."""
    return kind(
        failure.text,
        argv=output.argv,
        exit_code=output.exit_code,
        stdout=output.stdout,
        stderr=output.stderr,
        script=script,
        transient=failure.transient,
        uncertain=failure.uncertain,
    )
