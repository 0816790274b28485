"""The face of Torque 6.1: ``qsub``, ``qstat``, ``qdel``.

Texts and exit codes are those of the recorded outputs.
"""

from __future__ import annotations

import getopt
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from launchers.fakes.batch import ACTIVE, COMPLETING, PENDING, RUNNING, FakeBatch, Fault, Job
from launchers.fakes.qsub import Refusal, Request, deliver, exit_status, make_jobs, play, read_request

__all__ = ["OUTAGE", "REFUSED_QUEUE", "install_torque", "main"]

REFUSED_QUEUE = "nope"
"""A queue that does not exist unless the option ``queues`` says so."""

_UNREACHED = "\nUnable to communicate with vm(127.0.0.1)\nCannot connect to specified server host 'vm'.\n"
_REFUSED = "cannot connect to server vm (errno=111) Connection refused\n"


def _down(program: str, tries: int = 1, rest: str = "") -> Fault:
    text = f"{_UNREACHED * tries}{program}: {_REFUSED}{rest}"
    return Fault(program, 111, stderr=text.encode(), times=-1)


OUTAGE = (_down("qsub"), _down("qstat", 3, "qstat: Error (111 - Connection refused) \n"), _down("qdel"))
"""Orders that make all commands fail as they do when pbs_server is down."""

_LETTERS = "a:A:b:c:C:d:D:e:fhIj:J:k:K:l:m:M:N:o:p:P:q:r:S:t:T:u:w:W:v:VxXz"
_USAGE = """
usage: qsub [-a date_time] [-A account_string] [-b secs]
    [-c [ none | { enabled | periodic | shutdown |
    depth=<int> | dir=<path> | interval=<minutes>}... ]
    [-C directive_prefix] [-d path] [-D path]
    [-e path] [-h] [-I] [-j oe|eo|n] [-k {oe}] [-K <kill delay seconds>]\x20
    [-l resource_list] [-m n|{abe}] [-M user_list] [-N jobname] [-o path]\x20
    [-p priority] [-P proxy_user [-J <jobid]] [-q queue] [-r y|n]\x20
    [-S path] [-t number_to_submit] [-T type]  [-u user_list] [-w] path
    [-W additional_attributes] [-v variable_list] [-V ] [-x] [-X] [-z] [script]
"""
_RESOURCES = frozenset({"walltime", "nodes", "mem", "pmem", "vmem", "procs", "ncpus", "select", "cput", "neednodes"})
_INFEASIBLE = (
    "Job exceeds queue resource limits MSG=cannot locate feasible nodes (nodes file is empty, all systems are busy, or "
    "no nodes have the requested feature)"
)
_ENDS = {"TIMEOUT": -11, "OUT_OF_MEMORY": -10, "NODE_FAIL": -3}
_XML = '<?xml version="1.0"?>\n'


def install_torque(folder: Path, **options: Any) -> FakeBatch:
    """Make a played Torque in ``folder``; its attribute ``programs`` is the folder to put into PATH.

    ``options`` as in :meth:`FakeBatch.install`, and ``queues`` (list of names), ``cpus`` (of its one node),
    ``keep_completed_s`` (how long ended jobs are told).
    """
    values = {"queues": ["batch", "fast"], "cpus": 64, "keep_completed_s": 300.0, "kill_wait_s": 0.1, **options}
    return FakeBatch.install(folder, ("qsub", "qstat", "qdel"), "launchers.fakes.torque", **values)


def main(program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    return play({"qsub": _qsub, "qstat": _qstat, "qdel": _qdel}, program, arguments, folder)


def _usage(text: str) -> Refusal:
    shown = f"{text}\n[exiting]" if "invalid option" in text else f"[{text}]"
    return Refusal(2, f"{shown}\n{_USAGE}")


# -- qsub ------------------------------------------------------------------------------


def _qsub(batch: FakeBatch, arguments: list[str], script: str) -> str:
    if arguments == ["--version"]:
        return "Version: 6.1-dev\nCommit: \n"
    if any(word.startswith("--") for word in arguments):
        raise _usage("a single - is not a valid option")
    request = read_request(arguments, script, _LETTERS, _usage)
    if "-J" in request.options:
        raise _usage("The -J option can only be used in conjunction with -P")
    number = batch.new_id()  # also of submissions that fail
    _check(request, batch.options())
    name = request.options.get("-N", "STDIN")
    text = request.options.get("-t")
    if text is None:
        job = _job(request, f"{number}.vm", f"{number}.vm", None, name, f"{name}.o{number}")
        make_jobs(batch, request, number, [job])
        return f"{number}.vm\n"
    array = f"{number}[].vm"
    jobs = [
        _job(request, f"{number}[{index}].vm", array, index, f"{name}-{index}", f"{name}.o{number}-{index}")
        for index in _indices(text)
    ]
    make_jobs(batch, request, number, jobs)
    return f"{array}\n"


def _check(request: Request, settings: dict[str, Any]) -> None:
    def refuse(code: int, text: str) -> Refusal:
        return Refusal(code, f"qsub: submit error ({text})")

    for name in request.resources:
        if name not in _RESOURCES:
            raise refuse(189, f"Unknown resource type  Resource_List.{name}")
    if not re.fullmatch(r"\d+(:\d\d){0,3}", request.resources.get("walltime", "1")):
        raise refuse(168, "Illegal attribute or resource value for Resource_List.walltime")
    queue = request.options.get("-q", settings["queues"][0])
    if queue not in settings["queues"]:
        raise refuse(172, "Unknown queue MSG=requested queue not found")
    if (asked := re.search(r"ppn=(\d+)", request.resources.get("nodes", ""))) and int(asked[1]) > settings["cpus"]:
        raise refuse(190, _INFEASIBLE)
    if "-t" in request.options and not _indices(request.options["-t"]):
        raise refuse(235, "Bad Job Array Request")


def _indices(text: str) -> list[int]:
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _job(request: Request, job_id: str, array: str, index: int | None, name: str, default: str) -> Job:
    output = request.options.get("-o", "")
    target = Path(output).absolute() if output else Path(default).absolute()
    if output and target.is_dir():
        target /= default
    elif output and index is not None:
        # The index is added to every path, also to that of the null device.
        target = target.with_name(f"{target.name}-{index}")
    env = {"PBS_JOBID": job_id, "PBS_JOBNAME": name, "PBS_VERSION": "TORQUE-6.1-dev"}
    if index is not None:
        env["PBS_ARRAYID"] = str(index)
    return Job(id=job_id, array=array, index=index, name=name, output=str(target), env=env)


# -- qstat, qdel -----------------------------------------------------------------------


def _listing(batch: FakeBatch) -> list[Job]:
    """The jobs that Torque tells of; output is handed over, and old jobs are forgotten."""
    kept_s = batch.options()["keep_completed_s"]
    jobs = batch.listing()
    deliver(batch, jobs, lambda path: " " not in path)
    old = [job.id for job in jobs if job.state not in ACTIVE and job.ended_s + kept_s <= time.time()]
    batch.forget(*old)
    return [job for job in jobs if job.id not in old]


def _qstat(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    options, ids = getopt.getopt(arguments, "tfxu:")
    if ("-x", "") not in options:
        raise Refusal(2, "only XML is played")
    jobs = _listing(batch)
    if not ids:
        return _document(jobs)
    documents, unknown = [], []
    for word in ids:
        found = [job for job in jobs if word in (job.id, job.array)]
        if not re.match(r"\d+(\[\d*\])?(\.|$)", word):
            raise Refusal(172, f"qstat: Unknown queue destination {word}")
        if not found:
            unknown.append(f"qstat: Unknown Job Id Error {word}")
        elif "[]" in word and ("-t", "") not in options:
            # The trap: without -t every job of the server is listed, and arrays are not taken apart.
            documents.append(_document(_arrays(jobs)))
        else:
            documents.append(_document(found))
    if unknown:
        raise Refusal(153, "\n".join(unknown), "".join(documents))
    return "".join(documents)


def _arrays(jobs: Sequence[Job]) -> list[Job]:
    """One entry for each array, and for each job that is none."""
    return list({job.array: replace(job, id=job.array, index=None) for job in jobs}.values())


def _document(jobs: Sequence[Job]) -> str:
    return f"{_XML}<Data>{''.join(map(_entry, jobs))}</Data>\n"


def _entry(job: Job) -> str:
    held = job.reason.startswith("JobHeld")
    letter = {PENDING: "H" if held else "Q", RUNNING: "R", COMPLETING: "R"}.get(job.state, "C")
    fields: dict[str, object] = {"Job_Id": job.id, "Job_Name": job.name, "job_state": letter, "queue": "batch"}
    if job.node:
        fields["exec_host"] = f"{job.node}/0"
    if held:
        fields["Hold_Types"] = "u"
    elif job.state == PENDING and job.reason:
        fields["comment"] = "Not Running: Not enough of the right type of nodes are available"
    if letter == "C" and (code := exit_status(job, _ENDS)) is not None:
        fields["exit_status"] = code
    if job.index is not None:
        fields["job_array_id"] = job.index
    return f"<Job>{''.join(f'<{key}>{escape(str(value))}</{key}>' for key, value in fields.items())}</Job>"


def _qdel(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    jobs, complaints, code = _listing(batch), [], 0
    for word in arguments:
        if not re.match(r"\d+(\[\d*\])?(\.|$)", word):
            raise Refusal(1, f"qdel: illegally formed job identifier: {word}")
        found = [job for job in jobs if word in (job.id, job.array)]
        if not found:
            complaints.append(f"qdel: nonexistent job id: {word}")
            code = 153
        elif found[0].id == word and found[0].state not in ACTIVE:
            why = f"MSG=invalid state for job - COMPLETE {word}"
            complaints.append(f"qdel: Request invalid for state of job {why}")
            code = 170
        for job in found:
            batch.cancel(job.id)
    if complaints:
        raise Refusal(code, "\n".join(complaints))
    return ""
