"""One call to a DRMAA library, in a process of its own: ``drmaa_call.py check|submit|status|cancel``.

The library is C code that blocks, starts threads, wants to be loaded before Python is, and may crash; here none of that
meets an event loop.  The request is JSON on stdin, the answer JSON on stdout.  What went wrong is said on stderr, its
kind in the answer; the exit code tells whether the batch system had been asked for something (``REFUSED``) or not yet
(``UNUSABLE``, ``NO_SESSION``).

Only the standard library and the package ``drmaa`` are used: this file is run by its path.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

__all__ = ["NO_SESSION", "REFUSED", "UNUSABLE", "answer", "main"]

REFUSED = 1
UNUSABLE = 69
NO_SESSION = 75

LIBRARY = "DRMAA_LIBRARY_PATH"
# Where libraries of batch systems are, for a sentence that helps.
USUAL_PLACES = (
    "/usr/lib/gridengine-drmaa/lib/libdrmaa.so*",
    "$SGE_ROOT/lib/*/libdrmaa.so",
    "/usr/lib/slurm-drmaa/lib/libdrmaa.so",
    "/opt/*/lib/libdrmaa.so",
    "/usr/local/lib/libdrmaa.so",
    "/usr/lib/*/libdrmaa.so*",
    "$PBS_EXEC/lib/libdrmaa.so",
    "$LSF_LIBDIR/libdrmaa.so*",
)
_ENDED = ("done", "failed")
# The attribute of the package -> that of the library, of those which a library need not have.
_OPTIONAL = {
    "hardWallclockTimeLimit": "drmaa_wct_hlimit",
    "softWallclockTimeLimit": "drmaa_wct_slimit",
    "hardRunDurationLimit": "drmaa_duration_hlimit",
    "softRunDurationLimit": "drmaa_duration_slimit",
    "deadlineTime": "drmaa_deadline_time",
    "transferFiles": "drmaa_transfer_files",
}
_ATTRIBUTES = frozenset(_OPTIONAL) | {
    *("args", "blockEmail", "email", "errorPath", "inputPath", "jobCategory", "jobEnvironment", "jobName"),
    *("jobSubmissionState", "joinFiles", "nativeSpecification", "outputPath", "remoteCommand", "startTime"),
    "workingDirectory",
}


class _UnusableError(Exception):
    """The package or the library is not there, or cannot be loaded."""


class _RefusedError(Exception):
    """The library cannot do what was asked."""


def main() -> int:
    """Answer the request on stdin; return the exit code."""
    verb, request = sys.argv[1], json.load(sys.stdin)
    # Whoever asked ends us before that, unless it was killed meanwhile.
    signal.alarm(request["timeout_s"] + 5)
    # Libraries print what they like, where they like.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        return answer(verb, request, out, sys.stderr)


def answer(verb: str, request: Mapping[str, Any], out: IO[str], err: IO[str]) -> int:
    """Do what is asked and write the answer, or why there is none; return the exit code."""
    code = UNUSABLE
    try:
        drmaa = _load(request["variables"])
        if verb == "check":
            _say(out, {"library": os.environ.get(LIBRARY, "")})
            return 0
        code, session = NO_SESSION, drmaa.Session()
        session.initialize()
        code = REFUSED
        try:
            _say(out, _VERBS[verb](session, request))
        finally:
            with contextlib.suppress(Exception):  # Nothing is lost with a session: each call has its own.
                session.exit()
    except Exception as error:  # noqa: BLE001 - a stranger's library raises what it likes
        err.write(f"{_words(error)}\n")
        _say(out, {"error": type(error).__name__})
        return code
    return 0


def _say(out: IO[str], found: Mapping[str, Any]) -> None:
    out.write(json.dumps(found) + "\n")
    out.flush()


def _words(error: Exception) -> str:
    """The library's own, without what the package puts before them."""
    return re.sub(r"^code \d+: ", "", str(error)).strip() or type(error).__name__


# -- the library -----------------------------------------------------------------------


def _load(variables: Mapping[str, Sequence[str]]) -> Any:
    """Return the package, which loads the library when it is imported.  Raises _UnusableError."""
    # This program's folder holds a drmaa.py that is not the package.
    here = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    for variable, places in variables.items():
        if not os.environ.get(variable) and (found := _existing(places)):
            os.environ[variable] = found[0]
    try:
        import drmaa
    except ModuleNotFoundError as error:
        if error.name != "drmaa":
            raise
        raise _UnusableError(
            f"the Python package drmaa is not installed for {sys.executable}: pip install 'dlaunch[drmaa]'"
        ) from error
    except (RuntimeError, OSError, AttributeError) as error:
        raise _UnusableError(_why_unusable(error)) from error
    # It was for the loading alone; a job that takes our whole environment shall not have it.
    os.environ.pop("GLIBC_TUNABLES", None)
    return drmaa


def _existing(places: Sequence[str]) -> list[str]:
    return [path for place in places for path in sorted(glob.glob(os.path.expandvars(place)))]


def _why_unusable(error: Exception) -> str:
    path = os.environ.get(LIBRARY)
    if "static TLS" in str(error):
        culprit = str(error).partition(":")[0]
        what = f"the DRMAA library {path or ''} cannot be loaded ({error})"
        return f"{what}: set LD_PRELOAD={culprit} before dlaunch is started"
    others = [found for found in _existing(USUAL_PLACES) if found != path]
    hint = f"here is {', '.join(others)}" if others else f"usual places are {', '.join(USUAL_PLACES)}"
    if not path:
        return f"no DRMAA library was found: set {LIBRARY} to that of your batch system; {hint}"
    what = "is no DRMAA 1 library" if isinstance(error, AttributeError) else "cannot be loaded"
    return f"{LIBRARY}={path} {what} ({error}): set it to the library of your batch system; {hint}"


# -- what can be asked -----------------------------------------------------------------


def _submit(session: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    template = session.createJobTemplate()
    try:
        for name, value in request["attributes"].items():
            _set(session, template, name, value)
        return {"ids": list(session.runBulkJobs(template, request["first"], request["last"], 1))}
    finally:
        session.deleteJobTemplate(template)


def _set(session: Any, template: Any, name: str, value: Any) -> None:
    if name not in _ATTRIBUTES:
        raise _RefusedError(f"DRMAA has no attribute {name!r}; there are {', '.join(sorted(_ATTRIBUTES))}")
    if name in _OPTIONAL and _OPTIONAL[name] not in template.attributeNames:
        raise _RefusedError(
            f"this DRMAA library ({session.drmaaImplementation}) has no {name}: leave it out, and ask in your batch "
            "system's own words by --directive"
        )
    if name == "joinFiles":
        setattr(template, name, value in ("y", "true", "1"))
    elif isinstance(value, list):
        setattr(template, name, [os.fsencode(word) for word in value])
    else:
        # As bytes: a path need not be text, and the package takes a number of seconds for so many zero bytes.
        setattr(template, name, os.fsencode(value))


def _status(session: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    states = {element: _state(session, element) for element in request["ids"]}
    return {"states": {element: state for element, state in states.items() if state}}


def _state(session: Any, element: str) -> str:
    """The word for its state; "" if the batch system does not know it."""
    try:
        return str(session.jobStatus(element))
    except Exception as error:
        if type(error).__name__ == "InvalidJobException":
            return ""
        raise


def _cancel(session: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """One that cannot be cancelled spares no other; one that has ended is no failure."""
    failed: Exception | None = None
    cancelled = 0
    for element in request["ids"]:
        try:
            session.control(element, "terminate")
        except Exception as error:  # noqa: BLE001, PERF203 - see answer()
            if type(error).__name__ != "InvalidJobException" and not _has_ended(session, element):
                failed = failed or error
        else:
            cancelled += 1
    if failed is not None:
        raise failed
    return {"cancelled": cancelled}


def _has_ended(session: Any, element: str) -> bool:
    try:
        return _state(session, element) in ("", *_ENDED)
    except Exception:  # noqa: BLE001 - the first error says more
        return False


_VERBS: dict[str, Callable[[Any, Mapping[str, Any]], dict[str, Any]]] = {
    "submit": _submit,
    "status": _status,
    "cancel": _cancel,
}

if __name__ == "__main__":
    sys.exit(main())
