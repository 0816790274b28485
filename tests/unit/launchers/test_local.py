from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.local import LocalPlugin
from launchers.protocol import Output

PLUGIN = LocalPlugin()
IDS = ("box:11:5000", "box:12:5001")


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "dl-sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


def test_the_script_goes_to_our_spawner():
    command = PLUGIN.submit_command("#!/bin/bash\n", spec(first=2, last=5))
    assert command.stdin == "#!/bin/bash\n"
    assert command.argv[0] == sys.executable
    assert command.argv[3:] == (
        *("submit", "--first", "2", "--last", "5", "--name", "sweep", "--log", "/logs/sweep.%.log"),
    )
    assert command.drop == ("DLAUNCH_CLUSTER*",)


def test_the_spawner_is_found_whatever_lies_around(tmp_path):
    for name in ("launchers.py", "signal.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong one')\n")
    argv = PLUGIN.status_command([]).argv
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_was_started():
    output = Output(("spawn",), 0, f"{IDS[0]}\n{IDS[1]}\n")
    assert PLUGIN.parse_submit(output, spec(first=3, last=4)) == JobArray(",".join(IDS), {3: IDS[0], 4: IDS[1]})


@pytest.mark.parametrize("text", ["", f"{IDS[0]}\n", f"{IDS[0]}\n{IDS[1]}\n{IDS[0]}\n"])
def test_another_number_of_ids_is_an_error(text):
    with pytest.raises(UnexpectedOutputError, match="expected 2 ids"):
        PLUGIN.parse_submit(Output(("spawn",), 0, text), spec(last=2))


def test_states_are_those_that_live():
    assert PLUGIN.status_command(IDS).argv[3:] == ("status", *IDS)
    assert PLUGIN.parse_status(Output((), 0, f"{IDS[1]}\n")) == {IDS[1]: JobStatus(JobState.RUNNING)}
    assert PLUGIN.parse_status(Output((), 0, "")) == {}


def test_a_failed_question_is_no_answer():
    with pytest.raises(StatusError, match="another host") as caught:
        PLUGIN.parse_status(Output((), 1, "", "'x:1:2' is a process of another host than this one, box\n"))
    assert caught.value.exit_code == 1
    assert not caught.value.transient


def test_whole_arrays_and_elements_are_cancelled_alike():
    whole = JobArray(",".join(IDS), {1: IDS[0], 2: IDS[1]})
    assert PLUGIN.cancel_command([whole.id]).argv[3:] == ("cancel", *IDS)
    assert PLUGIN.cancel_command([IDS[0]]).argv[3:] == ("cancel", IDS[0])


@pytest.mark.parametrize(
    ("changes", "option"),
    [({"queue": "q"}, "--queue"), ({"account": "a"}, "--account"), ({"walltime_s": 60.0}, "--walltime")],
)
def test_what_only_a_batch_system_gives_is_refused(changes, option):
    with pytest.raises(ValueError, match=f"{option} means nothing"):
        PLUGIN.context(spec(**changes))


def test_failures_are_the_spawners_own_words():
    assert PLUGIN.explain_failure(Output((), 1, "", "no room\n")).text == "no room"
    failure = PLUGIN.explain_failure(Output((), 9))
    assert "9" in failure.text
    assert not failure.transient


def test_bash_is_all_it_needs():
    assert PLUGIN.programs == ("bash",)
    assert Path(PLUGIN.submit_command("", spec()).argv[2]).is_file()
