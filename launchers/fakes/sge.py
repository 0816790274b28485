"""The face of Grid Engine 8.1.9: ``qsub``, ``qstat -xml``, ``qstat -j``, ``qdel``, ``qacct``.

Texts and exit codes are those of the recorded outputs.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from launchers.fakes.batch import ACTIVE, CANCELLED, COMPLETING, PENDING, RUNNING, FakeBatch, Fault, Job
from launchers.fakes.runner import start_runner

__all__ = ["OUTAGE", "REFUSED_QUEUE", "install_sge", "main"]

PROGRAMS = ("qsub", "qstat", "qdel", "qacct")
REFUSED_QUEUE = "nope.q"
"""A queue that does not exist unless the option ``queues`` says so."""

_LOST = b"error: commlib error: got select error (Connection refused)\n"
_UNSENT = b'unable to send message to qmaster using port 6444 on host "hpc0": got send error\n'
OUTAGE = (
    Fault("qsub", 1, stderr=_LOST + b"Unable to run job: " + _UNSENT + b"Exiting.\n", times=-1),
    Fault("qstat", 1, stderr=_LOST + b"error: " + _UNSENT, times=-1),
    Fault("qdel", 1, stdout=_UNSENT, stderr=_LOST, times=-1),
)
"""Orders that make the commands fail as they do when sge_qmaster is down; qacct reads a file and does not care."""

# Option -> how many words follow it.
_OPTIONS = {
    **dict.fromkeys(
        ("-N", "-t", "-S", "-l", "-q", "-P", "-j", "-o", "-e", "-A", "-r", "-wd", "-tc", "-p", "-v", "-m", "-w", "-b"),
        1,
    ),
    **dict.fromkeys(("-cwd", "-notify", "-h", "-V", "-terse"), 0),
    "-pe": 2,
    "-ac": 1,
    "-hold_jid": 1,
}
_RESOURCES = frozenset({"h_rt", "s_rt", "h_vmem", "mem_free", "arch", "hostname", "num_proc"})
_NO_OUTPUT_SIGNAL = 53  # how the runner reports a log that cannot be written
_KILLED = 137
_XML = "<?xml version='1.0'?>\n"
_FAILED_WORDS = {0: "0    ", 26: "26  : opening input/output file", 100: "100 : assumedly after job"}


def install_sge(folder: Path, **options: Any) -> FakeBatch:
    """Make a played Grid Engine in ``folder``; its attribute ``programs`` is the folder to put into PATH.

    ``options`` as in :meth:`FakeBatch.install`, and ``queues``, ``environments``, ``projects`` (lists of names),
    ``max_tasks``.
    """
    known = {"queues": ["main.q", "fast"], "environments": ["smp", "mpi"], "projects": ["lab", "fast"]}
    values = {**known, "max_tasks": 75000, "end_signal": signal.SIGUSR2, **options}
    return FakeBatch.install(folder, PROGRAMS, "launchers.fakes.sge", **values)


class _RefusedError(Exception):
    """A command ends with this exit code after saying why."""

    def __init__(self, exit_code: int, text: str, stdout: str = "") -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.stdout = stdout


def main(program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    batch = FakeBatch(Path(folder))
    stdin = sys.stdin.read() if program == "qsub" else ""
    batch.record((program, *arguments), stdin)
    fault = batch.next_fault((program, *arguments))
    stdout, stderr, code = "", "", 0
    if fault is None or fault.exit_code is None or fault.works:
        try:
            stdout = _PROGRAMS[program](batch, list(arguments), stdin)
        except _RefusedError as refusal:
            code, stdout, stderr = refusal.exit_code, refusal.stdout, f"{refusal}\n" if str(refusal) else ""
    if fault is not None and fault.exit_code is not None:
        os.write(1, fault.stdout)
        os.write(2, fault.stderr)
        return fault.exit_code
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    return code


# -- qsub ------------------------------------------------------------------------------


def _qsub(batch: FakeBatch, arguments: list[str], script: str) -> str:
    if arguments == ["-help"]:
        return 'SGE 8.1.9\nusage: qsub [options]\n   [-hard]      consider following requests "hard"\n'
    options: dict[str, list[str]] = {}
    # Any line of the script counts, wherever it stands; the command line wins.
    for line in script.split("\n"):
        if line.startswith("#$"):
            _read(_words(line[2:]), options)
    _read(arguments, options)
    _check(options, batch.options())
    first, last = _range(options)
    number = batch.new_id()
    path = batch.folder / f"job{number}.sh"
    path.write_text(script)
    path.chmod(0o700)
    batch.add([_job(number, index, options, path) for index in range(first, last + 1)])
    if batch.options()["runs"]:
        start_runner(batch, number)
    if "-terse" in options:
        return f"{number}.{first}-{last}:1\n"
    return f'Your job-array {number}.{first}-{last}:1 ("{_name(options)}") has been submitted\n'


def _words(text: str) -> list[str]:
    """Blanks separate words; quotation marks keep them together, and nothing else has a meaning."""
    found: list[str] = []
    for match in re.finditer(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""", text):
        if match[0].startswith("#"):
            break
        found.append(re.sub("[\"']", "", match[0]))
    return found


def _read(words: list[str], options: dict[str, list[str]]) -> None:
    words = list(words)
    while words:
        option = words.pop(0)
        if option not in _OPTIONS:
            raise _RefusedError(2, f'qsub: invalid option argument "{option}"')
        count = _OPTIONS[option]
        values, words = words[:count], words[count:]
        options[option] = [*options.get(option, []), *values] if option == "-l" else values


def _check(options: dict[str, list[str]], settings: dict[str, Any]) -> None:
    for request in ",".join(options.get("-l", [])).split(","):
        name, _, value = request.partition("=")
        if name and name not in _RESOURCES:
            _refuse(f'unknown resource "{name}"')
        if name == "h_rt" and not re.fullmatch(r"[\d:]+", value):
            _refuse('attribute "h_rt" is not a time value')
    if (queue := options.get("-q", ["main.q"])[0]) not in settings["queues"]:
        _refuse(f'Job was rejected because job requests unknown queue "{queue}"')
    if (environment := options.get("-pe", ["smp"])[0]) not in settings["environments"]:
        _refuse(f'job rejected: the requested parallel environment "{environment}" does not exist')
    if (project := options.get("-P", ["lab"])[0]) not in settings["projects"]:
        _refuse(f'job rejected: the requested project "{project}" does not exist')
    if _name(options)[0].isdecimal():
        _refuse(f'denied: "{_name(options)}" is not a valid object name (cannot start with a digit)')
    first, last = _range(options)
    if first < 1:
        _refuse("job rejected: 0 is an invalid task id")
    if last - first >= settings["max_tasks"]:
        _refuse(f"job rejected: you tried to submit a job with more than {settings['max_tasks']} tasks")


def _refuse(text: str) -> None:
    raise _RefusedError(1, f"Unable to run job: {text}\nExiting.")


def _range(options: dict[str, list[str]]) -> tuple[int, int]:
    first, _, last = options.get("-t", ["1"])[0].partition("-")
    return int(first), int(last or first)


def _name(options: dict[str, list[str]]) -> str:
    return options.get("-N", ["STDIN"])[0]


def _job(number: str, index: int, options: dict[str, list[str]], script: Path) -> Job:
    first, last = _range(options)
    name = _name(options)
    env = {"JOB_ID": number, "JOB_NAME": name, "SGE_TASK_ID": str(index), "SGE_TASK_FIRST": str(first)}
    env |= {"SGE_TASK_LAST": str(last), "SGE_O_WORKDIR": str(Path.cwd()), "NSLOTS": options.get("-pe", ["", "1"])[1]}
    values = {"TASK_ID": str(index), "JOB_ID": number, "JOB_NAME": name, "HOME": str(Path.home())}
    pattern = options.get("-o", [f"{name}.o{number}.{index}"])[0]
    output = re.sub(r"\$([A-Z_]+)", lambda match: values.get(match[1], match[0]), pattern)
    return Job(
        id=f"{number}.{index}",
        array=number,
        index=index,
        name=name,
        reason="JobHeldUser" if "-h" in options else "",
        script=str(script),
        output=str(Path.cwd() / output),
        append=True,
        env=env,
    )


# -- qstat, qdel, qacct ----------------------------------------------------------------


def _qstat(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    jobs = [job for job in batch.listing() if _letters(job)]
    if arguments == ["-xml"]:
        running = "".join(_entry(job, "running") for job in jobs if job.state in (RUNNING, COMPLETING))
        pending = "".join(_entry(job, "pending") for job in jobs if job.state not in (RUNNING, COMPLETING))
        return (
            f"{_XML}<job_info>\n<queue_info>\n{running}</queue_info>\n<job_info>\n{pending}</job_info>\n</job_info>\n"
        )
    if len(arguments) != 3 or (arguments[0], arguments[2]) != ("-j", "-xml"):
        raise _RefusedError(2, f'qstat: invalid option argument "{arguments[0]}"')
    number, _, task = arguments[1].partition(".")
    found = [job for job in jobs if arguments[1] == job.name or (number == job.array and task in ("", str(job.index)))]
    if not found:
        return f"{_XML}<unknown_jobs >\n    <ST_name>{escape(arguments[1])}</ST_name>\n</unknown_jobs>\n"
    body = "".join(_details([job for job in found if job.array == array]) for array in {job.array: 0 for job in found})
    return f"{_XML}<detailed_job_info>\n<djob_info>\n{body}</djob_info>\n</detailed_job_info>\n"


def _letters(job: Job) -> str:
    """The state as Grid Engine writes it; "" if the job is not in the queue."""
    if job.signal == _NO_OUTPUT_SIGNAL:
        return "Eqw"
    if job.state in (RUNNING, COMPLETING):
        return "r" if job.state == RUNNING else "dr"
    if job.state == PENDING:
        return "hqw" if job.reason.startswith("JobHeld") else "qw"
    return job.state if job.state not in ACTIVE and job.forced and job.state.islower() else ""


def _entry(job: Job, state: str) -> str:
    queue = f"main.q@{job.node}" if state == "running" else ""
    return (
        f'<job_list state="{state}"><JB_job_number>{job.array}</JB_job_number><JB_name>{job.name}</JB_name>'
        f"<state>{_letters(job)}</state><queue_name>{queue}</queue_name><slots>1</slots><tasks>{job.index}</tasks>"
        "</job_list>\n"
    )


def _details(jobs: list[Job]) -> str:
    first, last = jobs[0].env["SGE_TASK_FIRST"], jobs[0].env["SGE_TASK_LAST"]
    return (
        f"<element><JB_job_number>{jobs[0].array}</JB_job_number>\n"
        f"<JB_ja_tasks>\n{''.join(map(_task, jobs))}</JB_ja_tasks>\n"
        f"<JB_ja_structure><task_id_range><RN_min>{first}</RN_min><RN_max>{last}</RN_max><RN_step>1</RN_step>"
        "</task_id_range></JB_ja_structure>\n</element>\n"
    )


def _task(job: Job) -> str:
    messages = ""
    if _letters(job) == "Eqw":
        text = f'error: can\'t open output file "{job.output}": No such file or directory'
        said = escape(f"11/23/2026 08:18:36 [1003:2856]: {text}")
        messages = f"<ulong_sublist><QIM_message>{said}</QIM_message></ulong_sublist>"
    return (
        f"<ulong_sublist><JAT_task_number>{job.index}</JAT_task_number>"
        f"<JAT_message_list>{messages}</JAT_message_list></ulong_sublist>\n"
    )


def _qdel(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    said: list[str] = []
    failed = False
    for word in arguments:
        jobs = [job for job in batch.listing() if _letters(job) and word in (job.array, job.id)]
        said += _delete(batch, jobs, word)
        failed = failed or not jobs
    text = "".join(f"{line}\n" for line in said)
    if failed:
        raise _RefusedError(1, "", text)
    return text


def _delete(batch: FakeBatch, jobs: list[Job], word: str) -> Iterator[str]:
    number, _, task = word.partition(".")
    if not jobs:
        yield f'job "{number}" task "{task}" does not exist' if task else f'denied: job "{number}" does not exist'
    for job in jobs:
        if job.state == COMPLETING:
            yield f"job {number} is already in deletion"
            continue
        was_running = job.state == RUNNING
        batch.cancel(job.id)
        if was_running:
            yield f"user has registered the job-array task {job.id} for deletion"
        else:
            batch.forget(job.id)
            yield f"user has deleted job-array task {job.id}"


def _qacct(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    wanted = f"{options['-j']}.{options['-t']}"
    jobs = [job for job in batch.listing() if job.id == wanted and job.node and job.state not in ACTIVE]
    if not jobs:
        raise _RefusedError(1, f"error: Job-array tasks {options['-j']}.{options['-t']}-{options['-t']}:1 not found")
    return "".join(_record(job) for job in jobs)


def _record(job: Job) -> str:
    failed = 26 if job.signal == _NO_OUTPUT_SIGNAL else 100 if job.signal or job.state == CANCELLED else 0
    code = 0 if failed == 26 else 128 + job.signal if job.signal else job.exit_code or 0
    if job.state == CANCELLED and not code:
        code = _KILLED
    return (
        f"{'=' * 62}\nqname        main.q              \nhostname     {job.node:<20}\njobname      {job.name:<20}\n"
        f"jobnumber    {job.array:<20}\ntaskid       {job.index:<20}\nfailed       {_FAILED_WORDS[failed]}\n"
        f"exit_status  {code:<20}\nru_wallclock 1s\n"
    )


_PROGRAMS = {"qsub": _qsub, "qstat": _qstat, "qdel": _qdel, "qacct": _qacct}
