# ruff: noqa: N802, N815, N818 - the names are those of the package drmaa
from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import types

import pytest

from launchers import drmaa_call
from launchers.drmaa_call import NO_SESSION, REFUSED, UNUSABLE, answer


class DeniedByDrmException(Exception):
    pass


class InvalidJobException(Exception):
    pass


class Template:
    attributeNames = ("drmaa_job_name",)


class Session:
    """One that remembers what was asked of it; tests replace its methods."""

    drmaaImplementation = "toy 1.0"

    def __init__(self):
        self.template = Template()
        self.open = 0
        self.deleted = False
        self.ended: list[str] = []
        self.states = {"1.1": "running", "1.2": "failed"}

    def initialize(self):
        self.open += 1

    def exit(self):
        self.open -= 1

    def createJobTemplate(self):
        return self.template

    def deleteJobTemplate(self, template):
        self.deleted = True

    def runBulkJobs(self, template, first, last, step):
        return [f"1.{index}" for index in range(first, last + 1, step)]

    def jobStatus(self, job_id):
        if job_id not in self.states:
            raise InvalidJobException("code 18: no such job")
        return self.states[job_id]

    def control(self, job_id, operation):
        if job_id not in self.states:
            raise InvalidJobException("code 18: no such job")
        self.ended.append(f"{operation} {job_id}")


@pytest.fixture
def session(monkeypatch):
    made = Session()
    monkeypatch.setitem(sys.modules, "drmaa", types.SimpleNamespace(Session=lambda: made))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return made


def ask(verb: str, **request) -> tuple[int, dict, str]:
    out, err = io.StringIO(), io.StringIO()
    code = answer(verb, {"variables": {}, **request}, out, err)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1, "one answer, whatever happens"
    return code, json.loads(lines[0]), err.getvalue()


def test_a_submission_sets_the_attributes_and_returns_the_ids(session):
    attributes = {"remoteCommand": "/bin/bash", "args": ["/a b/\udce9.sh"], "joinFiles": "y", "jobName": "x"}
    assert ask("submit", attributes=attributes, first=3, last=4) == (0, {"ids": ["1.3", "1.4"]}, "")
    assert vars(session.template) == {
        "remoteCommand": b"/bin/bash",
        "args": [b"/a b/\xe9.sh"],
        "joinFiles": True,
        "jobName": b"x",
    }
    assert session.deleted
    assert session.open == 0


def test_what_the_library_does_not_have_is_refused_in_a_sentence(session):
    code, _, said = ask("submit", attributes={"hardWallclockTimeLimit": "1:00:00"}, first=1, last=1)
    assert code == REFUSED
    assert said.startswith("this DRMAA library (toy 1.0) has no hardWallclockTimeLimit: leave it out, and ask in")
    assert session.deleted


def test_an_attribute_that_the_library_has_is_set_as_it_is_written(session):
    session.template.attributeNames = ("drmaa_wct_hlimit",)
    assert ask("submit", attributes={"hardWallclockTimeLimit": "1:00:00"}, first=1, last=1)[0] == 0
    assert session.template.hardWallclockTimeLimit == b"1:00:00"


def test_an_attribute_that_nobody_has_is_refused(session):
    code, _, said = ask("submit", attributes={"jobname": "x"}, first=1, last=1)
    assert code == REFUSED
    assert "no attribute 'jobname'; there are args, " in said


def test_states_of_those_that_are_known(session):
    assert ask("status", ids=["1.1", "1.2", "9.9"]) == (0, {"states": {"1.1": "running", "1.2": "failed"}}, "")


def test_cancelling_goes_on_where_one_is_gone(session):
    assert ask("cancel", ids=["9.9", "1.1"]) == (0, {"cancelled": 1}, "")
    assert session.ended == ["terminate 1.1"]


def test_cancelling_what_has_ended_is_no_failure_whatever_the_library_says(session):
    def control(job_id, operation):
        raise DeniedByDrmException("code 17: already done")

    session.control = control
    assert ask("cancel", ids=["1.2"]) == (0, {"cancelled": 0}, "")
    assert ask("cancel", ids=["1.2", "1.1"]) == (REFUSED, {"error": "DeniedByDrmException"}, "already done\n")


def test_a_session_that_cannot_be_opened_has_asked_for_nothing(session):
    def initialize():
        raise DeniedByDrmException("code 2: unable to contact qmaster\n")

    session.initialize = initialize
    found = ask("status", ids=["1.1"])
    assert found == (NO_SESSION, {"error": "DeniedByDrmException"}, "unable to contact qmaster\n")


def test_a_session_is_closed_after_a_refusal_and_a_failure_to_close_hides_nothing(session):
    def run(*args):
        raise DeniedByDrmException("code 17: no")

    def leave():
        session.open -= 1
        raise RuntimeError("code 12: no session")

    session.runBulkJobs, session.exit = run, leave
    assert ask("submit", attributes={}, first=1, last=1) == (REFUSED, {"error": "DeniedByDrmException"}, "no\n")
    assert session.open == 0


def test_an_error_without_words_is_called_by_its_name(session):
    def run(*args):
        raise DeniedByDrmException

    session.runBulkJobs = run
    assert ask("submit", attributes={}, first=1, last=1)[2] == "DeniedByDrmException\n"


# -- the library -----------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch, tmp_path):
    """``package(code)``: the package drmaa is this code; none of the usual places holds a library."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "python")])
    monkeypatch.delitem(sys.modules, "drmaa", raising=False)
    monkeypatch.delenv("DRMAA_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(drmaa_call, "USUAL_PLACES", (str(tmp_path / "lib*" / "libdrmaa.so*"),))
    (tmp_path / "python").mkdir()
    sys.path_importer_cache.pop(str(tmp_path / "python"), None)

    def write(code: str) -> None:
        (tmp_path / "python" / "drmaa.py").write_text(code)

    yield write
    sys.modules.pop("drmaa", None)


def test_no_package(package):
    code, _, said = ask("check")
    assert code == UNUSABLE
    assert said == f"the Python package drmaa is not installed for {sys.executable}: pip install 'dlaunch[drmaa]'\n"


def test_a_package_that_misses_another_is_not_called_missing(package):
    package("import no_such_module\n")
    assert ask("check")[2] == "No module named 'no_such_module'\n"


def test_our_own_module_of_that_name_is_not_the_package(package, monkeypatch):
    monkeypatch.setattr(sys, "path", [os.path.dirname(drmaa_call.__file__), *sys.path])
    package("")
    assert ask("check")[0] == 0
    assert sys.modules["drmaa"].__file__ != drmaa_call.__file__.replace("drmaa_call", "drmaa")


def test_no_library_names_the_variable_and_the_usual_places(package, tmp_path):
    package("raise RuntimeError('Could not find drmaa library')")
    code, _, said = ask("check")
    assert code == UNUSABLE
    assert "set DRMAA_LIBRARY_PATH to that of your batch system; usual places are " in said
    assert "/lib*/libdrmaa.so*" in said


def test_no_library_names_those_that_are_there(package, tmp_path):
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libdrmaa.so.1").touch()
    package("raise RuntimeError('Could not find drmaa library')")
    assert f"here is {tmp_path}/lib64/libdrmaa.so.1\n" in ask("check")[2]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        ("OSError('/x.so: cannot open shared object file')", "cannot be loaded (/x.so: cannot open shared"),
        ("AttributeError('undefined symbol: drmaa_init')", "is no DRMAA 1 library (undefined symbol"),
    ],
)
def test_a_library_that_is_none_is_told_with_the_variable(package, monkeypatch, error, what):
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", "/x.so")
    package(f"raise {error}")
    code, _, said = ask("check")
    assert code == UNUSABLE
    assert said.startswith(f"DRMAA_LIBRARY_PATH=/x.so {what}")


def test_a_library_that_finds_no_room_is_told_with_what_to_preload(package, monkeypatch):
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", "/x.so")
    package("raise OSError('/lib/libjemalloc.so.2: cannot allocate memory in static TLS block')")
    code, _, said = ask("check")
    assert code == UNUSABLE
    assert said.endswith("set LD_PRELOAD=/lib/libjemalloc.so.2 before dlaunch is started\n")


def test_variables_that_are_not_set_are_taken_from_the_places_given(package, monkeypatch, tmp_path):
    monkeypatch.setenv("ROOT", str(tmp_path))
    monkeypatch.setenv("GLIBC_TUNABLES", "for the loading")
    (tmp_path / "libdrmaa.so").touch()
    package("import os\nseen = os.environ['GLIBC_TUNABLES']\n")
    places = ["/no/such", "$ROOT/libdrmaa.so*"]
    assert ask("check", variables={"DRMAA_LIBRARY_PATH": places})[1] == {"library": f"{tmp_path}/libdrmaa.so"}
    assert sys.modules["drmaa"].seen == "for the loading"
    assert "GLIBC_TUNABLES" not in os.environ, "a job that takes our whole environment would have it"
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", "/mine.so")
    assert ask("check", variables={"DRMAA_LIBRARY_PATH": places})[1] == {"library": "/mine.so"}


# -- the program -----------------------------------------------------------------------


def test_what_the_library_prints_does_not_disturb_the_answer(tmp_path):
    (tmp_path / "drmaa.py").write_text("import os\nos.write(1, b'noise')\nprint('more noise', flush=True)\n")
    argv = [sys.executable, drmaa_call.__file__, "check"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    request = '{"variables": {}, "timeout_s": 20}'
    done = subprocess.run(argv, input=request, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout).keys() == {"library"}
    assert done.stderr == "noisemore noise\n"


def test_the_program_is_found_whatever_lies_around(tmp_path):
    for name in ("drmaa.py", "launchers.py", "signal.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')\n")
    argv = [sys.executable, drmaa_call.__file__, "check"]
    request = '{"variables": {}, "timeout_s": 20}'
    done = subprocess.run(argv, input=request, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "wrong one" not in done.stderr


def test_a_library_that_hangs_does_not_stay_for_ever(tmp_path):
    (tmp_path / "drmaa.py").write_text("import time\ntime.sleep(600)\n")
    argv = [sys.executable, drmaa_call.__file__, "check"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    request = '{"variables": {}, "timeout_s": -4}'
    done = subprocess.run(argv, input=request, env=env, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == -14
