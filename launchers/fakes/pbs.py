"""The face of OpenPBS 23.06: ``qsub``, ``qstat``, ``qdel``.

Texts and exit codes are those of the recorded outputs.
"""

from __future__ import annotations

import getopt
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launchers.fakes.batch import ACTIVE, CANCELLED, COMPLETED, COMPLETING, PENDING, RUNNING, FakeBatch, Fault, Job
from launchers.fakes.qsub import Refusal, Request, array_jobs, deliver, exit_status, make_jobs, play, read_request

__all__ = ["OUTAGE", "REFUSED_QUEUE", "install_pbs", "main"]

REFUSED_QUEUE = "nope"
"""A queue that does not exist unless the option ``queues`` says so."""

_EMPTY = {"timestamp": 1795422174, "pbs_version": "23.06.06", "pbs_server": "pbsvm"}
_LOST = "Connection refused\n{}: cannot connect to server pbsvm (errno=15010)\n"
OUTAGE = (
    Fault("qsub", 162, stderr=_LOST.format("qsub").encode(), times=-1),
    Fault("qstat", 255, stderr=_LOST.format("qstat").encode(), times=-1),
    Fault("qdel", 162, stderr=b"Connection refused\nCouldn't connect to cluster: pbsvm\n", times=-1),
)
"""Orders that make all commands fail as they do when pbs_server is down."""

_LETTERS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
_USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
_RESOURCES = frozenset({"walltime", "select", "place", "nodes", "ncpus", "mem", "cput", "vmem"})
_ENDS = {"TIMEOUT": -29, "OUT_OF_MEMORY": -27, "NODE_FAIL": -1}


def install_pbs(folder: Path, **options: Any) -> FakeBatch:
    """Make a played PBS in ``folder``; its attribute ``programs`` is the folder to put into PATH.

    ``options`` as in :meth:`FakeBatch.install`, and ``queues`` (list of names), ``max_array``, ``history`` (whether
    ended jobs are remembered).
    """
    values = {"queues": ["workq", "fast"], "max_array": 10000, "history": True, **options}
    return FakeBatch.install(folder, ("qsub", "qstat", "qdel"), "launchers.fakes.pbs", **values)


def main(program: str, arguments: Sequence[str], folder: str) -> int:
    """Play one call of ``program``; return its exit code."""
    return play({"qsub": _qsub, "qstat": _qstat, "qdel": _qdel}, program, arguments, folder)


def _usage(text: str) -> Refusal:
    return Refusal(2, f"{text}\n{_USAGE}")


# -- qsub ------------------------------------------------------------------------------


def _qsub(batch: FakeBatch, arguments: list[str], script: str) -> str:
    if arguments == ["--version"]:
        return "pbs_version = 23.06.06\n"
    request = read_request(arguments, script, _LETTERS, _usage)
    indices = _indices(request.options.get("-J"))
    _check(request, indices, batch.options())
    number = batch.new_id()
    name = request.options.get("-N", "STDIN")
    if not indices:
        job = _job(request, f"{number}.pbsvm", f"{number}.pbsvm", None, f"{name}.o{number}")
        make_jobs(batch, request, number, [job])
        return f"{job.id}\n"
    array = f"{number}[].pbsvm"
    jobs = [_job(request, f"{number}[{index}].pbsvm", array, index, f"{name}.o{number}.{index}") for index in indices]
    make_jobs(batch, request, number, jobs)
    return f"{array}\n"


def _indices(text: str | None) -> list[int]:
    """The indices of ``3-9:2%4``; an array has more than one element."""
    if text is None:
        return []
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%\d+)?", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise _usage("qsub: illegal -J value")
    return list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))


def _check(request: Request, indices: Sequence[int], settings: dict[str, Any]) -> None:
    for name in request.resources:
        if name not in _RESOURCES:
            raise Refusal(187, f"qsub: Unknown resource Resource_List.{name}")
    if not re.fullmatch(r"\d+(:\d\d){0,3}", request.resources.get("walltime", "1")):
        raise Refusal(166, "qsub: Illegal attribute or resource value Resource_List.walltime")
    if request.options.get("-q", settings["queues"][0]) not in settings["queues"]:
        raise Refusal(170, "qsub: Unknown queue")
    if len(indices) > settings["max_array"]:
        raise Refusal(3, "qsub: Array job exceeds server or queue size limit")


def _job(request: Request, job_id: str, array: str, index: int | None, default: str) -> Job:
    name = request.options.get("-N", "STDIN")
    target = Path(request.options.get("-o", default)).absolute()
    if target.is_dir():
        target /= f"{job_id}.OU"
    env = {"PBS_JOBID": job_id, "PBS_JOBNAME": name, "NCPUS": "1"}
    if index is not None:
        env |= {"PBS_ARRAY_INDEX": str(index), "PBS_ARRAY_ID": array}
        target = Path(str(target).replace("^array_index^", str(index)))
    given = {"given": ",".join(f"{key}={value}" for key, value in request.variables().items())}
    return Job(id=job_id, array=array, index=index, name=name, output=str(target), env={**env, **given})


# -- qstat, qdel -----------------------------------------------------------------------


def _listing(batch: FakeBatch) -> list[Job]:
    jobs = batch.listing()
    deliver(batch, jobs, lambda _path: True)
    return jobs


def _qstat(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    found, ids = getopt.getopt(arguments, "xtfF:")
    options = dict(found)
    history, settings = "-x" in options, batch.options()
    if history and not settings["history"]:
        raise Refusal(103, "qstat: PBS is not configured to maintain job history")
    jobs = _listing(batch)
    live = {job.array for job in jobs if job.state in ACTIVE}
    told = [job for job in jobs if history or job.array in live]
    shown: dict[str, dict[str, object]] = {}
    complaints, code = [], 0
    for word in ids or dict.fromkeys(job.array for job in told):
        mine = [job for job in jobs if word in (job.id, job.array)]
        if not mine:
            complaints.append(f"qstat: Unknown Job Id {word}")
            code = 153
        elif mine[0] not in told and settings["history"]:
            complaints.append(f"qstat: {word} Job has finished, use -x or -H to obtain historical job information")
            code = 35
        elif mine[0] not in told:
            complaints.append(f"qstat: Unknown Job Id {word}")
            code = 153
        elif "json" not in options.get("-F", "") or not ids or not shown:
            # A JSON answer holds the first of several ids only.
            shown |= _fields(word, mine, word in live or mine[0].array in live)
    text = _as_json(shown) if options.get("-F") == "json" else _as_dsv(shown)
    if complaints:
        raise Refusal(code, "\n".join(complaints), text)
    return text


def _as_json(shown: dict[str, dict[str, object]]) -> str:
    return json.dumps({**_EMPTY, **({"Jobs": shown} if shown else {})}, indent="\t") + "\n"


def _as_dsv(shown: dict[str, dict[str, object]]) -> str:
    lines = [[f"Job Id: {job}", *(f"{key}={value}" for key, value in fields.items())] for job, fields in shown.items()]
    return "".join("|".join(line) + "\n" for line in lines)


def _fields(word: str, jobs: Sequence[Job], is_live: bool) -> dict[str, dict[str, object]]:
    """The array, if the word means one, and its elements."""
    shown: dict[str, dict[str, object]] = {}
    if "[]" in word:
        shown[word] = {"Job_Name": jobs[0].name, "job_state": "B" if is_live else "F", "array": "True"}
    return shown | {job.id: _entry(job, is_live) for job in jobs}


def _entry(job: Job, is_live: bool) -> dict[str, object]:
    held = job.reason.startswith("JobHeld")
    ended = "X" if is_live and job.index is not None else "F"
    letter = {PENDING: "H" if held else "Q", RUNNING: "R", COMPLETING: "R"}.get(job.state, ended)
    fields: dict[str, object] = {"Job_Name": job.name, "job_state": letter, "queue": "workq"}
    if job.node:
        fields["exec_host"] = f"{job.node}/0"
    fields["Hold_Types"] = "u" if held else "n"
    fields["Variable_List"] = f"PBS_O_HOME=/home/tuser,{job.env['given']}".rstrip(",")
    if job.state == PENDING and job.reason and not held:
        fields["comment"] = "Not Running: Not enough free nodes available"
    if letter == ended:
        code = exit_status(job, _ENDS)
        fields["substate"] = {CANCELLED: 91, COMPLETED: 92}.get(job.state, 93)
        if code is not None:
            fields["Exit_status"] = code
    return fields


def _qdel(batch: FakeBatch, arguments: list[str], _stdin: str) -> str:
    jobs, complaints, code = _listing(batch), [], 0
    for word in arguments:
        if not re.match(r"\d+(\[\d*\])?(\.|$)", word):
            raise Refusal(1, f"qdel: illegally formed job identifier: {word}")
        found = [job for job in jobs if word in (job.id, job.array)]
        live = [job for job in found if job.state in ACTIVE]
        if not found:
            complaints.append(f"qdel: Unknown Job Id {word}")
            code = 153
        elif not live and any(job.state in ACTIVE for job in array_jobs(jobs, found[0].array)):
            complaints.append(f"qdel: Request invalid for finished array subjob {word}")
            code = 55
        elif not live:
            complaints.append(f"qdel: Job has finished {word}")
            code = 35
        for job in live:
            batch.cancel(job.id)
    if complaints:
        raise Refusal(code, "\n".join(complaints))
    return ""
