"""The face of a DRMAA library as the Python package ``drmaa`` shows it, in front of a played Grid Engine.

Like Grid Engine's it is another way to the same jobs: what it is told it tells the played commands, so the orders that
make these fail reach it too.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from launchers.fakes.batch import FakeBatch

__all__ = ["NO_LIBRARY", "STATIC_TLS", "FakeDrmaa", "install_drmaa"]

# What the real package raises when it is imported.
NO_LIBRARY = (
    "RuntimeError('Could not find drmaa library.  Please specify its full path using the environment variable "
    "DRMAA_LIBRARY_PATH')"
)
STATIC_TLS = "OSError('/lib/x86_64-linux-gnu/libjemalloc.so.2: cannot allocate memory in static TLS block')"

_WORDS = {"r": "running", "dr": "running", "qw": "queued_active", "hqw": "user_on_hold", "Eqw": "failed"}
_NAMES = (
    "drmaa_job_name",
    "drmaa_join_files",
    "drmaa_native_specification",
    "drmaa_output_path",
    "drmaa_remote_command",
)


@dataclass(frozen=True)
class FakeDrmaa:
    """``path`` is the folder for PYTHONPATH."""

    path: Path

    def break_import(self, error: str) -> None:
        """From now on importing the package raises this, an expression."""
        (self.path / "drmaa.py").write_text(f"raise {error}\n")

    def crash_once(self) -> None:
        """The next submission is taken, and then the library crashes."""
        (self.path / "crash").touch()


def install_drmaa(folder: Path, batch: FakeBatch) -> FakeDrmaa:
    """Make a package ``drmaa`` in ``folder`` that submits to a played Grid Engine."""
    folder.mkdir(parents=True)
    root = Path(__file__).resolve().parents[2]
    (folder / "drmaa.py").write_text(
        f"import sys\nsys.path.append({str(root)!r})\nfrom launchers.fakes import drmaa as played\n"
        f"played.BATCH = {str(batch.folder)!r}\nplayed.CRASH = {str(folder / 'crash')!r}\nSession = played.Session\n"
    )
    return FakeDrmaa(folder)


BATCH = ""
"""The folder of the played system, set by the package that :func:`install_drmaa` makes."""

CRASH = ""
"""The file that orders a crash, likewise."""


class DrmCommunicationException(Exception):  # noqa: N818 - the names are the package's
    """The system does not answer."""


class DeniedByDrmException(Exception):  # noqa: N818
    """The system does not take the job."""


class InvalidJobException(Exception):  # noqa: N818
    """The system does not know the job."""


class JobTemplate:
    """Takes any attribute, as bytes or text."""

    attributeNames = _NAMES  # noqa: N815

    def __init__(self) -> None:
        self.args: list[Any] = []

    def text(self, name: str) -> str:
        """Return an attribute as text, "" if it was not set."""
        return os.fsdecode(getattr(self, name, ""))


class Session:
    """A session, which needs nothing here; Grid Engine's knows the jobs of all others too."""

    drmaaImplementation = "played"  # noqa: N815

    def initialize(self) -> None:
        """Nothing to open."""

    def exit(self) -> None:
        """Nothing to close."""

    def createJobTemplate(self) -> JobTemplate:  # noqa: N802
        """Return an empty template."""
        return JobTemplate()

    def deleteJobTemplate(self, template: JobTemplate) -> None:  # noqa: N802
        """Nothing to free."""

    def runBulkJobs(self, template: JobTemplate, first: int, last: int, step: int) -> list[str]:  # noqa: N802
        """Submit an array; with ``-b n`` directives in the script count."""
        assert step == 1
        native = template.text("nativeSpecification").split()
        if native[:2] == ["-b", "n"]:
            native, options = native[2:], []
            script = Path(template.text("remoteCommand")).read_text(errors="surrogateescape")
        else:
            words = [template.text("remoteCommand"), *map(os.fsdecode, template.args)]
            script = "#!/bin/sh\nexec " + " ".join("'" + word.replace("'", "'\\''") + "'" for word in words) + "\n"
            host, _, path = template.text("outputPath").partition(":")
            assert not host
            options = ["-N", template.text("jobName"), "-j", "y", "-o", path.replace("$drmaa_incr_ph$", "$TASK_ID")]
        number = _run("qsub", ["-terse", "-t", f"{first}-{last}", *options, *native], script).partition(".")[0]
        if os.path.exists(CRASH):
            os.unlink(CRASH)
            os.kill(os.getpid(), signal.SIGSEGV)
        return [f"{number}.{index}" for index in range(first, last + 1)]

    def jobStatus(self, job_id: str) -> str:  # noqa: N802
        """Return the word for a state; one that has left the queue is not known."""
        if not hasattr(self, "_seen"):  # A session lives for one question: its first look is good for all elements.
            self._seen = {}
            for entry in ET.fromstring(_run("qstat", ["-xml"])).iter("job_list"):  # noqa: S314 - from our own fake
                number, task = entry.findtext("JB_job_number"), entry.findtext("tasks")
                self._seen[f"{number}.{task}"] = entry.findtext("state", "")
        if job_id not in self._seen:
            raise InvalidJobException("code 18: The job specified by the 'jobid' does not exist.")
        return _WORDS.get(self._seen[job_id], "undetermined")

    def control(self, job_id: str, operation: str) -> None:
        """Cancel an array or an element."""
        assert operation == "terminate"
        _run("qdel", [job_id])


def _run(program: str, arguments: Sequence[str], stdin: str = "") -> str:
    """Return what a played command prints.  Raises what the library would."""
    argv = [str(FakeBatch(Path(BATCH)).programs / program), *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="surrogateescape", check=False)
    if done.returncode == 0:
        return done.stdout
    said = f"{done.stdout}{done.stderr}".strip()
    if "does not exist" in said and program == "qdel":
        raise InvalidJobException("code 18: There are no jobs registered")
    if "commlib error" in said:
        raise DrmCommunicationException(f"code 2: {said}")
    raise DeniedByDrmException("code 17: " + said.removeprefix("Unable to run job: ").removesuffix("\nExiting."))
