"""The nouns of launching: what a job is asked to be, how it is named, and what is known of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeAlias

__all__ = ["ElementId", "JobArray", "JobSpec", "JobState", "JobStatus", "Variable", "Word"]

ElementId: TypeAlias = str
"""One element of a job array as the batch system names it, like ``46_3``, ``7.2``, ``12[4].server``."""


class Variable(enum.Enum):
    """Values that only the running job knows; the value here is the shell variable that holds it."""

    ARRAY_INDEX = "DLAUNCH_ARRAY_INDEX"
    JOB_ID = "DLAUNCH_JOB_ID"
    CLUSTER_FILE = "DLAUNCH_CLUSTER_FILE"  # only where the plugin is a Placer


Word: TypeAlias = str | tuple[str | Variable, ...]
"""One word of a command line: literal text, or texts and variables side by side."""


class JobState(enum.Enum):
    """The states of a job in any batch system."""

    PENDING = "pending"  # waits in the queue, also if held or requeued
    RUNNING = "running"  # its script runs, or is about to (prologue, configuring) or is suspended
    STUCK = "stuck"  # in the queue, but the batch system will never start it: we clear it away
    COMPLETING = "completing"  # its script has ended, the batch system still cleans up
    COMPLETED = "completed"  # ended with exit code 0
    FAILED = "failed"  # ended with another exit code
    CANCELLED = "cancelled"  # by us, its user or an administrator
    TIMEOUT = "timeout"  # its walltime was over
    OUT_OF_MEMORY = "out of memory"  # the node's kernel or the batch system ended it
    NODE_FAIL = "node failure"  # its node was lost, or never booted
    PREEMPTED = "preempted"  # made way for a job of higher priority
    GONE = "gone"  # the batch system does not know it any more
    UNKNOWN = "unknown"  # a word we do not know: changes nothing

    @property
    def is_active(self) -> bool:
        """Whether the job is, or will be, on a node."""
        return self in (JobState.PENDING, JobState.RUNNING, JobState.STUCK, JobState.COMPLETING, JobState.UNKNOWN)

    @property
    def has_ended(self) -> bool:
        """Whether the job's script has ended for good or will never begin."""
        return not self.is_active or self is JobState.COMPLETING


@dataclass(frozen=True)
class JobStatus:
    """What the batch system says of one element.

    ``reason``: why it waits or how it ended, in the batch system's word; ``node``: where it runs; ``exit_code`` of its
    script, or None; ``signal``: number of the signal that ended it, or 0; ``explanation``: ``reason`` in plain words.
    """

    state: JobState
    reason: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int = 0
    explanation: str = ""

    def describe(self) -> str:
        """Return a phrase like ``failed with exit code 3 on hpc1``."""
        parts = [self.state.value]
        if self.exit_code:
            parts.append(f"with exit code {self.exit_code}")
        if self.signal:
            parts.append(f"by signal {self.signal}")
        if self.node:
            parts.append(f"on {self.node}")
        if text := self.explanation or self.reason:
            parts.append(f"({text})")
        return " ".join(parts)


@dataclass(frozen=True)
class JobArray:
    """What one submission made.

    ``id`` names the whole for ``cancel_command``; ``elements``: array index -> id of the element; ``refused``: array
    index -> why, of elements that were not taken, and will not be, although the others were.
    """

    id: str
    elements: dict[int, ElementId]
    refused: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobSpec:
    """What the jobs of one cluster shall be; system-independent, every value already checked.

    The array has the elements ``first`` to ``last``, each an own job; element *i* starts ``workers_per_job``
    workers named ``<name>.<i>``.  ``memory`` is bytes per job (None: the batch system's default), ``walltime_s``
    seconds (None likewise), ``directives`` the user's own lines, ``env`` variables for the workers, ``command`` what
    the jobscript ends in, ``job_name`` unique to this run of the cluster, ``own`` the plugin's own options that were
    given, by key.  ``cluster_file``: where it is here, and ``death_timeout_s``: after so many seconds without us
    nothing of a job may be left; for plugins that see to that themselves.  ``script_file``: where the jobscript is, and
    jobs can read it, from before the first submission on; for systems that take none on stdin.  ``by_hand``: the user
    submits the script, perhaps several times and in arrays of other sizes, so that only the id of the job tells its
    workers and logs apart.
    """

    name: str
    job_name: str
    command: tuple[Word, ...]
    log_dir: PurePosixPath
    first: int = 1
    last: int = 1
    workers_per_job: int = 1
    nthreads: int = 1
    memory: int | None = None
    walltime_s: float | None = None
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    cluster_file: PurePosixPath | None = None
    script_file: PurePosixPath | None = None
    death_timeout_s: float = 60.0
    by_hand: bool = False

    @property
    def cpus(self) -> int:
        """CPUs that one job needs."""
        return self.nthreads * self.workers_per_job

    @property
    def indices(self) -> range:
        """The array indices of this submission."""
        return range(self.first, self.last + 1)

    def log_path(self, index: int | str) -> PurePosixPath:
        """Return where element ``index`` (or the batch system's placeholder for it) writes its output."""
        return self.log_dir / f"{self.name}.{index}.log"
