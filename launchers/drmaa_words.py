"""How a DRMAA library is asked: our program ``drmaa_call.py`` as the command, and the words that it answers in.

A plugin gives commands, and this is one: so neither the engine nor the rest of a plugin knows the difference.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobSpec, JobState, JobStatus
from launchers.protocol import Command, Failure, Output, command_error

__all__ = [
    "MISSING_HINT",
    "NO_SESSION",
    "REFUSED",
    "UNUSABLE",
    "Library",
    "explain",
    "ids_of",
    "problem_of",
    "states_of",
]

_PROGRAM = Path(__file__).with_name("drmaa_call.py")
_TIMEOUT_S = 60
# An answer took up to 5 ms on a busy host with a Grid Engine of its own.
_ELEMENTS_PER_S = 50

# Exit codes of the program, which cannot be imported from here; a test compares them.
REFUSED = 1
UNUSABLE = 69
NO_SESSION = 75

MISSING_HINT = "the DRMAA library is asked by the Python that runs dlaunch"

_STATES = {
    "undetermined": JobStatus(JobState.UNKNOWN, "undetermined"),
    "queued_active": JobStatus(JobState.PENDING),
    "system_on_hold": JobStatus(JobState.PENDING, "system_on_hold", explanation="held by the batch system"),
    "user_on_hold": JobStatus(JobState.PENDING, "user_on_hold", explanation="held by its user"),
    "user_system_on_hold": JobStatus(JobState.PENDING, "user_system_on_hold", explanation="held"),
    "running": JobStatus(JobState.RUNNING),
    "system_suspended": JobStatus(JobState.RUNNING, "system_suspended", explanation="suspended"),
    "user_suspended": JobStatus(JobState.RUNNING, "user_suspended", explanation="suspended by its user"),
    "user_system_suspended": JobStatus(JobState.RUNNING, "user_system_suspended", explanation="suspended"),
    "done": JobStatus(JobState.COMPLETED),
    "failed": JobStatus(JobState.FAILED),
}
_PASSING = frozenset({"DrmCommunication", "TryLater", "NoActiveSession", "DrmsInit", "DrmsExit", "ExitTimeout"})
_HINTS = {
    "NoActiveSession": "the library lost its session; every call opens a new one",
    "Authorization": "the batch system does not let this user submit from this host",
    "NoDefaultContactStringSelected": "the library does not know which batch system to ask: set what it reads for that",
}


@dataclass(frozen=True)
class Library:
    """The DRMAA library of one system, or of any.

    ``variables``: variables that it needs -> places (patterns of paths) of which the first that exists is taken where
    the variable is not set.  ``drop``, ``keep``, ``env``: as in Command.
    """

    variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    keep: frozenset[str] = frozenset()
    env: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> Command:
        """Return the command that tells whether package and library can be loaded; no batch system is asked."""
        return self._command("check", {}, 20)

    def submit(self, attributes: Mapping[str, str | list[str]], spec: JobSpec) -> Command:
        """Return the command that submits one array by ``runBulkJobs``; ``attributes`` of the DRMAA job template."""
        return self._command("submit", {"attributes": dict(attributes), "first": spec.first, "last": spec.last})

    def status(self, ids: Iterable[ElementId]) -> Command:
        """Return the command that asks for the states of all these elements, one after the other."""
        return self._by_element("status", list(ids))

    def cancel(self, ids: Iterable[str]) -> Command:
        """Return the command that cancels all these; what has ended is no failure."""
        return self._by_element("cancel", list(ids))

    def _by_element(self, verb: str, ids: list[str]) -> Command:
        return self._command(verb, {"ids": ids}, _TIMEOUT_S + len(ids) // _ELEMENTS_PER_S)

    def _command(self, verb: str, request: Mapping[str, Any], timeout_s: int = _TIMEOUT_S) -> Command:
        # A library that brings its own allocator finds no room in a Python that already runs, unless told before.
        env = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536", **self.env}
        words = {"variables": {key: list(places) for key, places in self.variables.items()}, "timeout_s": timeout_s}
        # The package is old; it may use what a new Python warns of.
        argv = (sys.executable, "-W", "ignore", str(_PROGRAM), verb)
        return Command(argv, json.dumps({**words, **request}), float(timeout_s), self.drop, self.keep, env)


def ids_of(output: Output, spec: JobSpec) -> dict[int, ElementId]:
    """Return array index -> id, of a submission that ended well.  Raises UnexpectedOutputError."""
    ids = _answer(output).get("ids")
    if not isinstance(ids, list) or len(ids) != len(spec.indices):
        raise UnexpectedOutputError(output.argv, output.stdout, f"{len(spec.indices)} job ids", output.stderr)
    return dict(zip(spec.indices, map(str, ids), strict=True))


def states_of(output: Output, failure: Failure) -> dict[ElementId, JobStatus]:
    """Return the states found.  Raises StatusError, with ``failure`` if the command failed."""
    if output.exit_code != 0:
        raise command_error(StatusError, output, failure)
    states = _answer(output).get("states")
    if not isinstance(states, dict):
        text = f"the DRMAA library was asked for states and answered {output.stdout[:200]!r}"
        raise command_error(StatusError, output, Failure(text, transient=True))
    return {key: _STATES.get(word, JobStatus(JobState.UNKNOWN, word)) for key, word in states.items()}


def problem_of(output: Output) -> str:
    """Return why the library cannot be used, by the output of ``check``; "" if it can, or that is not known."""
    return output.stderr.strip() if output.exit_code == UNUSABLE else ""


def explain(output: Output, known: Failure | None = None) -> Failure:
    """Say what a call that failed means; ``known``: what the system's own plugin makes of the words."""
    words, name = output.stderr.strip(), str(_answer(output).get("error", "")).removesuffix("Exception")
    known = known or Failure(words or f"exit code {output.exit_code}, no message")
    if output.exit_code < 0:
        text = f"the DRMAA library crashed by signal {-output.exit_code}"
        return Failure(f"{text}: {words}" if words else text, transient=True, uncertain=_was_submitting(output))
    transient = (known.transient or name in _PASSING) and output.exit_code != UNUSABLE
    uncertain = transient and output.exit_code == REFUSED and _was_submitting(output)
    text = f"{known.text}\n{_HINTS[name]}" if name in _HINTS else known.text
    return dataclasses.replace(known, text=text, transient=transient, uncertain=uncertain)


def _was_submitting(output: Output) -> bool:
    return output.argv[-1] == "submit"


def _answer(output: Output) -> dict[str, Any]:
    """The answer; empty if there is none that can be read."""
    try:
        found = json.loads(output.stdout)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
