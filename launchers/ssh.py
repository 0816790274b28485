"""Hosts without a batch system, by the system's own ``ssh``.

Our own small program (``launchers/keeper.py``) plays sbatch, squeue and scancel: it holds a connection for each
element, whose id is ``array.index@host``.  Lines ``#SSH -o Option=value`` of the jobscript are options of ssh.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.hosts import Host, places
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus
from launchers.options import HOST_OPTIONS, Option
from launchers.protocol import Command, Failure, Output, command_error

__all__ = ["SshPlugin", "ssh_argv"]

# Alone (-I) and from our own folder: a folder named launchers where the user works must not come first.
_ROOT = str(Path(__file__).resolve().parent.parent)
_KEEPER = (
    sys.executable,
    "-I",
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); from launchers.keeper import main; sys.exit(main())",
)
_SUBMITTED = re.compile(r"^(started|refused) (\d+) (.+)$", re.MULTILINE)
_STATUS = re.compile(r"^([0-9a-f]+\.\d+@\S+) ([a-z]+) (-?\d+) (.*)$", re.MULTILINE)
_STATES = {
    "starting": JobState.PENDING,
    "running": JobState.RUNNING,
    "cancelled": JobState.CANCELLED,
    # Not the job's fault: it is started again as often as it takes.
    "lost": JobState.NODE_FAIL,
    "refused": JobState.NODE_FAIL,
}
# What must be so, whatever the user's configuration says; of an option that is given twice ssh takes the first.
_ALWAYS = ("-T", "-o", "BatchMode=yes", "-o", "ForkAfterAuthentication=no", "-o", "RemoteCommand=none")
_DEFAULTS: tuple[str, ...] = ("-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3")
_DEFAULTS += ("-o", "LogLevel=ERROR", "-o", "ForwardX11=no", "-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes")
_HELD = "the connection carries the jobscript and must stay"


def ssh_argv(host: Host, options: Sequence[str] = ()) -> list[str]:
    """Return the words that start a shell on ``host`` which reads its program from stdin."""
    user = ("-l", host.user) if host.user else ()
    port = ("-p", str(host.port)) if host.port else ()
    # The words at the end mean the same to every login shell.
    return ["ssh", *_ALWAYS, *user, *port, *options, *_DEFAULTS, "--", host.name, "exec bash -s"]


class SshPlugin:
    """Workers on hosts that the user names."""

    name = "ssh"
    template = "ssh.sh.j2"
    programs = ("ssh",)
    missing_hint = "install the OpenSSH client (package openssh-client)"
    directive_prefix = "#SSH"
    directive_aliases: ClassVar[Mapping[str, str]] = {}
    reserved_directives: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("-f", "-n", "-N", "-s", "-t", "-tt", "-W", "-O", "-G", "-Q", "-V"), _HELD),
    }
    scheduler_host: str | None = None
    options: tuple[Option, ...] = HOST_OPTIONS

    def place(self, hosts: Sequence[Host], jobs: int | None) -> tuple[Host, ...]:
        """Hosts in turn, each as often as it has slots.  Raises ValueError if there are none."""
        if not hosts:
            raise ValueError("which hosts? Name them by --hosts 'n[01-04]' or --hostfile FILE")
        return places(hosts, jobs)

    def context(self, spec: JobSpec) -> dict[str, object]:
        """Refuses what only a batch system could give.  Raises ValueError."""
        asked = {"--queue": spec.queue, "--account": spec.account, "--walltime": spec.walltime_s}
        if given := [option for option, value in asked.items() if value is not None]:
            raise ValueError(f"{given[0]} means nothing without a batch system: leave it out for 'ssh'")
        return {"log": str(spec.log_path("INDEX")), "cluster_file": str(spec.cluster_file or "")}

    def submit_command(self, script: str, spec: JobSpec) -> Command:
        """An order to the keeper on its stdin: script, hosts, and where the cluster file is that it brings there."""
        options = [word for line in script.split("\n") if line.startswith("#SSH ") for word in shlex.split(line[5:])]
        hosts: Sequence[Host] = spec.own["hosts"]
        elements = []
        for index in spec.indices:
            host = hosts[(index - 1) % len(hosts)]
            argv = ssh_argv(host, options)
            elements.append({"index": index, "host": str(host), "argv": argv, "log": str(spec.log_path(index))})
        least = spec.own.get("min-hosts") or len({element["host"] for element in elements})
        # One that is started again later waits for its host: the others are at work.
        whole = (spec.first, spec.last) == (1, len(hosts))
        order = {
            "program": _KEEPER,
            "script": script,
            "cluster_file": str(spec.cluster_file or ""),
            "silence_s": spec.death_timeout_s,
            "need": least if whole else 0,
            "elements": elements,
        }
        return _command("submit", stdin=json.dumps(order), timeout_s=300.0)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """A line for each element: ``started 3 ab12cd34.3@n03`` or ``refused 4 n04: Connection refused``."""
        found = {int(index): (word, rest) for word, index, rest in _SUBMITTED.findall(output.stdout)}
        elements = {index: rest for index, (word, rest) in found.items() if word == "started"}
        if sorted(found) != list(spec.indices):
            raise UnexpectedOutputError(output.argv, output.stdout, f"{len(spec.indices)} results", output.stderr)
        array = next(iter(elements.values()), "").partition(".")[0]
        return JobArray(array, elements, {index: rest for index, (word, rest) in found.items() if word == "refused"})

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """A question to the keeper of each array."""
        return _command("status", *ids)

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Lines like ``ab12cd34.3@n03 running -1 ``."""
        if output.exit_code != 0:
            raise command_error(StatusError, output, self.explain_failure(output))
        return {
            element: _status(word, int(code), element.partition("@")[2], reason)
            for element, word, code, reason in _STATUS.findall(output.stdout)
        }

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """The keeper has them ended on their hosts and waits for that."""
        return _command("cancel", *ids)

    def explain_failure(self, output: Output) -> Failure:
        """In the words of ssh; a host that is not there now is not waited for."""
        return Failure(output.stderr.strip() or f"exit code {output.exit_code}, no message")


def _status(word: str, code: int, host: str, reason: str) -> JobStatus:
    if word != "ended":
        return JobStatus(_STATES.get(word, JobState.UNKNOWN), reason, host)
    if code > 128:  # as the shell there tells of a signal
        return JobStatus(JobState.FAILED, "", host, signal=code - 128)
    return JobStatus(JobState.FAILED if code else JobState.COMPLETED, "", host, code)


def _command(*words: str, stdin: str = "", timeout_s: float = 60.0) -> Command:
    return Command((*_KEEPER, *words), stdin=stdin, timeout_s=timeout_s, drop=("DLAUNCH_CLUSTER*",))
