"""The face of SLURM 22.05: ``sbatch``, ``squeue``, ``scancel``, ``scontrol show job``, ``sacct`` without a database.

Texts and exit codes are those of the recorded outputs.
"""

from __future__ import annotations

import getopt
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from launchers.fakes.batch import CANCELLED, COMPLETING, PENDING, RUNNING, FakeBatch, Fault, Job
from launchers.fakes.runner import start_runner

__all__ = ["OUTAGE", "REFUSED_PARTITION", "install_slurm", "main"]

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sacct")
REFUSED_PARTITION = "nope"
"""A partition that does not exist unless the option ``partitions`` says so."""

_DOWN = "Unable to contact slurm controller (connect failure)"
OUTAGE = (
    Fault("sbatch", 1, stderr=f"sbatch: error: Batch job submission failed: {_DOWN}\n".encode(), times=-1),
    Fault("squeue", 1, stderr=f"slurm_load_jobs error: {_DOWN}\n".encode(), times=-1),
    Fault("scancel", 8, stderr=f"scancel: error: Kill job error on job id 1: {_DOWN}\n".encode(), times=-1),
    Fault("scontrol", 1, stderr=f"slurm_load_jobs error: {_DOWN}\n".encode(), times=-1),
)
"""Orders that make all commands fail as they do when slurmctld is down (only not as slowly)."""

_SHORT = "J:a:N:n:c:t:p:A:o:e:C:D:q:w:x:d:G:L:H"
_LONG = (
    *("job-name=", "array=", "nodes=", "ntasks=", "cpus-per-task=", "mem=", "mem-per-cpu=", "time=", "partition="),
    *("account=", "output=", "error=", "constraint=", "chdir=", "qos=", "nodelist=", "exclude=", "dependency="),
    *("gpus=", "gres=", "licenses=", "open-mode=", "comment=", "export=", "reservation=", "signal=", "hold"),
    *("parsable", "exclusive", "requeue", "no-requeue"),
)
_NAMES = {
    f"-{letter}": f"--{name}"
    for letter, name in (
        *(("J", "job-name"), ("a", "array"), ("N", "nodes"), ("n", "ntasks"), ("c", "cpus-per-task"), ("t", "time")),
        *(("p", "partition"), ("A", "account"), ("o", "output"), ("e", "error"), ("C", "constraint"), ("D", "chdir")),
        *(("q", "qos"), ("w", "nodelist"), ("x", "exclude"), ("d", "dependency"), ("G", "gpus"), ("L", "licenses")),
        ("H", "hold"),
    )
}
_NO_SHEBANG = """\
sbatch: error: This does not look like a batch script.  The first
sbatch: error: line must start with #! followed by the path to an interpreter.
sbatch: error: For instance: #!/bin/sh"""
# What this SLURM has none of.
_ABSENT = {"--constraint": "Invalid feature specification", "--nodelist": "Invalid node name specified"}
_FAILED = "sbatch: error: Batch job submission failed"
_TIME = re.compile(r"\d+|\d+:\d+(:\d+)?|\d+-\d+(:\d+){0,2}")
_UNKNOWN_ID = "Invalid job id specified"


def install_slurm(folder: Path, **options: Any) -> FakeBatch:
    """Make a played SLURM in ``folder``; its attribute ``programs`` is the folder to put into PATH.

    ``options`` as in :meth:`FakeBatch.install`, and ``partitions`` (list of names), ``max_array`` (MaxArraySize).
    """
    values = {"partitions": ["main", "short"], "max_array": 1001, **options}
    return FakeBatch.install(folder, PROGRAMS, "launchers.fakes.slurm", **values)


class _RefusedError(Exception):
    """A command ends with this exit code after saying why on stderr."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def main(program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    batch = FakeBatch(Path(folder))
    stdin = sys.stdin.read() if program == "sbatch" else ""
    batch.record((program, *arguments), stdin)
    fault = batch.next_fault((program, *arguments))
    stdout, stderr, code = "", "", 0
    if fault is None or fault.exit_code is None or fault.works:
        try:
            stdout = _PROGRAMS[program](batch, list(arguments), stdin)
        except _RefusedError as refusal:
            code, stderr = refusal.exit_code, f"{refusal}\n"
    if fault is not None and fault.exit_code is not None:
        os.write(1, fault.stdout)
        os.write(2, fault.stderr)
        return fault.exit_code
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    return code


# -- sbatch ----------------------------------------------------------------------------


def _sbatch(batch: FakeBatch, arguments: list[str], script: str) -> str:
    if not script.startswith("#!"):
        raise _RefusedError(1, _NO_SHEBANG)
    options = {**_parsed(_directives(script)), **_parsed(arguments)}
    settings = batch.options()
    _check(options, settings)
    number = batch.new_id()
    path = batch.folder / f"job{number}.sh"
    path.write_text(script)
    path.chmod(0o700)
    indices = _indices(options["--array"]) if "--array" in options else [None]
    batch.add([_job(number, index, options, path) for index in indices])
    if settings["runs"]:
        start_runner(batch, number)
    return f"{number}\n" if "--parsable" in options else f"Submitted batch job {number}\n"


def _directives(script: str) -> list[str]:
    """The words of the #SBATCH lines before the first command."""
    words: list[str] = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            words += shlex.split(line.removeprefix("#SBATCH"), comments=True)
    return words


def _parsed(words: list[str]) -> dict[str, str]:
    try:
        found, _ = getopt.gnu_getopt(words, _SHORT, list(_LONG))
    except getopt.GetoptError as error:
        if len(error.opt) == 1:
            text = f"sbatch: invalid option -- '{error.opt}'"
        else:
            text = f"sbatch: unrecognized option '--{error.opt}'"
        raise _RefusedError(255, f'{text}\nTry "sbatch --help" for more information') from error
    return {_NAMES.get(name, name): value for name, value in found}


def _check(options: dict[str, str], settings: dict[str, Any]) -> None:
    """Refuse what SLURM refuses, in its order: first by sbatch itself, then by the controller."""
    if not _TIME.fullmatch(options.get("--time", "1")):
        raise _RefusedError(255, "sbatch: error: Invalid --time specification")
    if not re.fullmatch(r"\d+[KMGT]?", options.get("--mem", "1")):
        raise _RefusedError(255, "sbatch: error: Invalid --mem specification")
    partition = options.get("--partition", settings["partitions"][0])
    if partition not in settings["partitions"]:
        raise _RefusedError(
            1,
            f"sbatch: error: invalid partition specified: {partition}\n{_FAILED}: Invalid partition name specified",
        )
    if "--gres" in options:
        raise _RefusedError(1, "sbatch: error: Invalid generic resource (gres) specification")
    for option, text in _ABSENT.items():
        if option in options:
            raise _RefusedError(1, f"{_FAILED}: {text}")
    indices = _indices(options.get("--array", "1"))
    if not indices or max(indices) >= settings["max_array"]:
        raise _RefusedError(1, f"{_FAILED}: Invalid job array specification")


def _indices(text: str) -> list[int]:
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _job(number: str, index: int | None, options: dict[str, str], script: Path) -> Job:
    name = options.get("--job-name", "sbatch")
    env = {"SLURM_JOB_ID": number, "SLURM_JOB_NAME": name, "SLURM_SUBMIT_DIR": str(Path.cwd())}
    if index is not None:
        # Each element has a number of its own too, another one than the array's.
        env |= {"SLURM_JOB_ID": f"{int(number) * 1000 + index}", "SLURM_ARRAY_JOB_ID": number}
        env["SLURM_ARRAY_TASK_ID"] = str(index)
    default = "slurm-%j.out" if index is None else "slurm-%A_%a.out"
    values = {
        "%": "%",
        "A": number,
        "a": str(index),
        "j": env["SLURM_JOB_ID"],
        "x": name,
        "u": os.environ.get("USER", "user"),
    }
    pattern = options.get("--output", default)
    output = re.sub(r"%([%A-Za-z])", lambda match: values.get(match[1], match[0]), pattern)
    return Job(
        id=number if index is None else f"{number}_{index}",
        array=number,
        index=index,
        name=name,
        reason="JobHeldUser" if "--hold" in options else "",
        script=str(script),
        output=str(Path(options.get("--chdir", "")).absolute() / output),
        append=options.get("--open-mode") == "append",
        env=env,
    )


# -- squeue, scancel, scontrol, sacct --------------------------------------------------


def _squeue(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    found, _ = getopt.getopt(arguments, "hrt:j:o:n:u:", ["me", "noheader", "array", "states=", "jobs=", "name="])
    options = dict(found)
    jobs = batch.listing()
    if wanted := options.get("-j"):
        for word in wanted.split(","):
            if not re.fullmatch(r"\d+(_\d+)?", word):
                raise _RefusedError(1, f"squeue: error: Invalid job id: {word}")
        jobs = [job for job in jobs if {job.id, job.array} & set(wanted.split(","))]
        # Of several ids the unknown ones are left out in silence; a single one is an error.
        if not jobs and "," not in wanted:
            raise _RefusedError(1, f"slurm_load_jobs error: {_UNKNOWN_ID}")
    if name := options.get("-n"):
        jobs = [job for job in jobs if job.name == name]
    if options.get("-t") != "all":
        jobs = [job for job in jobs if job.state in (PENDING, RUNNING, COMPLETING)]
    return "".join(_queue_line(job, options["-o"]) + "\n" for job in jobs)


def _queue_line(job: Job, form: str) -> str:
    values = {"i": job.id, "T": job.state, "r": job.reason or "None", "N": job.node, "j": job.name}
    return re.sub(r"%([A-Za-z])", lambda match: values[match[1]], form)


def _scancel(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    jobs = batch.listing()
    for word in arguments:
        if not re.fullmatch(r"\d+(_\d+)?", word):
            raise _RefusedError(1, f"scancel: error: Invalid job id {word}")
        for job in jobs:
            if word == job.array:
                batch.cancel(job.id)
            elif word == job.id:
                was_pending = job.state == PENDING
                batch.cancel(job.id)
                # One waiting element leaves no record, a whole waiting array does.
                if was_pending:
                    batch.forget(job.id)
    return ""


def _scontrol(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    words = [word for word in arguments if not word.startswith("-")]
    if words[:2] != ["show", "job"] or len(words) != 3:
        raise _RefusedError(1, f"invalid entity:{shlex.join(words)} for keyword:show")
    jobs = [job for job in batch.listing() if words[2] in (job.id, job.array)]
    if not jobs:
        raise _RefusedError(1, f"slurm_load_jobs error: {_UNKNOWN_ID}")
    return "".join(f"{line}\n" for job in jobs for line in _job_lines(job))


def _job_lines(job: Job) -> Iterator[str]:
    array = "" if job.index is None else f"ArrayJobId={job.array} ArrayTaskId={job.index} "
    signal = 15 if job.state == CANCELLED and job.node else job.signal
    yield (
        f"JobId={job.env['SLURM_JOB_ID']} {array}JobName={job.name} JobState={job.state} "
        f"Reason={job.reason or 'None'} Dependency=(null) ExitCode={job.exit_code or 0}:{signal} "
        f"Partition=main NodeList={job.node or '(null)'} Command=(null)"
    )


def _sacct(_batch: FakeBatch, _arguments: list[str], _stdin: str) -> str:
    raise _RefusedError(1, "Slurm accounting storage is disabled")


_PROGRAMS = {"sbatch": _sbatch, "squeue": _squeue, "scancel": _scancel, "scontrol": _scontrol, "sacct": _sacct}
