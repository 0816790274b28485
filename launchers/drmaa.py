"""Any batch system with a DRMAA 1 library: ``dlaunch drmaa``.

DRMAA has words for a job's name and log, and libraries may know its walltime; what else a job shall have is said in the
words of the batch system by ``--directive``, which become the ``nativeSpecification``.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar

from launchers.drmaa_words import MISSING_HINT, Library, explain, ids_of, problem_of, states_of
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus
from launchers.protocol import Command, Failure, Output

__all__ = ["DrmaaPlugin"]

# What a job around us would pass on to those that it submits.
_DROPPED = (
    "DLAUNCH_*",
    "SGE_TASK_*",
    "SGE_STD*",
    "SGE_O_*",
    "SGE_JOB_*",
    "JOB_*",
    "NSLOTS",
    "SLURM_*",
    "PBS_*",
    "LSB_*",
)
_LIBRARY = Library(drop=_DROPPED, keep=frozenset({"SLURM_CONF", "PBS_SERVER", "PBS_CONF_FILE", "LSB_CONFDIR"}))
_PREFIX = "#DRMAA"
_ATTRIBUTE = re.compile(r"(\w+)=(.*)")
# In file names these stand for other things in one batch system or another.
_NOT_IN_PATHS = re.compile(r"[^\w./+@=-]", re.ASCII)


class DrmaaPlugin:
    """DRMAA 1 without knowing which system is behind it."""

    name = "drmaa"
    template = "drmaa.sh.j2"
    programs = (sys.executable,)
    missing_hint = MISSING_HINT
    directive_prefix = _PREFIX
    directive_aliases: ClassVar[Mapping[str, str]] = {}
    reserved_directives: ClassVar[Mapping[str, str]] = {}
    scheduler_host: str | None = None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``log`` is None if some systems cannot take it; ``walltime`` is hours:minutes:seconds.  Raises ValueError."""
        _refuse_what_drmaa_cannot_say(spec)
        seconds = None if spec.walltime_s is None else math.ceil(spec.walltime_s)
        return {
            # Grid Engine takes no name that begins with a digit.
            "drmaa_name": f"dl-{spec.job_name}" if spec.job_name[0].isdecimal() else spec.job_name,
            "walltime": None if seconds is None else f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}",
            "log": None if _NOT_IN_PATHS.search(str(spec.log_dir)) else str(spec.log_path("$drmaa_incr_ph$")),
            "log_dir": str(spec.log_dir),
        }

    def inspect_command(self) -> Command:
        """Load the library; no batch system is asked."""
        return _LIBRARY.check()

    def parse_inspection(self, output: Output) -> str:
        """What to install or to set."""
        return problem_of(output)

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """One ``runBulkJobs`` of bash with the script, with the attributes that stand at its head."""
        attributes: dict[str, str | list[str]] = {"remoteCommand": "/bin/bash", "args": [str(spec.script_file)]}
        native: list[str] = []
        for line in _head(script):
            if attribute := _ATTRIBUTE.fullmatch(line):
                attributes[attribute[1]] = attribute[2]
            else:
                native.append(line)
        if native:
            attributes["nativeSpecification"] = " ".join(native)
        return _LIBRARY.submit(attributes, spec)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """DRMAA has no id for the whole: it is all of its elements."""
        elements = ids_of(output, spec)
        return JobArray(",".join(elements.values()), elements)

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One session, in which each element is asked for."""
        return _LIBRARY.status(ids)

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """The states of those that the batch system still knows."""
        return states_of(output, self.explain_failure(output))

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """Each element by its id."""
        return _LIBRARY.cancel(element for several in ids for element in several.split(","))

    def explain_failure(self, output: Output) -> Failure:
        """By the kind of the library's error; its words are the batch system's."""
        return explain(output)


def _refuse_what_drmaa_cannot_say(spec: JobSpec) -> None:
    words = {"--queue": spec.queue, "--account": spec.account}
    if given := [option for option, value in words.items() if value is not None]:
        raise ValueError(
            f"{given[0]}: DRMAA has no word for it; write your batch system's own, like --directive '-q long'"
        )
    if spec.directives:
        return  # Whether these ask for it, only the batch system knows.
    if spec.memory is not None:
        raise ValueError(
            "--mem: DRMAA cannot ask for memory; add your batch system's own word, like --directive '-l mem=4G'"
        )
    if spec.cpus > 1:
        raise ValueError(
            f"jobs of {spec.cpus} CPUs: DRMAA cannot ask for CPUs; add your batch system's own word, like "
            f"--directive '-pe smp {spec.cpus}'"
        )


def _head(script: str) -> list[str]:
    """The lines for DRMAA, without prefix, above the first line that is no comment."""
    found = []
    for line in script.split("\n"):
        if not line.startswith("#"):
            break
        if line.startswith(f"{_PREFIX} "):
            found.append(line[len(_PREFIX) :].strip())
    return found
