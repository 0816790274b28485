"""OpenPBS and PBS Pro: ``qsub``, ``qstat``, ``qdel``.  Written against OpenPBS 23.06.

Arrays are ``12[].server``, their elements ``12[4].server``.  An array of one element is refused, so a single one is a
plain job ``12.server`` that is told its index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from jobscripts.directives import drop_overridden
from launchers.errors import UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus, Variable
from launchers.pbs_words import (
    ALIASES,
    PBS_ENDS,
    RESERVED,
    array_of,
    command,
    explain,
    fields_of,
    has_failed,
    name_of,
    pairs,
    read_job,
    status_error,
    wrong_system,
)
from launchers.protocol import Command, Failure, Output

__all__ = ["PbsPlugin"]

_SUBMITTED = re.compile(r"^(\d+)(\[\])?((?:\.[\w.-]+)?)\s*$", re.MULTILINE)
_INDEX = Variable.ARRAY_INDEX.value
# A bar within a value has a backslash before it.
_BAR = re.compile(r"(?<!\\)\|")


class PbsPlugin:
    """OpenPBS 20 and later, PBS Pro 14 and later, whose array option is ``-J``."""

    name = "pbs"
    template = "pbs.sh.j2"
    programs = ("qsub", "qstat", "qdel")
    missing_hint = (
        "this host does not belong to a PBS cluster (run dlaunch on its login node), or /etc/profile.d/pbs.sh was not "
        "read"
    )
    directive_prefix = "#PBS"
    directive_aliases: ClassVar[Mapping[str, str]] = {
        **ALIASES,
        # The old style of asking, which cannot stand beside select: one of the user's replaces ours.
        "-l mem": "-l select",
        "-l ncpus": "-l select",
        "-l nodes": "-l select",
    }
    reserved_directives: ClassVar[Mapping[str, str]] = {
        **RESERVED,
        "-J": "say how many workers by -n and --workers-per-job",
    }
    scheduler_host: str | None = None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``fields_of`` both."""
        return fields_of(spec)

    def inspect_command(self) -> Command:
        """The version, which tells whose ``qsub`` it is; no server is asked."""
        return command("qsub", "--version", timeout_s=10.0)

    def parse_inspection(self, output: Output) -> str:
        """``pbs_version = 23.06.06`` is PBS."""
        return wrong_system(self.name, output)

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """One ``qsub`` with the script on stdin."""
        if spec.first < spec.last:
            return command("qsub", "-J", f"{spec.first}-{spec.last}", stdin=script)
        alone = drop_overridden(script, self.directive_prefix, ["-J"], {})
        return command("qsub", "-v", f"{_INDEX}={spec.first}", stdin=alone)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """The id is a line of its own, perhaps among lines of the site: ``12[].server``, or ``12.server`` of one."""
        is_one = spec.first == spec.last
        found = [words for words in _SUBMITTED.findall(output.stdout) if bool(words[1]) is not is_one]
        if len(found) != 1:
            expected = "a job's id like 12.server" if is_one else "an array's id like 12[].server"
            raise UnexpectedOutputError(output.argv, output.stdout, expected, output.stderr)
        number, _, server = found[0]
        if is_one:
            return JobArray(f"{number}{server}", {spec.first: f"{number}{server}"})
        return JobArray(f"{number}[]{server}", {index: f"{number}[{index}]{server}" for index in spec.indices})

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One ``qstat`` for all that is in the queue.

        Not in JSON: of several ids that has only the first one.  Not with ``-x``: that needs a site with history.
        """
        return command("qstat", "-t", "-f", "-F", "dsv", *dict.fromkeys(array_of(element) for element in ids))

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """A line per job; of what has ended or is not known there is a complaint on stderr instead."""
        jobs = dict(self._jobs(output))
        known = {*jobs, *(array_of(job) for job in jobs)}
        asked = [word for word in output.argv if re.match(r"\d+[\[.]", word)]
        if silent := [word for word in asked if word not in known and word not in output.stderr]:
            raise status_error(output, f"qstat says nothing about {', '.join(silent)}")
        return {job: read_job(fields, PBS_ENDS) for job, fields in jobs.items() if "[]" not in job}

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """One ``qdel``."""
        return command("qdel", *ids, timeout_s=180.0)

    def find_command(self, job_name: str) -> Command:
        """All jobs; by its environment the command tells parse_find what to look for."""
        return command("env", f"DLAUNCH_JOB_NAME={name_of(job_name)}", "qstat", "-t", "-f", "-F", "dsv")

    def parse_find(self, output: Output) -> list[JobArray]:
        """A job that is no element carries its index in its variables."""
        name = output.argv[1].partition("=")[2]
        arrays: dict[str, dict[int, ElementId]] = {}
        for job, fields in self._jobs(output):
            if fields.get("Job_Name") != name or "[]" in job:
                continue
            if index := re.search(r"\[(\d+)\]", job) or re.search(rf"\b{_INDEX}=(\d+)", fields["Variable_List"]):
                arrays.setdefault(array_of(job), {})[int(index[1])] = job
        return [JobArray(array, elements) for array, elements in arrays.items()]

    def history_commands(self, element: ElementId) -> Sequence[Command]:
        """What the server remembers, if the site lets it."""
        return [command("qstat", "-x", "-t", "-f", "-F", "json", element, timeout_s=20.0)]

    def parse_history(self, output: Output) -> JobStatus | None:
        """One job, as an object."""
        element = output.argv[-1]
        job = _from_json(output.stdout).get(element)
        return read_job(job, PBS_ENDS) if job else None

    def explain_failure(self, output: Output) -> Failure:
        """In the words of PBS."""
        return explain(output)

    def _jobs(self, output: Output) -> Iterator[tuple[ElementId, dict[str, str]]]:
        if has_failed(output):
            raise status_error(output)
        entries = re.split(r"^Job Id: ", output.stdout, flags=re.MULTILINE)[1:]
        if output.stdout.strip() and not entries:
            raise status_error(output, f"qstat printed {output.stdout[:200]!r}")
        for entry in entries:
            job, *fields = _BAR.split(entry.rstrip("\n"))
            yield job, dict(pairs(fields))


def _from_json(text: str) -> dict[str, dict[str, str]]:
    """The jobs of an answer in JSON; none if it is not an answer."""
    try:
        document: Any = json.loads(text, strict=False)
    except ValueError:
        return {}
    jobs = document.get("Jobs", {}) if isinstance(document, dict) else {}
    return {job: {key: str(value) for key, value in fields.items()} for job, fields in jobs.items()}
