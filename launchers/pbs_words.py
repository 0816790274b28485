"""The vocabulary that Torque and PBS share, for they have one ancestor: states, options and messages, as tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from jobscripts.quoting import ShellVariable, shell_word
from launchers.errors import StatusError
from launchers.jobs import ElementId, JobSpec, JobState, JobStatus, Variable
from launchers.protocol import Command, Failure, Output, command_error

__all__ = [
    "ALIASES",
    "PBS_ENDS",
    "RESERVED",
    "TORQUE_ENDS",
    "array_of",
    "command",
    "explain",
    "fields_of",
    "has_failed",
    "name_of",
    "pairs",
    "read_job",
    "status_error",
    "wrong_system",
]

_STATES = {
    "Q": JobState.PENDING,
    "W": JobState.PENDING,  # its time has not come, or its files are not there
    "T": JobState.PENDING,  # on its way to another queue
    "H": JobState.PENDING,
    "R": JobState.RUNNING,
    "S": JobState.RUNNING,
    "U": JobState.RUNNING,  # suspended while somebody types on its node
    "B": JobState.RUNNING,
    "E": JobState.COMPLETING,
}
_HOLDS = {
    "u": "held by its user: qrls lets it go",
    "o": "held by an operator",
    "s": "held by the system: it waits for another job, or an administrator holds it",
    "a": "its array is still being made",
    "l": "the array's own limit of running elements is reached",
    "p": "held since its password is wrong",
}
_COMMENTS = (
    ("Can Never Run", "asks for more than there is: it will never start"),
    ("Not enough free nodes", "waits for free nodes"),
    ("Not enough of the right type of nodes", "waits for free nodes"),
    ("Insufficient amount of", "waits for free nodes"),
    ("limit", "a limit of the queue, user or project is reached"),
    ("Unknown node-attribute", "asks for something that the scheduler does not know: it will never start"),
)
_SIGNALLED = 256  # above it: the signal that ended the script's shell, which only the batch system sends
_OUT_OF_MEMORY = "it used more memory than it asked for"
_OVER_TIME = "its walltime was over"
# Negative exit codes: the batch system ended the job, or could not start it.
TORQUE_ENDS = {
    -10: (JobState.OUT_OF_MEMORY, _OUT_OF_MEMORY),
    -11: (JobState.TIMEOUT, _OVER_TIME),
    -12: (JobState.TIMEOUT, "its CPU time was over"),
}
PBS_ENDS = {
    -26: (JobState.OUT_OF_MEMORY, _OUT_OF_MEMORY),
    -27: (JobState.OUT_OF_MEMORY, _OUT_OF_MEMORY),
    -28: (JobState.TIMEOUT, "its CPU time was over"),
    -29: (JobState.TIMEOUT, _OVER_TIME),
}

# By these a site or user says which server is meant; a job around us does not set them.
_SITE = frozenset(
    {"PBS_DEFAULT", "PBS_SERVER", "PBS_CONF_FILE", "PBS_EXEC", "PBS_HOME", "PBS_PRIMARY", "PBS_SECONDARY"}
    | {"PBS_BATCH_SERVICE_PORT", "PBS_AUTH_METHOD", "PBS_ENCRYPT_METHOD", "PBS_SUPPORTED_AUTH_METHODS"}
)
# What a job around us would make the commands do behind our back.
_DROPPED = ("PBS_*", "DLAUNCH_*")

ALIASES = {"-l": "-l *", "-W": "-W *"}
RESERVED = {
    "-C": "dlaunch writes #PBS itself",
    "-I": "jobs of a cluster run without a terminal",
    "-N": "name the cluster by --name",
    "-v": "set variables by --env",
    "-W block": "use --wait of dlaunch",
    "-z": "dlaunch must be told the job's id",
}

_LATER = "this may pass, so it is tried again"
_QUEUES = "qstat -Q lists the queues"
_LIMITS = "qstat -Q -f shows the limits of the queues"
_LARGE = "the array is larger than this server allows: put several workers into each job by --workers-per-job"
_HOST = "perhaps this host (a compute node?) may not submit: run dlaunch on a login node"
_NO_ROOT = "submit as an ordinary user"

_FAILURES: tuple[tuple[str, bool, str, str], ...] = (
    # (pattern, transient, option at fault with {} for the pattern's group, hint)
    (r"Can ?not resolve|Unknown Host", False, "-q", "the server's name is in PBS_DEFAULT, PBS_SERVER or --queue"),
    (r"Connection (?:refused|timed out|reset)|Unable to communicate|trqauthd|pbs_iff", True, "", _LATER),
    (r"[Cc]annot connect to|Couldn't connect to|No route to host|[Tt]imed out|Timeout", True, "", _LATER),
    (r"End of File|protocol error|Premature end|shutting down|Server is (?:busy|down)", True, "", _LATER),
    (r"temporarily|[Tt]ry again|lock file|No free connections|Communication failure", True, "", _LATER),
    (r"[Mm]aximum number of jobs|would exceed .*limit on .*number|job limit", True, "", _LATER),
    (r"Unknown queue", False, "-q", _QUEUES),
    (r"[Qq]ueue is not enabled|Access to queue is denied|No permission.* queue", False, "-q", _QUEUES),
    (r"Unknown resource(?: type)?\s+Resource_List\.(\w+)", False, "-l {}", ""),
    (r"Illegal attribute or resource value(?: for)?\s+Resource_List\.(\w+)", False, "-l {}", ""),
    (r"[Ii]nvalid [Aa]ccount", False, "-A", ""),
    (r"invalid option -- '(\w)'", False, "-{}", ""),
    (r"illegal -(\w) value", False, "-{}", ""),
    (r"Bad Job Array Request", False, "-t", _LARGE),
    (r"exceeds server or queue size limit", False, "-J", _LARGE),
    (r"cannot locate feasible nodes", False, "-l nodes", _LIMITS),
    (r"exceeds queue (?:and/or server )?resource limits", False, "", _LIMITS),
    (r"ruserok failed|[Ss]ubmit host|[Hh]ost .*not allowed|Unauthorized Request", False, "", _HOST),
    (r"can not be run as root|Bad UID for job execution", False, "", _NO_ROOT),
)

_GONE = re.compile(
    r"Unknown Job Id|nonexistent job id|Job has finished|Request invalid for finished array subjob|"
    r"Request invalid for state of job"
)
_OF_QSUB = (
    (re.compile(r"^pbs_version\s*=", re.MULTILINE), "pbs", "OpenPBS or PBS Pro"),
    (re.compile(r"^Version:", re.MULTILINE | re.IGNORECASE), "torque", "Torque"),
)
_ELEMENT = re.compile(r"\[\d+\]")


def command(*argv: str, stdin: str = "", timeout_s: float = 60.0) -> Command:
    """Return a command that a job around us cannot lead astray."""
    return Command(argv, stdin=stdin, timeout_s=timeout_s, drop=_DROPPED, keep=_SITE, env={"LC_ALL": "C"})


def array_of(element: ElementId) -> str:
    """Return the array of an element: ``12[].server`` of ``12[4].server``; a job that is no element is its own."""
    return _ELEMENT.sub("[]", element)


def fields_of(spec: JobSpec) -> dict[str, object]:
    """Return what both templates need.

    ``pbs_name``: a job name, which must begin with a letter; ``memory_mib`` of the job; ``walltime`` as HH:MM:SS;
    ``log``: the word for the shell that names the log of the running element.
    """
    folder = f"{spec.log_dir}/"
    first, last = spec.log_path("\0").name.split("\0")
    which = "PBS_JOBID" if spec.by_hand else Variable.ARRAY_INDEX.value
    seconds = None if spec.walltime_s is None else math.ceil(spec.walltime_s)
    return {
        "pbs_name": name_of(spec.job_name),
        "memory_mib": None if spec.memory is None else math.ceil(spec.memory / 2**20),
        "walltime": None if seconds is None else f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
        "log": shell_word([folder, first, ShellVariable(which), last]),
    }


def name_of(job_name: str) -> str:
    """Return the name that a job gets: PBS wants a letter first."""
    return job_name if job_name[:1].isalpha() else f"j{job_name}"


def pairs(text: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of lines like ``job_state=R``."""
    for line in text:
        key, separator, value = line.partition("=")
        if separator:
            yield key, value


def read_job(job: Mapping[str, str], ends: Mapping[int, tuple[JobState, str]]) -> JobStatus:
    """Return the status of a job by its attributes, of which ``ends`` explains the negative exit codes."""
    letter = job.get("job_state", "")
    node = job.get("exec_host", "").partition("/")[0]
    if letter in ("C", "F", "X"):
        return _ended(job, node, ends)
    state = _STATES.get(letter, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        return JobStatus(state, letter, node)
    if letter == "H":
        kinds = job.get("Hold_Types", "")
        why = next((text for kind, text in _HOLDS.items() if kind in kinds), "held")
        return JobStatus(state, f"Hold_Types {kinds}", explanation=why)
    if state is JobState.PENDING:
        comment = job.get("comment", "").strip()
        if comment.startswith(("Not Running", "Can Never Run")):
            why = next((text for part, text in _COMMENTS if part in comment), "")
            return JobStatus(state, comment, explanation=why)
    return JobStatus(state, node=node)


def _ended(job: Mapping[str, str], node: str, ends: Mapping[int, tuple[JobState, str]]) -> JobStatus:
    text = job.get("exit_status", job.get("Exit_status", ""))
    code = int(text) if re.fullmatch(r"-?\d+", text) else None
    if code is not None and code in ends:
        state, why = ends[code]
        return JobStatus(state, f"exit status {code}", node, explanation=why)
    # An element that was waiting when PBS ended its array shows the array's exit status: substate and comment tell.
    if code is None or job.get("substate") == "91" or " and terminated" in job.get("comment", ""):
        return JobStatus(JobState.CANCELLED, node=node, signal=_signal(code))
    if code >= _SIGNALLED:
        return JobStatus(JobState.CANCELLED, node=node, signal=_signal(code))
    if code == 0:
        return JobStatus(JobState.COMPLETED, node=node, exit_code=0)
    if code < 0:
        return JobStatus(JobState.FAILED, node=node, explanation=f"the node could not run it: exit status {code}")
    why = "signal 9 ended it: was it out of memory?" if code == 128 + 9 else ""
    return JobStatus(JobState.FAILED, node=node, exit_code=code, explanation=why)


def _signal(code: int | None) -> int:
    return code - _SIGNALLED if code is not None and code > _SIGNALLED else 0


def explain(output: Output) -> Failure:
    """Explain a failed command by its sentences; one that is not known is not tried again."""
    text = (output.stderr.strip() or output.stdout.strip()) or f"exit code {output.exit_code}, no message"
    if output.argv[0] == "qdel" and _all_gone(output):
        return Failure(text, harmless=True)
    for pattern, transient, option, hint in _FAILURES:
        if match := re.search(pattern, text):
            at_fault = option.format(*match.groups())
            return Failure(f"{text}\n{hint}" if hint else text, transient, at_fault)
    return Failure(text)


def _all_gone(output: Output) -> bool:
    """Whether a command complains only of jobs that have ended already."""
    lines = [line for line in output.stderr.splitlines() if line.strip()]
    return bool(lines) and all(_GONE.search(line) for line in lines)


def status_error(output: Output, text: str = "") -> StatusError:
    """Return the error of a command that does not tell about jobs; without ``text`` its own words explain it."""
    if text:
        return command_error(StatusError, output, Failure(text, transient=True))
    failure = explain(output)
    return command_error(StatusError, output, failure)


def has_failed(output: Output) -> bool:
    """Whether a question about jobs failed: its exit code also counts the ids that are gone."""
    return output.exit_code != 0 and not _all_gone(output)


def wrong_system(name: str, output: Output) -> str:
    """Return why the ``qsub`` that printed its version is not the one of launcher ``name``, or ""."""
    text = f"{output.stdout}\n{output.stderr}"
    for pattern, launcher, system in _OF_QSUB:
        if pattern.search(text) and launcher != name:
            said = next(line for line in text.splitlines() if pattern.search(line))
            return f"the batch system here is {system} ({said.strip()}): use 'dlaunch {launcher}'"
    return ""
