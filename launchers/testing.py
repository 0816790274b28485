"""The contract of launcher plugins, as questions that a test asks of a plugin and its batch system.

::

    import pytest
    from launchers.testing import QUESTIONS, Bed

    @pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
    def test_contract(question, tmp_path):
        with Bed(MyPlugin(), tmp_path, path=[folder_of_programs]) as bed:
            question(bed)

The programs may be played (``launchers/fakes``) or real.  A question that fails raises AssertionError.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from launchers.commands import run
from launchers.errors import CommandError, StatusError, UnexpectedOutputError
from launchers.jobs import ElementId, JobArray, JobSpec, JobState, JobStatus, Variable
from launchers.jobscript import blame_line, check_directives, render_jobscript
from launchers.protocol import Command, Finder, Historian, Output, Plugin
from launchers.registry import template_folder

__all__ = ["QUESTIONS", "Bed", "check_plugin"]

_Error = TypeVar("_Error", bound=Exception)
_POLL_S = 0.1
_SHELLS = frozenset({"bash", "dash", "ksh", "sh", "zsh"})
# What the jobs of the questions run: they say who they are and stay until they are ended.
_SAY = 'printf "%s|" "$1" "$2" "$QUOTED"; echo said'
_STAY = ("bash", "-c", f"{_SAY}; exec sleep 300", "job", (Variable.ARRAY_INDEX,), (Variable.JOB_ID,))
_HOSTILE = "a 'b' \"c\" $HOME `id` $(id) \\ * ; & | < > # % {{ d }} é\nsecond line\n"


class Bed:
    """A place to try a plugin: its commands run with ``path`` at the head of PATH and ``env`` in the environment.

    ``folder`` is a directory for logs, which the jobs can write to.  ``changes`` are fields of JobSpec for every job,
    like a queue that exists.  ``runs_jobs``: jobs really run (a played system may only pretend).  ``refused``: fields
    with which this system refuses a job for good, None if it never does.  ``timeout_s``: how long the system may take
    to start or end a job.  Subclasses fill in :meth:`outage`.  As a context manager it cancels what it submitted.
    """

    def __init__(
        self,
        plugin: Plugin,
        folder: Path,
        *,
        path: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        changes: Mapping[str, Any] | None = None,
        refused: Mapping[str, Any] | None = None,
        runs_jobs: bool = True,
        timeout_s: float = 20.0,
    ) -> None:
        self.plugin = plugin
        self.folder = folder
        self.env = {"PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]), **(env or {})}
        self.changes = dict(changes or {})
        self.refused = refused
        self.runs_jobs = runs_jobs
        self.timeout_s = timeout_s
        self.submitted: list[JobArray] = []
        self._token = secrets.token_hex(3)
        self._count = 0

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        ids = [array.id for array in self.submitted]
        if ids:
            self.run(self.plugin.cancel_command(ids))

    @contextlib.contextmanager
    def outage(self) -> Iterator[bool]:
        """While inside, the batch system cannot be reached.  Gives False if that cannot happen to this system."""
        yield False

    def spec(self, **changes: Any) -> JobSpec:
        """Return what a small array is asked to be; its jobs stay until they are cancelled."""
        self._count += 1
        values: dict[str, Any] = {
            "name": f"contract{self._count}",
            # Short for systems that cut names; others may remember jobs of earlier runs.
            "job_name": f"dl{self._token}-{self._count}",
            "command": _STAY,
            "log_dir": PurePosixPath(self.folder),
            "script_file": PurePosixPath(self.folder, f"script {self._count}.sh"),
            "env": {"QUOTED": "plain"},
            **self.changes,
            **changes,
        }
        return JobSpec(**values)

    def make_folder(self, name: str) -> Path:
        """Make a folder that the jobs can write to."""
        path = self.folder / name
        path.mkdir()
        return path

    def script(self, spec: JobSpec) -> str:
        """Return the jobscript of ``spec``."""
        folder = template_folder(self.plugin)
        return render_jobscript(self.plugin, spec, [folder] if folder else [])

    def keep_script(self, spec: JobSpec, script: str) -> None:
        """Write a jobscript where the system may look for it."""
        Path(spec.script_file or "").write_text(script, errors="surrogateescape")

    def run(self, command: Command) -> Output:
        """Run a command as the engine does.  Raises CommandError if it does not end in time."""
        check_command(command)
        return asyncio.run(run(dataclasses.replace(command, env={**self.env, **command.env})))

    def try_submit(self, spec: JobSpec) -> Output:
        """Submit ``spec`` and return what came of it."""
        script = self.script(spec)
        self.keep_script(spec, script)
        return self.run(self.plugin.submit_command(script, spec))

    def submit(self, **changes: Any) -> tuple[JobSpec, JobArray]:
        """Submit a small array."""
        spec = self.spec(**changes)
        output = self.try_submit(spec)
        assert output.exit_code == 0, f"the submission failed: {output}"
        array = self.plugin.parse_submit(output, spec)
        self.submitted.append(array)
        return spec, array

    def states(self, ids: Sequence[ElementId]) -> dict[ElementId, JobStatus]:
        """Ask once for all these elements."""
        return self.plugin.parse_status(self.run(self.plugin.status_command(ids)))

    def cancel(self, *ids: str) -> Output:
        """Cancel arrays and elements."""
        return self.run(self.plugin.cancel_command(ids))

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds.  Raises AssertionError after ``timeout_s`` seconds."""
        deadline_s = time.monotonic() + self.timeout_s
        while not holds():
            assert time.monotonic() < deadline_s, f"not within {self.timeout_s:g} s: {what}"
            time.sleep(_POLL_S)

    def until_ended(self, ids: Sequence[ElementId]) -> dict[ElementId, JobStatus]:
        """Wait until none of these is active; return what the system then says of them."""
        self.until(f"{', '.join(ids)} have ended", lambda: not self.active(ids))
        return self.states(ids)

    def active(self, ids: Sequence[ElementId]) -> list[ElementId]:
        """Return those of the elements that the system will run, runs, or is clearing away."""
        found = self.states(ids)
        return [element for element in ids if element in found and found[element].state.is_active]

    def log(self, spec: JobSpec, index: int, part: str) -> str:
        """Return the log of an element as soon as ``part`` is in it."""
        path = Path(spec.log_path(index))
        self.until(f"{part!r} is in {path}", lambda: path.exists() and part in path.read_text(errors="surrogateescape"))
        return path.read_text(errors="surrogateescape")


def check_plugin(make_bed: Callable[[], Bed]) -> None:
    """Ask all questions, each in a bed of its own.  Raises AssertionError."""
    for question in QUESTIONS:
        with make_bed() as bed:
            question(bed)


def check_command(command: Command) -> None:
    """Raise AssertionError if a command is not what the engine can run: words without a shell, and a time limit."""
    argv = command.argv
    assert type(argv) is tuple, f"argv is not a tuple: {argv!r}"
    assert argv, "argv is empty"
    assert all(type(word) is str and "\0" not in word for word in argv), f"not all words of {argv!r} are text"
    assert not (os.path.basename(argv[0]) in _SHELLS and "-c" in argv), f"{argv!r} asks a shell to take words apart"
    assert 0 < command.timeout_s < float("inf"), f"{argv!r} may take for ever"


# -- words -----------------------------------------------------------------------------


def says_what_it_is(bed: Bed) -> None:
    """Name, template, programs and hint are there; aliases lead to canonical options."""
    plugin = bed.plugin
    assert plugin.name == plugin.name.lower().strip()
    assert plugin.name
    assert plugin.template.endswith(".sh.j2")
    assert plugin.programs
    assert plugin.missing_hint
    assert "\n" not in plugin.directive_prefix
    targets = set(plugin.directive_aliases.values())
    assert not targets & set(plugin.directive_aliases), "an alias leads to another alias"
    assert all(plugin.reserved_directives.values()), "a reserved directive does not say what to do instead"
    assert not set(plugin.reserved_directives) & set(plugin.directive_aliases), "a reserved directive is an alias"


def renders_its_script(bed: Bed) -> None:
    """The script has a first line, ends in the command, and bears the job's name where the system has directives."""
    spec = bed.spec(command=("/opt/bin/worker", "--name", ("w.", Variable.ARRAY_INDEX)), last=4)
    script = bed.script(spec)
    assert script.startswith("#!")
    last = script.rstrip("\n").replace("\\\n", " ").splitlines()[-1]
    assert last.split()[:2] == ["exec", "/opt/bin/worker"], f"the script ends in {last!r}"
    assert '"w.${DLAUNCH_ARRAY_INDEX}"' in last
    if bed.plugin.directive_prefix:
        assert f"\n{bed.plugin.directive_prefix} " in script


def takes_or_refuses_every_wish(bed: Bed) -> None:
    """Walltime, queue and account: in the script, or refused with a sentence, but not left out in silence."""
    spec = dataclasses.replace(bed.spec(), walltime_s=None, queue=None, account=None)
    before = bed.script(spec)
    for wish in ("walltime_s", "queue", "account"):
        value: Any = 5400.0 if wish == "walltime_s" else "fast"
        wanted = dataclasses.replace(spec, **{wish: value})
        try:
            after = bed.script(wanted)
        except ValueError:
            _raised(ValueError, bed.script, wanted)
        else:
            assert after != before, f"{wish} is not in the script"


def refuses_broken_directives(bed: Bed) -> None:
    """A directive is one line; a system without directives takes none; the reserved ones are refused."""
    for line in ("--a\n--b", "no option", ""):
        _raised(ValueError, check_directives, bed.plugin, [line])
    for option in bed.plugin.reserved_directives:
        _raised(ValueError, check_directives, bed.plugin, [f"{option}=1"])


def _raised(kind: type[_Error], function: Callable[..., object], *args: object) -> _Error:
    """Return the error that a call must raise."""
    try:
        result = function(*args)
    except kind as error:
        found = error
    else:
        raise AssertionError(f"no {kind.__name__} for {args!r}, but {result!r}")
    assert str(found), f"{found!r} says nothing"
    return found


def builds_the_same_twice(bed: Bed) -> None:
    """Pure: the same question has the same answer, and there is one command for any number of jobs."""
    plugin, spec = bed.plugin, bed.spec(last=3)
    script = bed.script(spec)
    assert plugin.submit_command(script, spec) == plugin.submit_command(script, spec)
    assert plugin.context(spec) == plugin.context(spec)
    _, array = bed.submit(last=2)
    ids = [*array.elements.values()]
    for command in (plugin.status_command(ids), plugin.cancel_command(ids), plugin.cancel_command([array.id])):
        check_command(command)
    assert plugin.status_command(ids) == plugin.status_command(ids)


# -- life of a job ---------------------------------------------------------------------


def submits_one(bed: Bed) -> None:
    """An array of one element is an array."""
    spec, array = bed.submit()
    assert array.id
    assert list(array.elements) == [1]
    bed.until("the job is known", lambda: bool(bed.active(list(array.elements.values()))))
    if bed.runs_jobs:
        assert bed.log(spec, 1, "said").startswith("1|")


def submits_an_array(bed: Bed) -> None:
    """One submission, an element for each index, each told who it is, with a log of its own."""
    spec, array = bed.submit(first=3, last=6)
    assert list(array.elements) == [3, 4, 5, 6]
    ids = list(array.elements.values())
    assert len(set(ids)) == 4
    bed.until("all are known", lambda: len(bed.active(ids)) == 4)
    if bed.runs_jobs:
        told = [bed.log(spec, index, "said").split("|")[:2] for index in spec.indices]
        assert [index for index, _ in told] == ["3", "4", "5", "6"]
        assert len({job_id for _, job_id in told}) == 4, "DLAUNCH_JOB_ID is not each job's own"


def submits_a_part(bed: Bed) -> None:
    """A job that has ended is submitted again alone: with the script of all, one element."""
    whole = bed.spec(last=3)
    script, part = bed.script(whole), dataclasses.replace(whole, first=2, last=2)
    bed.keep_script(part, script)
    output = bed.run(bed.plugin.submit_command(script, part))
    assert output.exit_code == 0, f"the submission failed: {output}"
    array = bed.plugin.parse_submit(output, part)
    bed.submitted.append(array)
    assert list(array.elements) == [2]
    bed.until("the one is known", lambda: bed.active([array.elements[2]]) == [array.elements[2]])
    if bed.runs_jobs:
        assert bed.log(part, 2, "said").startswith("2|")
    with contextlib.suppress(UnexpectedOutputError):  # what was printed can only be of one element
        others = [found for index, found in bed.plugin.parse_submit(output, whole).elements.items() if index != 2]
        too_many = bed.states(others).keys() & set(others)
        assert not too_many, f"these were submitted too: {too_many}"


def carries_any_value(bed: Bed) -> None:
    """What users set in the environment, and a folder with blanks for the logs, arrive as they are."""
    folder = bed.make_folder("logs of %a 'mine'")
    spec, array = bed.submit(env={"QUOTED": _HOSTILE}, log_dir=PurePosixPath(folder))
    if bed.runs_jobs:
        assert f"|{_HOSTILE}|said" in bed.log(spec, 1, "said")
    bed.cancel(array.id)


def knows_several_arrays_at_once(bed: Bed) -> None:
    """Two submissions have different ids; one command tells the states of both."""
    arrays = [bed.submit(last=2)[1] for _ in range(2)]
    assert arrays[0].id != arrays[1].id
    ids = [element for array in arrays for element in array.elements.values()]
    assert len(set(ids)) == 4
    bed.until("all four are known", lambda: len(bed.active(ids)) == 4)


def cancels_one_element(bed: Bed) -> None:
    """The others stay."""
    _, array = bed.submit(last=3)
    ids = list(array.elements.values())
    bed.until("all are known", lambda: len(bed.active(ids)) == 3)
    output = bed.cancel(ids[1])
    assert output.exit_code == 0, output
    bed.until_ended([ids[1]])
    assert bed.active(ids) == [ids[0], ids[2]]


def cancels_all(bed: Bed) -> None:
    """Whole arrays, several in one command; nothing of them is active afterwards."""
    arrays = [bed.submit(last=3)[1] for _ in range(2)]
    ids = [element for array in arrays for element in array.elements.values()]
    bed.until("all are known", lambda: len(bed.active(ids)) == 6)
    output = bed.cancel(*(array.id for array in arrays))
    assert output.exit_code == 0, output
    bed.until_ended(ids)


def cancels_what_has_ended(bed: Bed) -> None:
    """Cancelling twice is no error, or one that is explained as harmless: else it would be tried for ever."""
    _, array = bed.submit()
    bed.cancel(array.id)
    bed.until_ended(list(array.elements.values()))
    output = bed.cancel(array.id)
    if output.exit_code != 0:
        failure = bed.plugin.explain_failure(output)
        assert failure.harmless
        assert not failure.transient


def tells_known_from_unknown(bed: Bed) -> None:
    """One that is gone hides no other; if all are gone, that is an answer and no error."""
    _, gone = bed.submit(last=2)
    _, there = bed.submit(last=2)
    bed.cancel(gone.id)
    gone_ids, there_ids = list(gone.elements.values()), list(there.elements.values())
    bed.until_ended(gone_ids)
    assert bed.active([*gone_ids, *there_ids]) == there_ids
    assert bed.active(gone_ids) == []


def sees_jobs_end(bed: Bed) -> None:
    """A job that ends by itself is not active any more; one that failed did not complete."""
    if not bed.runs_jobs:
        return
    _, good = bed.submit(command=("true",))
    _, bad = bed.submit(command=("bash", "-c", "exit 3"))
    ids = [good.elements[1], bad.elements[1]]
    last = bed.until_ended(ids)
    if ids[1] in last:
        assert last[ids[1]].state is JobState.FAILED
    if ids[0] in last:
        assert last[ids[0]].state is JobState.COMPLETED
    if isinstance(bed.plugin, Historian):
        status = _history(bed, bed.plugin, bad.elements[1])
        assert (status.state, status.exit_code) == (JobState.FAILED, 3)


def _history(bed: Bed, historian: Historian, element: ElementId) -> JobStatus:
    """What the first command of the plugin's history that is understood says; some systems know it a little later."""
    found: list[JobStatus] = []

    def is_known() -> bool:
        for command in historian.history_commands(element):
            if status := historian.parse_history(bed.run(command)):
                found.append(status)
                return True
        return False

    bed.until(f"it is known how {element} ended", is_known)
    return found[0]


def finds_jobs_by_name(bed: Bed) -> None:
    """A submission that failed may have made a job: its name leads to it, and to no other."""
    if not isinstance(bed.plugin, Finder):
        return
    finder = bed.plugin
    _, other = bed.submit()
    spec, array = bed.submit(last=3)
    bed.until("the job is found", lambda: array in finder.parse_find(bed.run(finder.find_command(spec.job_name))))
    found = finder.parse_find(bed.run(finder.find_command(spec.job_name)))
    assert [entry.id for entry in found] == [array.id]
    assert other.id != array.id
    assert finder.parse_find(bed.run(finder.find_command(f"{spec.job_name}-none"))) == []


# -- when it goes wrong ----------------------------------------------------------------


def explains_a_refusal(bed: Bed) -> None:
    """A job that can never be taken: for good, in the system's words, with the line at fault if there is one."""
    if bed.refused is None:
        return
    spec = bed.spec(**bed.refused)
    output = bed.try_submit(spec)
    assert output.exit_code != 0, f"it was not refused: {output}"
    failure = bed.plugin.explain_failure(output)
    assert not failure.transient, f"another try cannot help: {failure}"
    said = (output.stderr.strip() or output.stdout.strip()).splitlines()[0]
    assert said in failure.text, f"{said!r} is not in {failure.text!r}"
    if failure.option:
        assert blame_line(bed.plugin, failure, bed.script(spec)).startswith("line ")


def explains_an_outage(bed: Bed) -> None:
    """A system that cannot be reached has not lost the jobs: the command failed, and may work later."""
    spec, array = bed.submit()
    with bed.outage() as can_happen:
        if not can_happen:
            return
        output = bed.try_submit(spec)
        assert output.exit_code != 0
        assert bed.plugin.explain_failure(output).transient, bed.plugin.explain_failure(output)
        ids = list(array.elements.values())
        assert _raised(StatusError, bed.states, ids).transient
        cancelled = bed.cancel(array.id)
        assert cancelled.exit_code != 0
        assert bed.plugin.explain_failure(cancelled).transient
    bed.until("the job is known again", lambda: bed.active(ids) == ids)


def rejects_nonsense(bed: Bed) -> None:
    """A submission that printed no id is an error; so is a failed question about states; none is an answer."""
    plugin, spec = bed.plugin, bed.spec()
    argv = plugin.submit_command(bed.script(spec), spec).argv
    for text in ("", "\n", "welcome to the cluster\n", "\ufffd\ufffd two words\n"):
        assert _raised(UnexpectedOutputError, plugin.parse_submit, Output(argv, 0, text), spec).expected
    _, array = bed.submit()
    argv = plugin.status_command(list(array.elements.values())).argv
    for output in (Output(argv, 1), Output(argv, 124, "", "killed \ufffd\n")):
        error: CommandError = _raised(StatusError, plugin.parse_status, output)
        assert error.exit_code == output.exit_code


def explains_silence(bed: Bed) -> None:
    """A failure without a word is explained all the same, by its exit code."""
    assert "77" in bed.plugin.explain_failure(Output(("program",), 77)).text


QUESTIONS: tuple[Callable[[Bed], None], ...] = (
    says_what_it_is,
    renders_its_script,
    takes_or_refuses_every_wish,
    refuses_broken_directives,
    builds_the_same_twice,
    submits_one,
    submits_an_array,
    submits_a_part,
    carries_any_value,
    knows_several_arrays_at_once,
    cancels_one_element,
    cancels_all,
    cancels_what_has_ended,
    tells_known_from_unknown,
    sees_jobs_end,
    finds_jobs_by_name,
    explains_a_refusal,
    explains_an_outage,
    rejects_nonsense,
    explains_silence,
)
"""Everything that is asked; each function takes a :class:`Bed` and raises AssertionError."""
