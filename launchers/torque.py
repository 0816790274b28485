"""Torque: ``qsub``, ``qstat``, ``qdel``.  Written against Torque 6.1.

Arrays are ``12[].server``, their elements ``12[4].server``.  Completed jobs stay in the queue's answer for as long as
the site keeps them; there is no other memory of how they ended.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from launchers.errors import UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus
from launchers.pbs_words import (
    ALIASES,
    RESERVED,
    TORQUE_ENDS,
    array_of,
    command,
    explain,
    fields_of,
    has_failed,
    name_of,
    read_job,
    status_error,
    wrong_system,
)
from launchers.protocol import Command, Failure, Output

__all__ = ["TorquePlugin"]

_SUBMITTED = re.compile(r"^(\d+)\[\]((?:\.[\w.-]+)?)\s*$", re.MULTILINE)
_JOB = re.compile(r"<Job>(.*?)</Job>", re.DOTALL)
_FIELD = re.compile(r"<(\w+)>([^<]*)</\1>")
# Torque does not deliver output to other paths, and it adds the index of the element to each.
_DELIVERABLE = re.compile(r"[\w./+@%-]+")


class TorquePlugin:
    """Torque 4 and later, whose array option is ``-t``."""

    name = "torque"
    template = "torque.sh.j2"
    programs = ("qsub", "qstat", "qdel")
    missing_hint = (
        "this host does not belong to a Torque cluster (run dlaunch on its login node), or Torque's commands are not "
        "in PATH"
    )
    directive_prefix = "#PBS"
    directive_aliases: ClassVar[Mapping[str, str]] = {
        **ALIASES,
        # These exclude one another: one of the user's replaces ours.
        "-l ncpus": "-l nodes",
        "-l procs": "-l nodes",
        "-l pmem": "-l mem",
    }
    reserved_directives: ClassVar[Mapping[str, str]] = {
        **RESERVED,
        "-t": "say how many workers by -n and --workers-per-job",
        "-l select": "Torque ignores it: ask for -l nodes=1:ppn=N, or use 'dlaunch pbs' on PBS",
    }
    scheduler_host: str | None = None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``fields_of`` both, and ``batch_log``: where Torque puts what it has to say itself."""
        log_dir = str(spec.log_dir)
        batch_log = f"{log_dir}/{spec.name}.torque" if _DELIVERABLE.fullmatch(log_dir) else "/dev/null"
        return {**fields_of(spec), "batch_log": batch_log}

    def inspect_command(self) -> Command:
        """The version, which tells whose ``qsub`` it is; no server is asked."""
        return command("qsub", "--version", timeout_s=10.0)

    def parse_inspection(self, output: Output) -> str:
        """``Version: 6.1`` is Torque."""
        return wrong_system(self.name, output)

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """One ``qsub`` with the script on stdin; one element is an array too."""
        return command("qsub", "-t", f"{spec.first}-{spec.last}", stdin=script)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """The id is a line of its own, perhaps among lines of the site: ``12[].server``."""
        found = _SUBMITTED.findall(output.stdout)
        if len(found) != 1:
            raise UnexpectedOutputError(output.argv, output.stdout, "an array's id like 12[].server", output.stderr)
        number, server = found[0]
        return JobArray(f"{number}[]{server}", {index: f"{number}[{index}]{server}" for index in spec.indices})

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One ``qstat`` for all arrays; without ``-t`` it would list every job of the server."""
        return command("qstat", "-t", "-f", "-x", *dict.fromkeys(array_of(element) for element in ids))

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """One XML document after another, or nothing if there is no such job."""
        return {job["Job_Id"]: read_job(job, TORQUE_ENDS) for job in self._jobs(output)}

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """One ``qdel``: it ends the elements one after another, 64 of them in 9 s."""
        return command("qdel", *ids, timeout_s=180.0)

    def find_command(self, job_name: str) -> Command:
        """All jobs; by its environment the command tells parse_find what to look for."""
        return command("env", f"DLAUNCH_JOB_NAME={name_of(job_name)}", "qstat", "-t", "-f", "-x")

    def parse_find(self, output: Output) -> list[JobArray]:
        """Elements are named ``NAME-INDEX``."""
        name = re.escape(output.argv[1].partition("=")[2])
        arrays: dict[str, dict[int, ElementId]] = {}
        for job in self._jobs(output):
            index = job.get("job_array_id", "")
            if index.isdecimal() and re.fullmatch(rf"{name}-{index}", job.get("Job_Name", "")):
                arrays.setdefault(array_of(job["Job_Id"]), {})[int(index)] = job["Job_Id"]
        return [JobArray(array, elements) for array, elements in arrays.items()]

    def explain_failure(self, output: Output) -> Failure:
        """In Torque's own words."""
        return explain(output)

    def _jobs(self, output: Output) -> Iterator[dict[str, str]]:
        text = output.stdout
        if has_failed(output):
            raise status_error(output)
        # Cut off in the middle it would hide jobs; text that is not about jobs means nothing at all.
        if text.count("<Data>") != text.count("</Data>") or (text.strip() and "<Data>" not in text):
            raise status_error(output, f"qstat printed {text[-200:]!r}")
        # Not an XML parser: names and variables of jobs may hold bytes that XML does not have.
        for job in _JOB.findall(text):
            fields = {key: html.unescape(value) for key, value in _FIELD.findall(job)}
            if "Job_Id" in fields:
                yield fields
