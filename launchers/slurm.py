"""SLURM: ``sbatch``, ``squeue``, ``scancel``, and ``sacct`` or ``scontrol`` for how a job ended."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from jobscripts.directives import canonical_option
from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus
from launchers.protocol import Command, Failure, Output, command_error
from launchers.slurm_words import ALIASES, FAILURES, KEPT_DEFAULTS, RESERVED, STATES, UNCERTAIN, explain_reason

__all__ = ["SlurmPlugin"]

_SUBMITTED = re.compile(r"^(\d+)(?:;\S*)?$", re.MULTILINE)
_QUEUED = re.compile(r"^(\d+)(?:_(\d+|\[[^\]|]*\]))?\|([A-Z_]+)[^|\n]*\|(.*)\|([^|\n]*)$", re.MULTILINE)
_FIELD = re.compile(r"(?<!\S)(JobState|Reason|ExitCode|NodeList)=(\S*)")
_UNKNOWN_ID = "Invalid job id specified"
# What a job around us, or a user's habits, would make the commands do behind our back.
_DROPPED = ("SLURM_*", "SBATCH_*", "SQUEUE_*", "SCANCEL_*", "SACCT_*", "DLAUNCH_*")
_SITE = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"})
_QUEUE_FORMAT = "%i|%T|%r|%N"


class SlurmPlugin:
    """SLURM 20 and later, with or without an accounting database."""

    name = "slurm"
    template = "slurm.sh.j2"
    programs = ("sbatch", "squeue", "scancel")
    missing_hint = (
        "this host does not belong to a SLURM cluster (run dlaunch on its login node), or the module that brings "
        "SLURM's commands is not loaded"
    )
    directive_prefix = "#SBATCH"
    directive_aliases: ClassVar[Mapping[str, str]] = ALIASES
    reserved_directives: ClassVar[Mapping[str, str]] = RESERVED
    scheduler_host: str | None = None

    def context(self, spec: JobSpec) -> dict[str, object]:
        """``memory_mib`` of the job, ``walltime`` as D-HH:MM:SS, and ``log`` with SLURM's placeholder."""
        walltime = None if spec.walltime_s is None else _walltime(spec.walltime_s)
        memory_mib = None if spec.memory is None else math.ceil(spec.memory / 2**20)
        # A percent sign is the beginning of a placeholder in file names of SLURM.
        log_dir = str(spec.log_dir).replace("%", "%%")
        log = f"{log_dir}/{spec.log_path('%A_%a' if spec.by_hand else '%a').name}"
        return {"memory_mib": memory_mib, "walltime": walltime, "log": log}

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """One ``sbatch`` with the script on stdin."""
        argv = ("sbatch", "--parsable", f"--array={spec.first}-{spec.last}")
        given = {canonical_option(line, ALIASES) for line in spec.directives}
        given |= {"--partition"} if spec.queue else set()
        given |= {"--account"} if spec.account else set()
        keep = {name for option, name in KEPT_DEFAULTS.items() if option not in given}
        return Command(argv, stdin=script, drop=_DROPPED, keep=_SITE | keep, env={"LC_ALL": "C"})

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """The id is a line of its own, perhaps among lines of site plugins: ``123`` or ``123;cluster``."""
        found = _SUBMITTED.findall(output.stdout)
        if len(found) != 1:
            raise UnexpectedOutputError(output.argv, output.stdout, "a job id like 123", output.stderr)
        return JobArray(found[0], {index: f"{found[0]}_{index}" for index in spec.indices})

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One ``squeue`` for all arrays; it lists their elements one by one, also ended ones for a while."""
        arrays = dict.fromkeys(element.partition("_")[0] for element in ids)
        return _command("squeue", "-h", "-r", "-t", "all", "-j", ",".join(arrays), "-o", _QUEUE_FORMAT)

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Lines like ``46_3|PENDING|Resources|`` and ``46_1|RUNNING|None|node7``."""
        if output.exit_code != 0:
            if _UNKNOWN_ID in output.stderr:
                return {}
            raise command_error(StatusError, output, self.explain_failure(output))
        lines = list(_queue_lines(output.stdout))
        if output.stdout.strip() and not lines:
            # Silence means that no job is left; text that is not about jobs means nothing at all.
            failure = Failure(f"squeue printed {output.stdout.strip()!r}", transient=True)
            raise command_error(StatusError, output, failure)
        return {f"{job}_{index}" if index is not None else job: status for job, index, status in lines}

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """One ``scancel``; ids it does not know any more are no error for it."""
        return _command("scancel", *ids)

    def find_command(self, job_name: str) -> Command:
        """The jobs of that name that belong to this user."""
        return _command("squeue", "-h", "-r", "-t", "all", "--me", "-n", job_name, "-o", _QUEUE_FORMAT)

    def parse_find(self, output: Output) -> list[JobArray]:
        """The arrays among the lines of ``squeue``."""
        if output.exit_code != 0:
            raise command_error(StatusError, output, self.explain_failure(output))
        arrays: dict[str, dict[int, ElementId]] = {}
        for job, index, _ in _queue_lines(output.stdout):
            if index is not None:
                arrays.setdefault(job, {})[index] = f"{job}_{index}"
        return [JobArray(job, elements) for job, elements in arrays.items()]

    def history_commands(self, element: ElementId) -> Sequence[Command]:
        """The accounting database if there is one, else what the controller still remembers."""
        fields = "State,ExitCode,NodeList"
        return [
            _command("sacct", "-n", "-P", "-X", "-j", element, "-o", fields, timeout_s=20.0),
            _command("scontrol", "-o", "show", "job", element, timeout_s=20.0),
        ]

    def parse_history(self, output: Output) -> JobStatus | None:
        """``sacct``: ``OUT_OF_MEMORY|0:125|node7``; ``scontrol``: words like ``JobState=FAILED``."""
        if output.exit_code != 0 or not output.stdout.strip():
            return None
        line = output.stdout.strip().splitlines()[-1]
        if output.argv[0] == "scontrol":
            words = dict(_FIELD.findall(line))
            found = (words.get("JobState", ""), words.get("ExitCode", ""), words.get("NodeList", ""))
            return _ended(*found, reason=words.get("Reason", ""))
        parts = line.split("|")
        return _ended(*parts) if len(parts) == 3 else None

    def explain_failure(self, output: Output) -> Failure:
        """By the sentences that SLURM's commands print; one that is not known is not tried again."""
        text = (output.stderr.strip() or output.stdout.strip()) or f"exit code {output.exit_code}, no message"
        for pattern, transient, option, hint in FAILURES:
            if match := re.search(pattern, text):
                at_fault = option or (match[1] if match.groups() else "")
                uncertain = bool(re.search(UNCERTAIN, text))
                return Failure(f"{text}\n{hint}" if hint else text, transient, at_fault, uncertain)
        return Failure(text)


def _command(*argv: str, timeout_s: float = 60.0) -> Command:
    return Command(argv, timeout_s=timeout_s, drop=_DROPPED, keep=_SITE, env={"LC_ALL": "C"})


def _walltime(seconds: float) -> str:
    minutes, second = divmod(math.ceil(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return f"{days}-{hour:02d}:{minute:02d}:{second:02d}"


def _queue_lines(text: str) -> Iterator[tuple[str, int | None, JobStatus]]:
    for job, index, word, said, node in _QUEUED.findall(text):
        reason = "" if said == "None" else said
        state = STATES.get(word, JobState.UNKNOWN)
        status = JobStatus(
            state, reason or (word if state is JobState.UNKNOWN else ""), node, explanation=explain_reason(reason)
        )
        for number in _numbers(index):
            yield job, number, status


def _numbers(index: str) -> list[int | None]:
    """The elements in ``7``, ``[3,5-8%2]`` or nothing."""
    if not index:
        return [None]
    found: list[int | None] = []
    for part in index.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _ended(state: str, exit_code: str, node: str, reason: str = "") -> JobStatus | None:
    code, _, signal = exit_code.partition(":")
    if not state or not code.isdecimal():
        return None
    word = state.split(maxsplit=1)[0].rstrip("+")
    reason = "" if reason == "None" else reason
    return JobStatus(
        STATES.get(word, JobState.UNKNOWN),
        reason,
        "" if node in ("(null)", "None assigned") else node,
        int(code),
        int(signal) if signal.isdecimal() else 0,
        explain_reason(reason),
    )
