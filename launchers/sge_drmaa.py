"""Grid Engine by its DRMAA library: ``dlaunch sge --via drmaa``.

Script, options and ids are those of ``launchers/sge.py``, so its commands can take over at any time: they tell how a
job ended and find jobs by name, and ``dlaunch stop`` cancels by them what a launcher that died has left.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from launchers.drmaa_words import MISSING_HINT, Library, explain, ids_of, problem_of, states_of
from launchers.errors import UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobStatus
from launchers.protocol import Command, Failure, Output
from launchers.sge import DROPPED, SgePlugin

__all__ = ["SgeDrmaaPlugin"]

_LIBRARY = Library(
    variables={
        # In this order: the second needs the first.
        "SGE_ROOT": ("/var/lib/gridengine",),
        "DRMAA_LIBRARY_PATH": ("$SGE_ROOT/lib/*/libdrmaa.so", "/usr/lib/gridengine-drmaa/lib/libdrmaa.so*"),
    },
    drop=DROPPED,
    env={"LC_ALL": "C"},
)


class SgeDrmaaPlugin(SgePlugin):
    """Grid Engine 8, asked through libdrmaa."""

    programs = (sys.executable,)
    missing_hint = MISSING_HINT

    def inspect_command(self) -> Command:
        """Load the library; no server is asked."""
        return _LIBRARY.check()

    def parse_inspection(self, output: Output) -> str:
        """What to install or to set."""
        return problem_of(output)

    def submit_command(self, script: str, spec: JobSpec) -> Command:  # noqa: ARG002
        """One ``runBulkJobs`` of the script; its range wins over that in the script."""
        # -b n: read the directives in the script, as qsub does.  The library's own default is -w e, that of qsub -w n.
        says_so = any(line.split()[0] == "-w" for line in spec.directives)
        native = "-b n" if says_so else "-b n -w n"
        return _LIBRARY.submit({"remoteCommand": str(spec.script_file), "nativeSpecification": native}, spec)

    def parse_submit(self, output: Output, spec: JobSpec) -> JobArray:
        """Elements ``5.1``, ``5.2`` ... of the array ``5``."""
        elements = ids_of(output, spec)
        jobs = {element.partition(".")[0] for element in elements.values()}
        if len(jobs) != 1:
            raise UnexpectedOutputError(output.argv, output.stdout, "elements of one job array", output.stderr)
        return JobArray(jobs.pop(), elements)

    def status_command(self, ids: Sequence[ElementId]) -> Command:
        """One session, in which each element is asked for."""
        return _LIBRARY.status(ids)

    def parse_status(self, output: Output) -> dict[ElementId, JobStatus]:
        """Those in the queue; how others ended the accounting tells, and the library would not."""
        found = states_of(output, self.explain_failure(output))
        return {element: status for element, status in found.items() if status.state.is_active}

    def cancel_command(self, ids: Sequence[str]) -> Command:
        """The library takes whole arrays by their number."""
        return _LIBRARY.cancel(ids)

    def explain_failure(self, output: Output) -> Failure:
        """The library has the words of the commands."""
        if output.argv[0] != sys.executable:
            return super().explain_failure(output)
        return explain(output, super().explain_failure(dataclasses.replace(output, stdout="")))
