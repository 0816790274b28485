"""Grid Engine's vocabulary: states, ends, options and messages of its commands, as tables."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from launchers.jobs import JobSpec, JobState, JobStatus
from launchers.protocol import Output

__all__ = [
    "ALIASES",
    "FAILURES",
    "HARMLESS",
    "RESERVED",
    "TAKEN",
    "UNCERTAIN",
    "check_lines",
    "ended",
    "environment_name",
    "error_of",
    "expand_tasks",
    "explain_state",
    "job_name_of",
    "memory_requests",
    "parse_document",
    "resource_names",
    "state_of",
    "wrong_system",
]

_RESOURCE = re.compile(r"[A-Za-z_][\w.]*(/job|/slot)?")
_REASON = re.compile(r"^[\d/]+ [\d:]+ \[\d+:\d+\]: (?:error: )?")

ALIASES = {"-l": "-l *", "-wd": "-cwd", "-l h_vmem": "-l memory", "-l mem_free": "-l memory"}

RESERVED = {
    "-t": "say how many workers by -n and --workers-per-job",
    "-N": "name the cluster by --name",
    "-terse": "dlaunch sets it itself",
    "-sync": "use --wait of dlaunch",
    "-now": "use --wait-timeout of dlaunch",
    "-verify": "use --dry-run",
    "-b": "put your own commands before the worker by --prologue",
    "-C": "dlaunch's directives begin with #$",
    "-@": "write its lines as --directive",
}

_NOTICE = 128 + 12
"""Exit status of a job that SIGUSR2 ended: the notice of qdel, or of a limit."""

_HELD = "held: qrls JOB lets it go; or it waits for another job"


def state_of(word: str) -> JobState:
    """Return what letters like ``qw``, ``hqw``, ``Rr``, ``dr``, ``Eqw`` mean."""
    if not re.fullmatch("[dEhqrRsStTwPNz]+", word):
        return JobState.UNKNOWN
    if "z" in word:
        return JobState.GONE
    if "d" in word:
        return JobState.COMPLETING
    if "E" in word:
        return JobState.STUCK
    if "q" in word or "w" in word:
        return JobState.PENDING
    return JobState.RUNNING


def explain_state(word: str) -> str:
    """Return a state in plain words where it is not obvious, or ""."""
    if "E" in word:
        return "in error state: Grid Engine could not start it and will not try again"
    if "h" in word:
        return _HELD
    if "R" in word and "q" in word:
        return "it was stopped by Grid Engine and will run again"
    if {"s", "S", "T"} & set(word):
        return "suspended"
    return ""


_ENDS = {
    # the number after "failed" in qacct -> (state, in plain words)
    1: (JobState.NODE_FAIL, "the node could not start it"),
    3: (JobState.NODE_FAIL, "the node could not start it"),
    4: (JobState.NODE_FAIL, "the node could not start it"),
    5: (JobState.NODE_FAIL, "the node could not start it"),
    6: (JobState.NODE_FAIL, "the node could not start it"),
    7: (JobState.NODE_FAIL, "the prolog could not be started"),
    8: (JobState.FAILED, "the prolog failed"),
    9: (JobState.FAILED, "the parallel environment could not be started"),
    10: (JobState.FAILED, "the parallel environment failed at its start"),
    19: (JobState.NODE_FAIL, "the node did not write how it ended"),
    21: (JobState.NODE_FAIL, "the node does not know it any more: it was restarted"),
    24: (JobState.PREEMPTED, "it was moved to run elsewhere"),
    25: (JobState.PREEMPTED, "it was put back into the queue"),
    26: (JobState.FAILED, "its log cannot be written on the node"),
    27: (JobState.FAILED, "its shell cannot be started on the node"),
    28: (JobState.FAILED, "its working folder does not exist on the node"),
    37: (JobState.TIMEOUT, "its walltime, or another limit like h_vmem, was over"),
    38: (JobState.NODE_FAIL, "the node could not set it up"),
}

_LATER = "this may pass, so it is tried again"
_ARRAY = "the array is larger than this Grid Engine allows: put several workers into each job by --workers-per-job"

FAILURES: tuple[tuple[str, bool, str, str], ...] = (
    # (pattern, transient, option at fault or "" for the pattern's group, hint)
    (r"commlib error|unable to send message|unable to contact qmaster|can't get response", True, "", _LATER),
    (r"got (?:send|read|select) error|connection refused|Error reading answer", True, "", _LATER),
    (r"got timeout|timeout error|lock file|temporarily", True, "", _LATER),
    (
        r"max_u_jobs|too many (?:active |initiated )?jobs|limit for number of jobs|job rejected: .*currently",
        True,
        "",
        _LATER,
    ),
    (r"invalid option argument \"(-\w+)", False, "", ""),
    (r"[Uu]nknown option \"?(-\w+)", False, "", ""),
    (r"unknown resource \"([\w.]+)\"", False, "", "qconf -sc lists the resources; --mem-resource names that of memory"),
    (r"attribute \"([\w.]+)\" is not", False, "", ""),
    (r"unknown queue", False, "-q", "qconf -sql lists the queues"),
    (r"parallel environment", False, "-pe", "name one that this site has by --pe: qconf -spl lists them"),
    (r"requested project|project .* not exist", False, "-P", "qconf -sprjl lists the projects"),
    (r"more than \d+ tasks|invalid task id", False, "-t", _ARRAY),
    (r"user id \d+ is lower than minimum", False, "", "submit as a normal user"),
    (
        r"not a submit host|no submit host|is neither submit nor admin",
        False,
        "",
        "run dlaunch on a submit host: qconf -ss lists them",
    ),
    (r"no suitable queues", False, "", "no queue has what a job asks for"),
)

UNCERTAIN = re.compile(r"can't get response|got read error|got timeout|timeout error|Error reading answer")
"""The question went out and no answer came back: it may have been followed."""

TAKEN = re.compile(r"has registered the job|has deleted job|is already in deletion")
HARMLESS = re.compile(r'job "?\d+"?(?: task "?\d+"?)? does not exist|The job \S+ of user\(s\) \S+ does not exist')
"""What ``qdel`` says of jobs that are gone."""


def resource_names(value: object) -> str:
    """Return the value of ``--mem-resource``.  Raises ValueError."""
    names = [name.strip() for name in str(value).split(",")]
    if not all(_RESOURCE.fullmatch(name) for name in names):
        raise ValueError(f"{value!r} is not like h_vmem or h_vmem/slot,mem_free/job")
    return ",".join(names)


def environment_name(value: object) -> str:
    """Return the value of ``--pe``.  Raises ValueError."""
    if not re.fullmatch(r"[\w.*+-]+", str(value)):
        raise ValueError(f"{value!r} is not the name of a parallel environment")
    return str(value)


def job_name_of(name: str) -> str:
    """Names of jobs must not begin with a digit, because numbers are ids."""
    return f"dl-{name}" if name[0].isdecimal() else name


def check_lines(spec: JobSpec) -> None:
    """Raise ValueError for text that a script cannot hold: ``#$`` at the head of any line begins a directive."""
    for text in (*spec.prologue, *(f" {value}" for value in spec.env.values())):
        if line := re.search(r"^#\$.*", text, re.MULTILINE):
            raise ValueError(f"{line[0]!r} begins a line, which Grid Engine would read as a directive: use --directive")
    for what, value in (("--queue", spec.queue), ("--account", spec.account)):
        if re.search("[\"']", value or ""):
            raise ValueError(f"{what} {value!r}: directives of Grid Engine cannot hold quotation marks")
        if (value or "").startswith("-"):
            raise ValueError(f"{what} {value!r}: Grid Engine would read it as an option")


def memory_requests(spec: JobSpec) -> list[str]:
    """Requests are for each slot unless a resource is one for the whole job."""
    if spec.memory is None:
        return []
    requests = []
    for word in str(spec.own.get("mem-resource", "mem_free/job")).split(","):
        name, _, per = word.partition("/")
        size = spec.memory if per == "job" else math.ceil(spec.memory / spec.cpus)
        requests.append(f"{name}={math.ceil(size / 2**20)}M")
    return requests


def parse_document(text: str) -> ET.Element | None:
    """Return the root of what a command printed by ``-xml``; None if it is none."""
    try:
        # From the batch system of this user, and Python's parser loads nothing from elsewhere.
        return ET.fromstring(text)  # noqa: S314
    except ET.ParseError:
        return None


def expand_tasks(tasks: str) -> Iterator[int]:
    """The elements in ``3,5-8:1``; a job that is no array has none."""
    for first, last, step in re.findall(r"(\d+)(?:-(\d+):(\d+))?", tasks):
        yield from range(int(first), int(last or first) + 1, int(step or 1))


def error_of(output: Output) -> JobStatus | None:
    """The error message of one element, without its time stamp."""
    document, wanted = parse_document(output.stdout), output.argv[2].partition(".")[2]
    for task in document.findall("./djob_info/element/JB_ja_tasks/ulong_sublist") if document is not None else []:
        text = task.findtext("./JAT_message_list/ulong_sublist/QIM_message")
        if task.findtext("JAT_task_number") == wanted and text:
            return JobStatus(JobState.STUCK, "Eqw", explanation=_REASON.sub("", text))
    return None


def ended(failed: int, code: int, node: str, said: str) -> JobStatus:
    """Return how a job ended by the numbers ``failed`` and ``exit_status`` of its record."""
    signal = code - 128 if code > 128 else 0
    if failed in _ENDS:
        state, text = _ENDS[failed]
        return JobStatus(state, said, node, explanation=text)
    if code == _NOTICE:
        return JobStatus(JobState.CANCELLED, said if failed else "", node, code, signal)
    if signal:
        text = "killed: by qdel, or for using too much memory" if signal == 9 else ""
        return JobStatus(JobState.FAILED, said if failed else "", node, None, signal, text)
    if failed not in (0, 100):
        return JobStatus(JobState.FAILED, said, node, code)
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, "", node, code)


def wrong_system(usage: str) -> str:
    """Return, in a sentence, what to use instead if the usage of ``qsub`` is not Grid Engine's; else ""."""
    if "usage: qsub" not in usage or "-hard" in usage:
        return ""
    return (
        "this qsub is not Grid Engine's but, it seems, that of Torque or PBS: use 'dlaunch torque' or 'dlaunch pbs', "
        "or put Grid Engine's programs first into PATH"
    )
