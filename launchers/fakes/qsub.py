"""What the faces of Torque and PBS share: reading ``qsub``, making jobs, handing over their output at the end."""

from __future__ import annotations

import getopt
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launchers.fakes.batch import ACTIVE, CANCELLED, FAILED, FakeBatch, Job
from launchers.fakes.runner import start_runner

__all__ = ["Refusal", "Request", "array_jobs", "deliver", "exit_status", "make_jobs", "play", "read_request"]

_PERSONAL = ("HOME", "PATH", "LANG", "LOGNAME", "USER", "SHELL")
_SIGNALLED = 256


class Refusal(Exception):  # noqa: N818 - it is what the command answers
    """A command ends with this exit code after saying why on stderr; ``stdout`` may hold data all the same."""

    def __init__(self, exit_code: int, text: str, stdout: str = "") -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.stdout = stdout


@dataclass
class Request:
    """What ``qsub`` was asked: ``options`` by letter, ``resources`` of all ``-l``, the ``script``."""

    script: str
    options: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        """What ``-v`` gives to the jobs."""
        pairs = (part.partition("=") for part in self.options.get("-v", "").split(",") if part)
        return {key: value for key, _, value in pairs}


Program = Callable[[FakeBatch, list[str], str], str]


def play(programs: Mapping[str, Program], program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    batch = FakeBatch(Path(folder))
    reads = program == "qsub" and "--version" not in arguments
    stdin = sys.stdin.read() if reads else ""
    batch.record((program, *arguments), stdin)
    fault = batch.next_fault((program, *arguments))
    stdout, stderr, code = "", "", 0
    if fault is None or fault.exit_code is None or fault.works:
        try:
            stdout = programs[program](batch, list(arguments), stdin)
        except Refusal as refusal:
            code, stdout, stderr = refusal.exit_code, refusal.stdout, f"{refusal}\n"
    if fault is not None and fault.exit_code is not None:
        os.write(1, fault.stdout)
        os.write(2, fault.stderr)
        return fault.exit_code
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    return code


def read_request(arguments: Sequence[str], script: str, letters: str, usage: Callable[[str], Refusal]) -> Request:
    """Return what the script's directives and the command line ask for; the command line wins."""
    request = Request(script)
    for words in (_directives(script), list(arguments)):
        try:
            found, rest = getopt.getopt(words, letters)
        except getopt.GetoptError as error:
            raise usage(f"qsub: invalid option -- '{error.opt}'") from error
        for option, value in found:
            if option == "-l":
                request.resources.update(_resources(value))
            else:
                request.options[option] = value
        if rest:
            raise Refusal(1, f"qsub: script file '{rest[0]}' cannot be loaded - No such file or directory")
    if re.search(r"\s", request.options.get("-N", "x")):
        raise usage("qsub: illegal -N value")
    return request


def _directives(script: str) -> list[str]:
    """The words of the #PBS lines before the first command."""
    words: list[str] = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#PBS"):
            words += shlex.split(line.removeprefix("#PBS"))
    return words


def _resources(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in text.split(","))}


def make_jobs(batch: FakeBatch, request: Request, number: str, jobs: Sequence[Job]) -> None:
    """Submit the jobs: their environment is their own, they start at home, and their output waits in the spool."""
    spool = batch.folder / "spool"
    spool.mkdir(exist_ok=True)
    script = batch.folder / f"job{number}.sh"
    script.write_text(request.script)
    script.chmod(0o700)
    for job in jobs:
        mine = {key: os.environ[key] for key in _PERSONAL if key in os.environ}
        mine |= {"ENVIRONMENT": "BATCH", "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_O_WORKDIR": str(Path.cwd())}
        words = [f"{key}={value}" for key, value in {**mine, **request.variables(), **job.env}.items()]
        start = batch.folder / f"start-{job.id}.sh"
        start.write_text(
            f'#!/bin/sh\ncd "$HOME"\numask 077\nexec env -i {shlex.join(words)} {shlex.quote(str(script))}\n'
        )
        start.chmod(0o700)
        job.script = str(start)
        job.env = {**job.env, "delivered_to": job.output}
        job.output = str(spool / f"{job.id}.OU")
        job.reason = "JobHeldUser" if "-h" in request.options else ""
    batch.add(jobs)
    if batch.options()["runs"]:
        start_runner(batch, jobs[0].array)


def deliver(batch: FakeBatch, jobs: Sequence[Job], can_reach: Callable[[str], bool]) -> None:
    """Hand over the output of ended jobs; what cannot be delivered is lost in ``undelivered``."""
    for job in jobs:
        spooled = Path(job.output)
        if job.state in ACTIVE or not spooled.is_file():
            continue
        target = Path(job.env["delivered_to"])
        if str(target) == os.devnull:
            spooled.unlink()
        elif can_reach(str(target)) and target.parent.is_dir() and not target.is_relative_to("/dev"):
            shutil.move(spooled, target)
        else:
            lost = batch.folder / "undelivered"
            lost.mkdir(exist_ok=True)
            shutil.move(spooled, lost / spooled.name)


def exit_status(job: Job, ends: Mapping[str, int]) -> int | None:
    """Return the exit status of an ended job; ``ends``: state -> what the batch system says when it ended the job."""
    if job.state in ends:
        return ends[job.state]
    if job.state == CANCELLED:
        return _SIGNALLED + 15 if job.node else None
    return 128 + job.signal if job.state == FAILED and job.signal else job.exit_code or 0


def array_jobs(jobs: Sequence[Job], array: str) -> list[Job]:
    """Return the jobs of an array, or of what is none."""
    return [job for job in jobs if job.array == array]
