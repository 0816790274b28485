from __future__ import annotations

import json
import subprocess
from pathlib import PurePosixPath

import pytest

from launchers.drmaa import DrmaaPlugin
from launchers.drmaa_words import UNUSABLE
from launchers.jobs import JobArray, JobSpec, JobState, Variable
from launchers.jobscript import check_directives, render_jobscript
from launchers.protocol import Output

PLUGIN = DrmaaPlugin()


def spec(**changes) -> JobSpec:
    values = {
        "name": "sweep",
        "job_name": "sweep-1",
        "command": ("printenv", Variable.ARRAY_INDEX.value, Variable.JOB_ID.value),
        "log_dir": PurePosixPath("/logs"),
        "script_file": PurePosixPath("/home/ada/.dlaunch/sweep/jobscript.sh"),
    }
    return JobSpec(**{**values, **changes})


def asked(**changes) -> dict:
    wish = spec(**changes)
    return json.loads(PLUGIN.submit_command(render_jobscript(PLUGIN, wish, []), wish).stdin)


def test_the_head_of_the_script_becomes_the_job_template():
    found = asked(first=2, last=5, walltime_s=5400.5, directives=("-q long", "-l mem=4G"))
    assert (found["first"], found["last"]) == (2, 5)
    assert found["attributes"] == {
        "remoteCommand": "/bin/bash",
        "args": ["/home/ada/.dlaunch/sweep/jobscript.sh"],
        "jobName": "sweep-1",
        "joinFiles": "y",
        "outputPath": ":/logs/sweep.$drmaa_incr_ph$.log",
        "hardWallclockTimeLimit": "1:30:01",
        "nativeSpecification": "-q long -l mem=4G",
    }


def test_without_lines_of_the_user_there_is_no_native_specification():
    assert "nativeSpecification" not in asked()["attributes"]


def test_lines_below_the_head_are_no_attributes():
    assert "jobCategory" not in asked(prologue=("true\n#DRMAA jobCategory=evil",))["attributes"]


def test_a_name_does_not_begin_with_a_digit():
    assert asked(job_name="2odd-1")["attributes"]["jobName"] == "dl-2odd-1"


@pytest.mark.parametrize("folder", ["/a b", "/a$b", "/a:b", "/a%b", "/a'b", "/é"])
def test_a_log_folder_with_a_difficult_name_is_opened_by_the_script(folder):
    wish = spec(log_dir=PurePosixPath(folder))
    assert asked(log_dir=wish.log_dir)["attributes"]["outputPath"] == ":/dev/null"
    assert "\nexec >>" in render_jobscript(PLUGIN, wish, [])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"queue": "long"}, "--queue: DRMAA has no word for it; write your batch system's own, like --directive"),
        ({"account": "lab"}, "--account: "),
        ({"memory": 2**30}, "--mem: DRMAA cannot ask for memory"),
        ({"nthreads": 4}, "jobs of 4 CPUs: DRMAA cannot ask for CPUs"),
        ({"workers_per_job": 2}, "jobs of 2 CPUs: "),
        ({"queue": "long", "directives": ("-q long",)}, "--queue: "),
    ],
)
def test_what_drmaa_cannot_say_is_refused_with_a_sentence(wish, words):
    with pytest.raises(ValueError, match=words):
        PLUGIN.context(spec(**wish))


def test_memory_and_cpus_may_be_asked_for_by_a_line_of_the_user():
    lines = check_directives(PLUGIN, ["#DRMAA -l mem=8G -pe smp 4"])
    assert asked(memory=2**33, nthreads=4, directives=lines)["attributes"]["nativeSpecification"] == (
        "-l mem=8G -pe smp 4"
    )


def run(env: dict[str, str], tmp_path, **changes) -> subprocess.CompletedProcess[str]:
    script = render_jobscript(PLUGIN, spec(**changes), [])
    env = {"PATH": "/usr/bin:/bin", **env}
    with (tmp_path / "sweep.7.log").open("w+") as log:
        done = subprocess.run(["bash", "-c", script], env=env, stdout=log, stderr=log, text=True, check=False)
        log.seek(0)
        done.stdout = log.read()
    return done


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"SGE_TASK_ID": "3", "JOB_ID": "5"}, "3\n5.3\n"),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "5", "SLURM_JOB_ID": "8"}, "3\n5.3\n"),
        ({"PBS_ARRAY_INDEX": "3", "PBS_JOBID": "5[3].server"}, "3\n5[3].server.3\n"),
        ({"LSB_JOBINDEX": "3", "LSB_JOBID": "5"}, "3\n5.3\n"),
        ({"SGE_TASK_ID": "undefined", "JOB_ID": "5"}, "7\n5.7\n"),
        ({"LSB_JOBINDEX": "0", "LSB_JOBID": "5"}, "7\n5.7\n"),
        ({}, "7\njob.7\n"),
    ],
    ids=str,
)
def test_a_job_learns_its_index_from_any_system_or_from_its_log(tmp_path, env, said):
    assert run(env, tmp_path).stdout == said


def test_a_job_that_cannot_learn_its_index_says_so(tmp_path):
    (tmp_path / "odd").mkdir()
    done = run({"SGE_TASK_ID": "undefined"}, tmp_path, log_dir=PurePosixPath(tmp_path / "odd x"))
    assert done.returncode == 1


def test_an_array_is_all_its_elements():
    output = Output((), 0, '{"ids": ["5.1", "5.2"]}')
    array = PLUGIN.parse_submit(output, spec(last=2))
    assert array == JobArray("5.1,5.2", {1: "5.1", 2: "5.2"})
    assert json.loads(PLUGIN.cancel_command([array.id, "9.1"]).stdin)["ids"] == ["5.1", "5.2", "9.1"]


def test_states():
    found = PLUGIN.parse_status(Output((), 0, '{"states": {"5.1": "running", "5.2": "failed"}}'))
    assert [found["5.1"].state, found["5.2"].state] == [JobState.RUNNING, JobState.FAILED]


def test_what_is_missing_is_told():
    assert PLUGIN.inspect_command().argv[-1] == "check"
    assert PLUGIN.parse_inspection(Output((), UNUSABLE, "", "pip install it\n")) == "pip install it"
