"""LSF: ``bsub``, ``bjobs``, ``bkill``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus
from launchers.protocol import Command, Failure, Output, command_error

STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT"), JobState.PENDING),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP"), JobState.RUNNING),
    "DONE": JobState.COMPLETED,
    "EXIT": JobState.FAILED,
}
GONE = re.compile(r"Job <[^>]*> is not found|Job has already finished|No matching job found")
# LSF answers neither yes nor no, but may do so later.
DOWN = re.compile(r"LSF is down|not responding|Failed in an LSF library call|Connection refused")


class LsfPlugin:
    """LSF 10."""

    name = "lsf"
    template = "lsf.sh.j2"
    programs = ("bsub", "bjobs", "bkill")
    missing_hint = "this host does not belong to an LSF cluster, or profile.lsf was not read"
    directive_prefix = "#BSUB"
    directive_aliases: ClassVar[Mapping[str, str]] = {"-oo": "-o"}
    reserved_directives: ClassVar[Mapping[str, str]] = {"-J": "name the cluster by --name"}
    scheduler_host: str | None = None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``log`` with LSF's placeholders, ``walltime`` in minutes, ``memory_mib`` of the job."""
        return {
            "log": str(spec.log_path("%J.%I" if spec.by_hand else "%I")),
            "walltime": None if spec.walltime_s is None else math.ceil(spec.walltime_s / 60),
            "memory_mib": None if spec.memory is None else math.ceil(spec.memory / 2**20),
        }

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """The command line wins over the script, which names all elements: here it may be one of them."""
        name = f"{spec.job_name}[{spec.first}-{spec.last}]"
        return Command(("bsub", "-J", name), stdin=script, drop=("LSB_*", "DLAUNCH_*"))

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """``Job <77> is submitted to queue <normal>.``"""
        found = re.search(r"Job <(\d+)> is submitted", output.stdout)
        if found is None:
            raise UnexpectedOutputError(output.argv, output.stdout, "Job <ID> is submitted", output.stderr)
        return JobArray(found[1], {index: f"{found[1]}[{index}]" for index in spec.indices})

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One ``bjobs`` for all arrays; it lists their elements, also those that ended of late."""
        arrays = dict.fromkeys(element.partition("[")[0] for element in ids)
        return Command(("bjobs", "-noheader", "-a", "-o", "jobid jobindex stat exit_code delimiter='|'", *arrays))

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Lines like ``77|2|EXIT|3``."""
        if output.exit_code != 0 and not GONE.search(output.stderr):
            raise command_error(StatusError, output, self.explain_failure(output))
        lines = re.findall(r"^(\d+)\|(\d+)\|(\w+)\|(\d*)-?$", output.stdout, re.MULTILINE)
        return {
            f"{job}[{index}]": JobStatus(
                STATES.get(word, JobState.UNKNOWN), word, exit_code=int(code) if code else None
            )
            for job, index, word, code in lines
        }

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """Whole arrays and elements."""
        return Command(("bkill", *ids))

    def explain_failure(self, output: Output) -> Failure:
        """In LSF's own words; a queue that there is not is the line ``-q``."""
        text = output.stderr.strip() or output.stdout.strip() or f"exit code {output.exit_code}, no message"
        return Failure(
            text,
            transient=bool(DOWN.search(text)),
            option="-q" if "No such queue" in text else "",
            harmless=bool(output.stderr) and all(GONE.search(line) for line in output.stderr.splitlines()),
        )
