"""The PBS plugin over the outputs that a real OpenPBS printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.jobscript import blame_line, check_directives, render_jobscript
from launchers.pbs import PbsPlugin
from launchers.protocol import Finder, Historian, Inspector, Output
from tests.recorded import DATA, cases, recorded

S = JobState
PLUGIN = PbsPlugin()
FIND = ("env", "DLAUNCH_JOB_NAME=demo", "qstat", "-t", "-f", "-F", "dsv")


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


def array_of(number: int, indices, **states) -> dict[str, str]:
    return {f"{number}[{i}].pbsvm": next(s for s, members in states.items() if i in members) for i in indices}


def as_dsv(case: str) -> Output:
    """A recorded answer in JSON, in the words of ``-F dsv``: the attributes and their values are the same."""
    output = recorded("openpbs", case)
    lines = []
    for job, fields in json.loads(output.stdout).get("Jobs", {}).items():
        flat = {key: value for key, value in fields.items() if not isinstance(value, dict)}
        lines.append("|".join([f"Job Id: {job}", *(f"{key}={value}" for key, value in flat.items())]) + "\n")
    argv = tuple(word.replace("json", "dsv") for word in output.argv)
    return dataclasses.replace(output, argv=argv, stdout="".join(lines))


# -- submit ----------------------------------------------------------------------------


def test_one_submission_is_one_command_with_the_script_on_stdin():
    command = PLUGIN.submit_command("#!/bin/sh\n", spec(last=64))
    assert command.argv == ("qsub", "-J", "1-64")
    assert command.stdin == "#!/bin/sh\n"


def test_an_array_of_one_element_would_be_refused_so_it_is_a_job_with_an_index():
    assert recorded("openpbs", "error-array-of-one").exit_code == 2
    script = render_jobscript(PLUGIN, spec(last=4), [])
    assert "\n#PBS -J 1-4\n" in script
    command = PLUGIN.submit_command(script, spec(first=3, last=3))
    assert command.argv == ("qsub", "-v", "DLAUNCH_ARRAY_INDEX=3")
    assert command.stdin == script.replace("#PBS -J 1-4\n", "")
    array = PLUGIN.parse_submit(recorded("openpbs", "submit-single"), spec(first=3, last=3))
    assert array == JobArray("32.pbsvm", {3: "32.pbsvm"})


def test_the_surrounding_job_does_not_leak_into_ours():
    command = PLUGIN.submit_command("", spec())
    assert {"PBS_*", "DLAUNCH_*"} <= set(command.drop)
    assert {"PBS_CONF_FILE", "PBS_SERVER"} <= command.keep
    inside = {line.partition("=")[0] for line in (DATA / "openpbs" / "env.txt").read_text().splitlines()}
    assert "PBS_ARRAY_INDEX" in inside
    assert not inside & command.keep


@pytest.mark.parametrize("case", ["submit-array", "submit-array-limit"])
def test_recorded_submissions(case):
    output = recorded("openpbs", case)
    array = output.stdout.strip()
    ids = {i: array.replace("[]", f"[{i}]") for i in (1, 2)}
    assert PLUGIN.parse_submit(output, spec(last=2)) == JobArray(array, ids)


@pytest.mark.parametrize("text", ["Welcome to node 3\n12[].pbs\nbye\n", "12[].pbs-01.example.org\n", "12[]\n"])
def test_an_id_among_the_lines_of_the_site(text):
    assert PLUGIN.parse_submit(Output(("qsub",), 0, text), spec(last=2)).id.startswith("12[]")


@pytest.mark.parametrize(
    ("text", "last"), [("", 1), ("", 2), ("77.pbs\n", 2), ("77[].pbs\n", 1), ("1.a\n2.a\n", 1), ("abc\n", 2)]
)
def test_anything_else_is_no_id(text, last):
    with pytest.raises(UnexpectedOutputError) as caught:
        PLUGIN.parse_submit(Output(("qsub",), 0, text, "warning"), spec(last=last))
    assert ("12[].server" if last == 2 else "12.server") in str(caught.value)


# -- status ----------------------------------------------------------------------------


def test_one_question_for_all_elements_that_has_an_answer_for_all():
    command = PLUGIN.status_command(["36[1].pbsvm", "36[2].pbsvm", "32.pbsvm", "37[7].pbsvm"])
    assert command.argv == ("qstat", "-t", "-f", "-F", "dsv", "36[].pbsvm", "32.pbsvm", "37[].pbsvm")
    # Why it is not in JSON:
    output = recorded("openpbs", "status-several.qstat-json")
    assert output.argv[-2:] == ("32.pbsvm", "33.pbsvm")
    assert list(json.loads(output.stdout)["Jobs"]) == ["32.pbsvm"]


def test_recorded_lines():
    running = PLUGIN.parse_status(recorded("openpbs", "status-running.qstat-dsv"))
    assert running == {"32.pbsvm": JobStatus(S.RUNNING, node="pbsvm")}
    partial = PLUGIN.parse_status(recorded("openpbs", "status-array-partial.qstat-dsv"))
    assert {job: status.state.value for job, status in partial.items()} == STATES["status-array-partial"]


STATES = {
    "status-array-after-element-cancel": array_of(36, range(8), running=(0, 1, 2, 6, 7), cancelled=(3, 4, 5)),
    "status-array-half-failed": array_of(55, range(4), completed=(0, 2), failed=(1, 3)),
    "status-array-half-failed-in-turn": array_of(56, range(4), completed=(0, 2), failed=(1, 3)),
    "status-array-mixed": array_of(44, range(1, 9), completed=(1,), failed=(2,), running=(3, 4, 5), pending=(6, 7, 8)),
    # What had ended before PBS was told to end the array is not told any more.
    "status-array-mixed-ended": array_of(44, range(1, 9), cancelled=range(1, 9)),
    "status-array-partial": array_of(37, range(8), running=(0, 1), pending=range(2, 8)),
    "status-array-partial-cancelled": array_of(37, range(8), cancelled=range(8)),
    "status-array-running": array_of(36, range(8), running=range(8)),
    "status-cancelled-array": array_of(36, range(8), cancelled=range(8)),
    "status-cancelled-pending": {"39.pbsvm": "cancelled"},
    "status-cancelled-running": {"32.pbsvm": "cancelled"},
    "status-dependency": {"41.pbsvm": "pending"},
    "status-element": {"36[3].pbsvm": "running"},
    "status-failed": {"43.pbsvm": "failed"},
    "status-finished": {"42.pbsvm": "completed"},
    "status-finished-array": array_of(53, range(8), completed=range(8)),
    "status-finished-at-once": {"54.pbsvm": "running"},
    "status-held": {"40.pbsvm": "pending"},
    "status-infeasible": {"50.pbsvm": "pending"},
    "status-none": {},
    "status-pending": {"39.pbsvm": "pending"},
    "status-running": {"32.pbsvm": "running"},
    "status-timeout": {"31.pbsvm": "timeout"},
    "status-unknown": {},
    "status-unknown-array": {},
}


@pytest.mark.parametrize("case", STATES)
def test_recorded_states(case):
    found = PLUGIN.parse_status(as_dsv(f"{case}.qstat-json"))
    assert {job: status.state.value for job, status in found.items()} == STATES[case]


def test_no_recorded_state_is_left_out():
    names = {name.removesuffix(".qstat-json") for name in cases("openpbs", "status-*.qstat-json")}
    assert names - set(STATES) == {"status-several", "status-mixed-known-unknown"}


@pytest.mark.parametrize("case", ["status-several", "status-mixed-known-unknown"])
def test_an_answer_that_is_silent_about_a_job_is_no_answer(case):
    with pytest.raises(StatusError, match=r"says nothing about 33\.pbsvm") as caught:
        PLUGIN.parse_status(as_dsv(f"{case}.qstat-json"))
    assert caught.value.transient


def test_jobs_that_have_ended_are_gone_and_hide_no_other():
    ended = recorded("openpbs", "status-finished.qstat-json-without-x")
    assert ended.exit_code == 35
    assert PLUGIN.parse_status(dataclasses.replace(ended, stdout="")) == {}
    there = recorded("openpbs", "status-running.qstat-dsv")
    both = Output((*there.argv, "7.pbsvm"), 153, there.stdout, ended.stderr + "qstat: Unknown Job Id 7.pbsvm\n")
    assert list(PLUGIN.parse_status(both)) == ["32.pbsvm"]


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("status-held", "held by its user: qrls lets it go"),
        ("status-dependency", "waits for another job"),
        ("status-pending", "waits for free nodes"),
        ("status-infeasible", "it will never start"),
    ],
)
def test_why_a_job_waits(case, why):
    (status,) = PLUGIN.parse_status(as_dsv(f"{case}.qstat-json")).values()
    assert why in status.explanation


def test_values_with_bars_and_line_ends_in_them():
    text = "Job Id: 1.s|Variable_List=A=x\\|job_state=F\nB=y\\|z|job_state=R|exec_host=n/0\nJob Id: 2.s|job_state=Y\n"
    found = PLUGIN.parse_status(Output(("qstat", "1.s", "2.s"), 0, text))
    assert found == {"1.s": JobStatus(S.RUNNING, node="n"), "2.s": JobStatus(S.UNKNOWN, "Y")}


@pytest.mark.parametrize("case", ["server-down.status-json", "status-wrong-server.qstat-t", "status-bad-id.qstat-t"])
def test_a_question_that_failed_is_an_error(case):
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(recorded("openpbs", case))
    assert caught.value.transient is case.startswith("server-down")


def test_text_that_is_not_about_jobs_is_no_answer():
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(Output(("qstat",), 0, "Warnung\n"))
    assert caught.value.transient


# -- history ---------------------------------------------------------------------------


def test_the_server_may_remember():
    assert isinstance(PLUGIN, Historian)
    (command,) = PLUGIN.history_commands("36[3].pbsvm")
    assert command.argv == recorded("openpbs", "status-element.qstat-json").argv


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("status-failed", JobStatus(S.FAILED, node="pbsvm", exit_code=3)),
        ("status-finished", JobStatus(S.COMPLETED, node="pbsvm", exit_code=0)),
        ("status-timeout", JobStatus(S.TIMEOUT, "exit status -29", "pbsvm", explanation="its walltime was over")),
        ("status-cancelled-running", JobStatus(S.CANCELLED, node="pbsvm", signal=15)),
        ("status-cancelled-pending", JobStatus(S.CANCELLED)),
        ("status-finished-at-once", JobStatus(S.RUNNING, node="pbsvm")),
    ],
)
def test_recorded_history(case, expected):
    assert PLUGIN.parse_history(recorded("openpbs", f"{case}.qstat-json")) == expected


@pytest.mark.parametrize(
    "output",
    [
        recorded("openpbs", "status-unknown.qstat-json"),
        recorded("openpbs", "server-down.status-json"),
        Output(("qstat", "1.s"), 103, "", "qstat: PBS is not configured to maintain job history"),
        Output(("qstat", "1.s"), 0, '{"Jobs": {"1.s": '),
        Output(("qstat", "1.s"), 0, "[]"),
    ],
)
def test_no_history_is_normal(output):
    assert PLUGIN.parse_history(output) is None


# -- cancel, find ----------------------------------------------------------------------


def test_one_command_cancels_all():
    assert PLUGIN.cancel_command(["36[].pbsvm"]).argv == recorded("openpbs", "cancel-array").argv
    assert PLUGIN.cancel_command(["36[3].pbsvm"]).argv == recorded("openpbs", "cancel-element").argv


GONE = ["cancel-element-again", "cancel-finished", "cancel-finished-array", "cancel-mixed-known-unknown"]


@pytest.mark.parametrize("case", [*GONE, "cancel-unknown", "cancel-unknown-array"])
def test_what_is_gone_needs_no_cancelling(case):
    output = recorded("openpbs", case)
    assert output.exit_code != 0
    assert PLUGIN.explain_failure(output).harmless


@pytest.mark.parametrize("case", ["cancel-bad-id", "cancel-element-unknown", "server-down.cancel"])
def test_cancelling_that_failed(case):
    failure = PLUGIN.explain_failure(recorded("openpbs", case))
    assert not failure.harmless
    assert failure.transient is (case == "server-down.cancel")


def test_jobs_are_found_by_name():
    assert isinstance(PLUGIN, Finder)
    assert PLUGIN.find_command("demo").argv == FIND
    listed = recorded("openpbs", "status-array-partial.qstat-dsv").stdout
    single = "Job Id: 9.pbsvm|Job_Name=demo|job_state=R|Variable_List=PBS_O_HOME=/h,DLAUNCH_ARRAY_INDEX=5,A=b\n"
    foreign = "Job Id: 8.pbsvm|Job_Name=demo|job_state=R|Variable_List=PBS_O_HOME=/h\n"
    found = PLUGIN.parse_find(Output(FIND, 0, listed + single + foreign))
    assert found == [
        JobArray("37[].pbsvm", {i: f"37[{i}].pbsvm" for i in range(8)}),
        JobArray("9.pbsvm", {5: "9.pbsvm"}),
    ]
    assert PLUGIN.parse_find(Output(("env", "DLAUNCH_JOB_NAME=dem", "qstat"), 0, listed)) == []


# -- failures --------------------------------------------------------------------------

ERRORS = {
    "error-array-of-one": "-J",
    "error-array-too-large": "-J",
    "error-bad-array": "-J",
    "error-bad-long-option": "-r",
    "error-bad-name": "-N",
    "error-bad-option": "-Y",
    "error-bad-resource": "-l foo",
    "error-bad-time": "-l walltime",
    "error-missing-script": "",
    "error-other-systems-array-option": "-t",
    "error-root-refused": "",
    "error-unknown-queue": "-q",
    "error-unknown-server": "-q",
}


@pytest.mark.parametrize("case", ERRORS)
def test_recorded_refusals(case):
    output = recorded("openpbs", case)
    failure = PLUGIN.explain_failure(output)
    assert (failure.transient, failure.harmless, failure.option) == (False, False, ERRORS[case])
    assert output.stderr.strip() in failure.text


def test_no_recorded_refusal_is_left_out():
    assert set(cases("openpbs", "error-*")) == set(ERRORS)


def test_what_passes_is_tried_again():
    assert PLUGIN.explain_failure(recorded("openpbs", "server-down.submit")).transient


def test_the_line_at_fault_is_found():
    script = render_jobscript(PLUGIN, spec(queue="nope", walltime_s=60.0, memory=2**30), [])
    lines = {"error-unknown-queue": "#PBS -q nope", "error-bad-time": "#PBS -l walltime=00:01:00"}
    for case, line in lines.items():
        blame = blame_line(PLUGIN, PLUGIN.explain_failure(recorded("openpbs", case)), script)
        assert blame.endswith(f": {line}")


@pytest.mark.parametrize("line", ["-J 1-5", "-N x", "-v A=1", "-W block=true"])
def test_directives_that_are_ours(line):
    with pytest.raises(ValueError, match="out of our hands"):
        check_directives(PLUGIN, [line])


@pytest.mark.parametrize("line", ["-l nodes=1:ppn=2", "-l ncpus=4,mem=2gb", "-l select=2:ncpus=4"])
def test_the_old_way_of_asking_replaces_select(line):
    script = render_jobscript(PLUGIN, spec(memory=2**30, walltime_s=60.0, directives=(line,)), [])
    asked = [text for text in script.splitlines() if text.startswith("#PBS -l")]
    assert asked == ["#PBS -l walltime=00:01:00", f"#PBS {line}"]


# -- whose qsub ------------------------------------------------------------------------


def test_another_systems_qsub_is_refused_with_the_right_command():
    assert isinstance(PLUGIN, Inspector)
    assert PLUGIN.inspect_command().argv == recorded("openpbs", "version.qsub").argv
    assert PLUGIN.parse_inspection(recorded("openpbs", "version.qsub")) == ""
    problem = PLUGIN.parse_inspection(recorded("torque", "version.qsub"))
    assert problem == "the batch system here is Torque (Version: 6.1-dev): use 'dlaunch torque'"
