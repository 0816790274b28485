"""Programs that play LSF: a face on the played batch system that dlaunch's own tests use."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launchers.fakes.batch import (
    ACTIVE,
    CANCELLED,
    COMPLETED,
    COMPLETING,
    FAILED,
    PENDING,
    RUNNING,
    FakeBatch,
    Fault,
    Job,
)
from launchers.fakes.runner import start_runner

PROGRAMS = ("bsub", "bjobs", "bkill")
REFUSED_QUEUE = "nope"
OUTAGE = tuple(Fault(name, 255, stderr=b"LSF is down. Please wait ...\n", times=-1) for name in PROGRAMS)
WORDS = {PENDING: "PEND", RUNNING: "RUN", COMPLETING: "RUN", COMPLETED: "DONE", FAILED: "EXIT", CANCELLED: "EXIT"}


def install_lsf(folder: Path, **options: Any) -> FakeBatch:
    """Make a played LSF in ``folder``; its attribute ``programs`` is the folder to put into PATH."""
    return FakeBatch.install(folder, PROGRAMS, "played_lsf", path=Path(__file__).parent, **options)


def main(program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    batch = FakeBatch(Path(folder))
    stdin = sys.stdin.read() if program == "bsub" else ""
    batch.record((program, *arguments), stdin)
    if fault := batch.next_fault((program, *arguments)):
        os.write(2, fault.stderr)
        return fault.exit_code or 0
    if program == "bsub":
        return bsub(batch, list(arguments), stdin)
    return bjobs(batch, list(arguments)) if program == "bjobs" else bkill(batch, list(arguments))


def bsub(batch: FakeBatch, arguments: list[str], script: str) -> int:
    """Every option here has a value; the command line wins over the script."""
    lines = [line.removeprefix("#BSUB") for line in script.splitlines() if line.startswith("#BSUB")]
    words = [*(word for line in lines for word in shlex.split(line)), *arguments]
    options = dict(zip(words[::2], words[1::2], strict=True))
    if options.get("-q") == REFUSED_QUEUE:
        sys.stderr.write(f"{REFUSED_QUEUE}: No such queue. Job not submitted.\n")
        return 255
    match = re.fullmatch(r"(.+)\[(\d+)-(\d+)\]", options["-J"])
    assert match, options
    number = batch.new_id()
    path = batch.folder / f"job{number}.sh"
    path.write_text(script)
    path.chmod(0o700)
    indices = range(int(match[2]), int(match[3]) + 1)
    batch.add([job_of(number, index, match[1], str(path), options["-o"]) for index in indices])
    start_runner(batch, number)
    print(f"Job <{number}> is submitted to default queue <normal>.")
    return 0


def job_of(number: str, index: int, name: str, script: str, output: str) -> Job:
    """One element, which finds its numbers in the environment."""
    output = output.replace("%J", number).replace("%I", str(index))
    env = {"LSB_JOBID": number, "LSB_JOBINDEX": str(index)}
    return Job(f"{number}[{index}]", number, index, name, script=script, output=output, append=True, env=env)


def bjobs(batch: FakeBatch, arguments: list[str]) -> int:
    """``bjobs -noheader -a -o FIELDS ID...``: one line for each element."""
    jobs, code = batch.listing(), 0
    for number in arguments[4:]:
        found = [job for job in jobs if job.array == number]
        for job in found:
            code_shown = job.exit_code or "-"
            print(f"{job.array}|{job.index}|{WORDS[job.state]}|{code_shown}")
        if not found:
            sys.stderr.write(f"Job <{number}> is not found\n")
            code = 255
    return code


def bkill(batch: FakeBatch, arguments: list[str]) -> int:
    """Arrays and elements; what has ended is an error."""
    jobs, code = batch.listing(), 0
    for word in arguments:
        alive = [job for job in jobs if word in (job.id, job.array) and job.state in ACTIVE]
        for job in alive:
            batch.cancel(job.id)
        if alive:
            print(f"Job <{word}> is being terminated")
        else:
            sys.stderr.write(f"Job <{word}>: Job has already finished\n")
            code = 255
    return code
