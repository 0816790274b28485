"""The Torque plugin over the outputs that a real Torque printed."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.jobscript import blame_line, check_directives, render_jobscript
from launchers.protocol import Finder, Historian, Inspector, Output
from launchers.torque import TorquePlugin
from tests.recorded import DATA, cases, recorded

S = JobState
PLUGIN = TorquePlugin()
FIND = ("env", "DLAUNCH_JOB_NAME=demo", "qstat", "-t", "-f", "-x")


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


def array_of(number: int, indices, **states) -> dict[str, JobState]:
    return {f"{number}[{i}].vm": next(s for s, members in states.items() if i in members) for i in indices}


# -- submit ----------------------------------------------------------------------------


def test_one_submission_is_one_command_with_the_script_on_stdin():
    command = PLUGIN.submit_command("#!/bin/sh\n", spec(last=64))
    assert command.argv == ("qsub", "-t", "1-64")
    assert command.stdin == "#!/bin/sh\n"
    assert command.env == {"LC_ALL": "C"}


def test_one_job_is_an_array_too():
    assert PLUGIN.submit_command("", spec(first=7, last=7)).argv == ("qsub", "-t", "7-7")
    array = PLUGIN.parse_submit(recorded("torque", "submit-array-of-one"), spec(first=7, last=7))
    assert array == JobArray("99[].vm", {7: "99[7].vm"})


def test_the_surrounding_job_does_not_leak_into_ours():
    command = PLUGIN.submit_command("", spec())
    assert {"PBS_*", "DLAUNCH_*"} <= set(command.drop)
    assert {"PBS_DEFAULT", "PBS_SERVER"} <= command.keep
    inside = {line.partition("=")[0] for line in (recorded_env("torque")) if line.startswith("PBS_")}
    assert len(inside) > 20
    assert not inside & command.keep


def recorded_env(system: str) -> list[str]:
    return (DATA / system / "env.txt").read_text().splitlines()


@pytest.mark.parametrize("case", ["submit-array", "submit-array-limit", "submit-array-of-million-accepted"])
def test_recorded_submissions(case):
    output = recorded("torque", case)
    array = output.stdout.strip()
    ids = {i: array.replace("[]", f"[{i}]") for i in (1, 2)}
    assert PLUGIN.parse_submit(output, spec(last=2)) == JobArray(array, ids)


@pytest.mark.parametrize(
    ("text", "array"),
    [
        ("12[].vm\n", "12[].vm"),
        ("12[].head.cluster.example.org\n", "12[].head.cluster.example.org"),
        ("12[]\n", "12[]"),
        ("Welcome to node 3\n\n12[].vm\nyour balance is 7.5 hours\n", "12[].vm"),
        ("12[].vm", "12[].vm"),
    ],
)
def test_an_id_among_the_lines_of_the_site(text, array):
    assert PLUGIN.parse_submit(Output(("qsub",), 0, text), spec()).id == array


@pytest.mark.parametrize("text", ["", "\n", "77.vm\n", "12[].vm\n13[].vm\n", "12[3].vm\n", "abc\n", "\ufffd\n"])
def test_anything_else_is_no_id(text):
    with pytest.raises(UnexpectedOutputError, match=r"12\[\]\.server") as caught:
        PLUGIN.parse_submit(Output(("qsub", "-t", "1-1"), 0, text, "warning"), spec())
    assert (caught.value.stdout, caught.value.stderr) == (text, "warning")


# -- status ----------------------------------------------------------------------------


def test_one_question_for_all_elements():
    command = PLUGIN.status_command(["80[1].vm", "80[2].vm", "92[7].vm"])
    assert command.argv == ("qstat", "-t", "-f", "-x", "80[].vm", "92[].vm")


STATUS = {
    "status-array-after-element-cancel": array_of(80, range(8), running=(0, 1, 2, 6, 7), cancelled=(3, 4, 5)),
    "status-array-mixed": array_of(92, range(1, 9), completed=(1,), failed=(2,), running=(3, 4, 5), pending=(6, 7, 8)),
    "status-array-partial": array_of(81, range(8), running=(0, 1), pending=range(2, 8)),
    "status-array-partial-cancelled": array_of(81, range(8), cancelled=range(8)),
    "status-array-running": array_of(80, range(8), running=range(8)),
    "status-cancelled-array": array_of(80, range(8), cancelled=range(8)),
    "status-cancelled-pending": {"83.vm": "cancelled"},
    "status-cancelled-running": {"77.vm": "cancelled"},
    "status-element": {"80[3].vm": "running"},
    "status-failed": {"91.vm": "failed"},
    "status-finished": {"90.vm": "completed"},
    "status-held": {"84.vm": "pending"},
    "status-infeasible": {"102.vm": "pending"},
    "status-mixed-known-unknown": {"77.vm": "running", "78.vm": "running"},
    "status-none": {},
    "status-pending": {"83.vm": "pending"},
    "status-running": {"77.vm": "running"},
    "status-several": {"77.vm": "running", "78.vm": "running"},
    "status-timeout": {"89.vm": "timeout"},
    "status-unknown": {},
    "status-unknown-array": {},
}


@pytest.mark.parametrize("case", STATUS)
def test_recorded_states(case):
    found = PLUGIN.parse_status(recorded("torque", f"{case}.qstat-tfx"))
    assert {job: status.state.value for job, status in found.items()} == STATUS[case]


def test_no_recorded_state_is_left_out():
    names = {name.removesuffix(".qstat-tfx") for name in cases("torque", "status-*.qstat-tfx")}
    assert names == set(STATUS)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("status-running", JobStatus(S.RUNNING, node="vm")),
        ("status-failed", JobStatus(S.FAILED, node="vm", exit_code=3)),
        ("status-cancelled-running", JobStatus(S.CANCELLED, node="vm", signal=15)),
        ("status-cancelled-pending", JobStatus(S.CANCELLED)),
        ("status-timeout", JobStatus(S.TIMEOUT, "exit status -11", "vm", explanation="its walltime was over")),
    ],
)
def test_what_is_told_of_a_job(case, expected):
    assert list(PLUGIN.parse_status(recorded("torque", f"{case}.qstat-tfx")).values()) == [expected]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("status-held", "held by its user: qrls lets it go"),
        ("status-pending", "waits for free nodes"),
        ("status-infeasible", "never start"),
    ],
)
def test_why_a_job_waits(case, why):
    (status,) = PLUGIN.parse_status(recorded("torque", f"{case}.qstat-tfx")).values()
    assert why in status.explanation


def test_elements_beyond_the_limit_of_their_array_wait():
    status = PLUGIN.parse_status(recorded("torque", "status-array-partial.qstat-tfx"))["81[5].vm"]
    assert "own limit" in status.explanation


def test_silence_means_that_no_job_is_left():
    assert PLUGIN.parse_status(Output(("qstat",), 0, "\n")) == {}


def test_letters_that_we_do_not_know_change_nothing():
    text = "<Data><Job><Job_Id>7[1].vm</Job_Id><job_state>Z</job_state></Job></Data>"
    status = PLUGIN.parse_status(Output(("qstat",), 0, text))["7[1].vm"]
    assert status == JobStatus(S.UNKNOWN, "Z")
    assert status.state.is_active


def test_bytes_that_xml_does_not_have():
    text = "<Data><Job><Job_Id>7[1].vm</Job_Id><Variable_List>A=\x1b[1m\ufffd&lt;b&gt;</Variable_List>"
    text += "<job_state>R</job_state></Job></Data>"
    assert PLUGIN.parse_status(Output(("qstat",), 0, text))["7[1].vm"].state is S.RUNNING


@pytest.mark.parametrize("text", ["Warnung\n", "\ufffd\n", '<?xml version="1.0"?>\n<Data><Job><Job_Id>1'])
def test_text_without_jobs_or_cut_off_is_no_answer(text):
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(Output(("qstat",), 0, text))
    assert caught.value.transient


@pytest.mark.parametrize("case", ["server-down.status-tfx", "auth-down.status-tfx"])
def test_an_unreachable_system_has_not_lost_the_jobs(case):
    output = recorded("torque", case)
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(output)
    assert caught.value.transient
    with pytest.raises(StatusError):
        PLUGIN.parse_find(Output(FIND, output.exit_code, "", output.stderr))


def test_a_complaint_about_something_else_is_an_error_although_there_is_data():
    good = recorded("torque", "status-mixed-known-unknown.qstat-tfx")
    with pytest.raises(StatusError):
        PLUGIN.parse_status(Output(good.argv, 153, good.stdout, f"{good.stderr}qstat: End of File\n"))


# -- cancel, find ----------------------------------------------------------------------


def test_one_command_cancels_all_and_has_the_time_that_it_needs():
    assert PLUGIN.cancel_command(["80[].vm"]).argv == recorded("torque", "cancel-array").argv
    assert PLUGIN.cancel_command(["80[3].vm"]).argv == recorded("torque", "cancel-element").argv
    assert PLUGIN.cancel_command(["80[3].vm", "81[].vm"]).argv == ("qdel", "80[3].vm", "81[].vm")
    assert PLUGIN.cancel_command(["80[].vm"]).timeout_s >= 60


GONE = ["cancel-element-again", "cancel-element-unknown", "cancel-finished", "cancel-mixed-known-unknown"]


@pytest.mark.parametrize("case", [*GONE, "cancel-unknown", "cancel-unknown-array"])
def test_what_is_gone_needs_no_cancelling(case):
    output = recorded("torque", case)
    assert output.exit_code != 0
    assert PLUGIN.explain_failure(output).harmless


@pytest.mark.parametrize("case", ["cancel-bad-id", "server-down.cancel", "auth-down.cancel"])
def test_cancelling_that_failed(case):
    failure = PLUGIN.explain_failure(recorded("torque", case))
    assert not failure.harmless
    assert failure.transient is (case != "cancel-bad-id")


def test_jobs_are_found_by_name():
    assert isinstance(PLUGIN, Finder)
    assert PLUGIN.find_command("demo").argv == FIND
    listed = recorded("torque", "status-array-mixed.qstat-tfx")
    found = PLUGIN.parse_find(Output(FIND, 0, listed.stdout))
    assert found == [JobArray("92[].vm", {i: f"92[{i}].vm" for i in range(1, 9)})]
    for other in ("dem", "demo-1", "emo"):
        assert PLUGIN.parse_find(Output(("env", f"DLAUNCH_JOB_NAME={other}", "qstat"), 0, listed.stdout)) == []


def test_a_name_that_begins_with_a_digit_is_found_under_the_name_that_it_got():
    assert PLUGIN.context(spec(job_name="7up"))["pbs_name"] == "j7up"
    assert "DLAUNCH_JOB_NAME=j7up" in PLUGIN.find_command("7up").argv


def test_there_is_no_other_memory_than_the_queue():
    assert not isinstance(PLUGIN, Historian)


# -- failures --------------------------------------------------------------------------

ERRORS = {
    "error-bad-array": "-t",
    "error-bad-long-option": "",
    "error-bad-name": "-N",
    "error-bad-option": "-Y",
    "error-bad-resource": "-l foo",
    "error-bad-time": "-l walltime",
    "error-infeasible": "-l nodes",
    "error-missing-script": "",
    "error-other-systems-array-option": "",
    "error-root-refused": "",
    "error-unknown-queue": "-q",
    "error-unknown-server": "-q",
}


@pytest.mark.parametrize("case", ERRORS)
def test_recorded_refusals(case):
    output = recorded("torque", case)
    failure = PLUGIN.explain_failure(output)
    assert (failure.transient, failure.harmless, failure.option) == (False, False, ERRORS[case])
    assert output.stderr.strip() in failure.text


def test_no_recorded_refusal_is_left_out():
    assert set(cases("torque", "error-*")) == set(ERRORS)


@pytest.mark.parametrize("case", ["server-down.submit", "auth-down.submit"])
def test_what_passes_is_tried_again(case):
    assert PLUGIN.explain_failure(recorded("torque", case)).transient


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("error-unknown-queue", "#PBS -q nope"),
        ("error-bad-time", "#PBS -l walltime=00:01:00"),
        ("error-infeasible", "#PBS -l nodes=1:ppn=500"),
        ("error-bad-resource", "#PBS -l mem=1gb,foo=1"),
        ("error-bad-option", "#PBS -Y 5"),
        ("error-bad-array", "#PBS -t 1-1"),
    ],
)
def test_the_line_at_fault_is_found(case, line):
    wanted = spec(queue="nope", walltime_s=60.0, nthreads=500, directives=("-l mem=1gb,foo=1", "-Y 5"))
    script = render_jobscript(PLUGIN, wanted, [])
    blame = blame_line(PLUGIN, PLUGIN.explain_failure(recorded("torque", case)), script)
    assert blame.endswith(f": {line}")


@pytest.mark.parametrize(
    "line", ["-t 1-5", "-N x", "-v A=1", "-W block=true", "-l select=1", "-l mem=1gb,select=1", "-I", "-z"]
)
def test_directives_that_are_ours(line):
    with pytest.raises(ValueError, match="out of our hands"):
        check_directives(PLUGIN, [line])


# -- whose qsub ------------------------------------------------------------------------


def test_another_systems_qsub_is_refused_with_the_right_command():
    assert isinstance(PLUGIN, Inspector)
    assert PLUGIN.inspect_command().argv == recorded("torque", "version.qsub").argv
    assert PLUGIN.parse_inspection(recorded("torque", "version.qsub")) == ""
    problem = PLUGIN.parse_inspection(recorded("openpbs", "version.qsub"))
    assert problem == "the batch system here is OpenPBS or PBS Pro (pbs_version = 23.06.06): use 'dlaunch pbs'"
    assert PLUGIN.parse_inspection(Output(("qsub",), 1, "", "unknown option --version")) == ""


# -- context ---------------------------------------------------------------------------


def test_torques_own_words_go_where_it_can_deliver():
    assert PLUGIN.context(spec())["batch_log"] == "/logs/sweep.torque"
    for folder in ("/my logs", "/a'b", "/x$y", "/a,b", "/host:x"):
        assert PLUGIN.context(spec(log_dir=PurePosixPath(folder)))["batch_log"] == "/dev/null"


def test_a_log_that_cannot_be_opened_ends_the_job_at_once(tmp_path):
    script = render_jobscript(PLUGIN, spec(log_dir=PurePosixPath(tmp_path / "missing")), [])
    env = {"PATH": "/usr/bin:/bin", "PBS_ARRAYID": "1", "PBS_JOBID": "1[1].vm"}
    done = subprocess.run(["bash", "-s"], input=script, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
