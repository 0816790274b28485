"""Grid Engine: ``qsub``, ``qstat``, ``qdel``, and ``qacct`` for how a job ended.

Written against Son of Grid Engine 8.1.9.  Jobs are ``5``, the elements of their arrays ``5.3``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar
from xml.etree import ElementTree as ET

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus
from launchers.options import Option
from launchers.protocol import Command, Failure, Output, command_error
from launchers.sge_words import (
    ALIASES,
    FAILURES,
    HARMLESS,
    RESERVED,
    TAKEN,
    UNCERTAIN,
    check_lines,
    ended,
    environment_name,
    error_of,
    expand_tasks,
    explain_state,
    job_name_of,
    memory_requests,
    parse_document,
    resource_names,
    state_of,
    wrong_system,
)

__all__ = ["DROPPED", "SgePlugin"]

_SUBMITTED = re.compile(r"^(\d+)\.\d+-\d+:\d+$|^Your job-array (\d+)\.\d+-\d+:\d+ \(", re.MULTILINE)
# What a directive cannot hold: it has no escapes, and in file names these stand for other things.
_NOT_IN_PATHS = re.compile(r"[\"'$,:\\#]|^\s|\s$")
DROPPED = ("SGE_TASK_*", "SGE_STD*", "SGE_O_*", "SGE_JOB_*", "JOB_*", "PE", "PE_HOSTFILE", "NSLOTS", "DLAUNCH_*")
"""What a job around us would pass on to those that it submits."""


class SgePlugin:
    """Grid Engine 8, one host or many."""

    name = "sge"
    template = "sge.sh.j2"
    programs: tuple[str, ...] = ("qsub", "qstat", "qdel")
    missing_hint = (
        "this host does not belong to a Grid Engine cluster (run dlaunch on a submit host), or its settings.sh was "
        "not read"
    )
    directive_prefix = "#$"
    directive_aliases: ClassVar[Mapping[str, str]] = ALIASES
    reserved_directives: ClassVar[Mapping[str, str]] = RESERVED
    scheduler_host: str | None = None
    # Execution daemons report to the accounting every 15 s unless told otherwise.
    history_delay_s = 30.0
    options: tuple[Option, ...] = (
        Option("pe", environment_name, "NAME", "Parallel environment for jobs of several CPUs.", default="smp"),
        Option(
            "mem-resource",
            resource_names,
            "NAMES",
            "What --mem asks for, like h_vmem/slot or h_vmem/slot,mem_free/job.",
            default="mem_free/job",
        ),
    )

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``log`` is None if no directive can hold it; ``walltime`` is seconds.  Raises ValueError."""
        check_lines(spec)
        log = str(spec.log_path("$JOB_ID.$TASK_ID" if spec.by_hand else "$TASK_ID"))
        return {
            "sge_name": job_name_of(spec.job_name),
            "pe": spec.own.get("pe", "smp"),
            "memory_requests": memory_requests(spec),
            "walltime": None if spec.walltime_s is None else math.ceil(spec.walltime_s),
            "log": None if _NOT_IN_PATHS.search(str(spec.log_dir)) else log,
            "log_dir": str(spec.log_dir),
        }

    def inspect_command(self) -> Command:
        """Its usage, which tells whose ``qsub`` it is; no server is asked."""
        return _command("qsub", "-help", timeout_s=10.0)

    def parse_inspection(self, output: Output) -> str:
        """Only Grid Engine's has ``-hard``."""
        return wrong_system(output.stdout + output.stderr)

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """One ``qsub`` with the script on stdin."""
        return _command("qsub", "-terse", "-t", f"{spec.first}-{spec.last}", stdin=script)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """The id is a line of its own, perhaps among lines of the site: ``5.1-8:1``."""
        found = [short or long for short, long in _SUBMITTED.findall(output.stdout)]
        if len(found) != 1:
            raise UnexpectedOutputError(output.argv, output.stdout, "a job array like 5.1-8:1", output.stderr)
        return JobArray(found[0], {index: f"{found[0]}.{index}" for index in spec.indices})

    def status_command(self, ids: Sequence[ElementId]) -> Command:  # noqa: ARG002
        """One ``qstat`` for all of this user's jobs: asked for single ones, it would not tell their states."""
        return _command("qstat", "-xml")

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Entries of ``qstat -xml``; elements in the same state share one, as ``3,5-8:1``."""
        found: dict[ElementId, JobStatus] = {}
        for entry in self._document(output, "job_info").iter("job_list"):
            job, word = entry.findtext("JB_job_number", ""), entry.findtext("state", "")
            state, node = state_of(word), entry.findtext("queue_name", "") or ""
            said = "" if word in ("r", "qw", "t") else word
            status = JobStatus(state, said, node.partition("@")[2], explanation=explain_state(word))
            for index in expand_tasks(entry.findtext("tasks", "") or ""):
                found[f"{job}.{index}"] = status
        return found

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """One ``qdel``; it fails for what is gone, but does what it can."""
        return _command("qdel", *ids)

    def find_command(self, job_name: str) -> Command:
        """The jobs of that name."""
        return _command("qstat", "-j", job_name_of(job_name), "-xml")

    def parse_find(self, output: Output) -> list[JobArray]:
        """Jobs and their ranges; none if the name is unknown."""
        arrays: dict[str, dict[int, ElementId]] = {}
        for entry in self._document(output, "detailed_job_info", "unknown_jobs").findall("./djob_info/element"):
            job = entry.findtext("JB_job_number", "")
            for part in entry.findall("./JB_ja_structure/task_id_range"):
                first, last = int(part.findtext("RN_min", "1")), int(part.findtext("RN_max", "1"))
                step = int(part.findtext("RN_step", "1")) or 1
                arrays.setdefault(job, {}).update({i: f"{job}.{i}" for i in range(first, last + 1, step)})
        return [JobArray(job, elements) for job, elements in arrays.items()]

    def history_commands(self, element: ElementId) -> Sequence[Command]:
        """Why it is in error state, if it is; else the accounting file, which is written some seconds later."""
        job, _, index = element.partition(".")
        return [
            _command("qstat", "-j", element, "-xml", timeout_s=20.0),
            _command("qacct", "-j", job, "-t", index, timeout_s=20.0),
        ]

    def parse_history(self, output: Output) -> JobStatus | None:
        """Error messages of ``qstat -j``; ``failed`` and ``exit_status`` of the last record of ``qacct``."""
        if output.exit_code != 0:
            return None
        if output.argv[0] == "qstat":
            return error_of(output)
        record = output.stdout.rpartition("=====")[2]
        words = {key: value.strip() for key, value in re.findall(r"^(\w+) +(.*)$", record, re.MULTILINE)}
        failed, code = (re.match(r"\d+", words.get(key, "")) for key in ("failed", "exit_status"))
        if failed is None or code is None:
            return None
        return ended(int(failed[0]), int(code[0]), words.get("hostname", ""), words["failed"])

    def explain_failure(self, output: Output) -> Failure:
        """By the sentences that the commands print, on stdout or stderr; one that is not known is not tried again."""
        text = "\n".join(filter(None, [output.stderr.strip(), output.stdout.strip()]))
        text = text or f"exit code {output.exit_code}, no message"
        if output.argv[0] == "qdel" and all(HARMLESS.search(line) or TAKEN.search(line) for line in text.splitlines()):
            return Failure(text, harmless=True)
        for pattern, transient, option, hint in FAILURES:
            if match := re.search(pattern, text):
                at_fault = option or (match[1] if match.groups() else "")
                at_fault = f"-l {at_fault}" if at_fault and not at_fault.startswith("-") else at_fault
                said, at_fault = f"{text}\n{hint}" if hint else text, ALIASES.get(at_fault, at_fault)
                return Failure(said, transient, at_fault, uncertain=transient and bool(UNCERTAIN.search(text)))
        return Failure(text)

    def _document(self, output: Output, *roots: str) -> ET.Element:
        if output.exit_code != 0:
            failure = self.explain_failure(output)
            raise command_error(StatusError, output, failure)
        found = parse_document(output.stdout)
        if found is None or found.tag not in roots:
            text = f"{output.argv[0]} printed {output.stdout[:200]!r}"
            raise command_error(StatusError, output, Failure(text, transient=True))
        return found


def _command(*argv: str, stdin: str = "", timeout_s: float = 60.0) -> Command:
    return Command(argv, stdin=stdin, timeout_s=timeout_s, drop=DROPPED, env={"LC_ALL": "C"})
