"""The SLURM plugin over the outputs that a real SLURM printed."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.jobscript import blame_line, render_jobscript
from launchers.protocol import Finder, Historian, Output
from launchers.slurm import SlurmPlugin
from tests.recorded import cases, recorded

S = JobState
PLUGIN = SlurmPlugin()


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "dl-sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


def states(case: str) -> dict[str, JobState]:
    return {key: status.state for key, status in PLUGIN.parse_status(recorded("slurm", case)).items()}


# -- submit ----------------------------------------------------------------------------


def test_one_submission_is_one_command_with_the_script_on_stdin():
    command = PLUGIN.submit_command("#!/bin/sh\n", spec(last=64))
    assert command.argv == ("sbatch", "--parsable", "--array=1-64")
    assert command.stdin == "#!/bin/sh\n"
    assert command.env == {"LC_ALL": "C"}


def test_one_job_is_an_array_too():
    assert "--array=7-7" in PLUGIN.submit_command("", spec(first=7, last=7)).argv


def test_the_surrounding_job_does_not_leak_into_ours():
    command = PLUGIN.submit_command("", spec())
    assert {"SLURM_*", "SBATCH_*", "DLAUNCH_*"} <= set(command.drop)
    assert {"SLURM_CONF", "SBATCH_PARTITION", "SBATCH_ACCOUNT"} <= command.keep
    assert not {"SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SLURM_JOB_ID"} & command.keep


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"queue": "main"}, "SBATCH_PARTITION"),
        ({"account": "lab"}, "SBATCH_ACCOUNT"),
        ({"directives": ("-p main",)}, "SBATCH_PARTITION"),
        ({"directives": ("-qlow",)}, "SBATCH_QOS"),
        ({"directives": ("--constraint=gpu",)}, "SBATCH_CONSTRAINT"),
    ],
)
def test_what_is_given_is_not_overridden_by_the_users_environment(changes, variable):
    assert variable in PLUGIN.submit_command("", spec()).keep
    assert variable not in PLUGIN.submit_command("", spec(**changes)).keep


@pytest.mark.parametrize("case", cases("slurm", "submit-*.parsable"))
def test_recorded_submissions(case):
    output = recorded("slurm", case)
    number = output.stdout.strip()
    assert PLUGIN.parse_submit(output, spec(last=2)) == JobArray(number, {1: f"{number}_1", 2: f"{number}_2"})


@pytest.mark.parametrize("case", ["infeasible-nodes.submit", "infeasible-tasks.submit", "infeasible-time.submit"])
def test_what_can_never_run_is_taken_all_the_same(case):
    assert PLUGIN.parse_submit(recorded("slurm", case), spec()).id.isdecimal()


@pytest.mark.parametrize(
    "text",
    ["123\n", "123;cluster\n", "123", "Welcome!\n\n123;c1\n", "lua: your job was moved to 7 nodes\n123\n"],
)
def test_an_id_among_the_lines_of_site_plugins(text):
    assert PLUGIN.parse_submit(Output(("sbatch",), 0, text), spec()).id == "123"


@pytest.mark.parametrize("text", ["", "\n", "Submitted batch job 19\n", "12\n13\n", "1.5\n", "abc\n", "\ufffd\n"])
def test_anything_else_is_no_id(text):
    with pytest.raises(UnexpectedOutputError) as caught:
        PLUGIN.parse_submit(Output(("sbatch", "--parsable"), 0, text, "warning"), spec())
    assert caught.value.stdout == text
    assert caught.value.stderr == "warning"
    assert "job id like 123" in str(caught.value)


# -- status ----------------------------------------------------------------------------


def test_one_question_for_all_elements():
    command = PLUGIN.status_command(["20_1", "20_2", "46_7", "18"])
    assert command.argv == (*("squeue", "-h", "-r", "-t", "all", "-j", "20,46,18"), "-o", "%i|%T|%r|%N")
    assert recorded("slurm", "status-several.squeue").argv[:6] == command.argv[:6]


STATUS = {
    "infeasible-nodes": {"56": S.PENDING},
    "infeasible-tasks": {"55": S.PENDING},
    "infeasible-time": {"57": S.PENDING},
    "status-array-after-element-cancel": {
        **{f"20_{i}": S.CANCELLED for i in range(3, 8)},
        **dict.fromkeys(("20_1", "20_2", "20_8"), S.RUNNING),
    },
    "status-array-limit-cancelled": {f"22_{i}": S.CANCELLED for i in range(1, 9)},
    "status-array-mixed": {
        "46_1": S.COMPLETED,
        "46_2": S.FAILED,
        **dict.fromkeys(("46_3", "46_4", "46_5"), S.RUNNING),
        **dict.fromkeys(("46_6", "46_7", "46_8"), S.PENDING),
    },
    "status-array-partial": {**{f"22_{i}": S.RUNNING for i in (1, 2)}, **{f"22_{i}": S.PENDING for i in range(3, 9)}},
    "status-array-running": {f"20_{i}": S.RUNNING for i in range(1, 9)},
    "status-cancelled-array": {f"21_{i}": S.CANCELLED for i in range(1, 9)},
    "status-cancelled-pending": {"42": S.CANCELLED},
    "status-cancelled-running": {"19": S.CANCELLED},
    "status-completing": {"53": S.COMPLETING},
    "status-dependency-never": {"52": S.PENDING},
    "status-element": {"20_3": S.RUNNING},
    "status-failed": {"45": S.FAILED},
    "status-finished": {"44": S.COMPLETED},
    "status-held": {"43": S.PENDING},
    "status-mixed-known-unknown": {"18": S.RUNNING, "19": S.RUNNING},
    "status-none": {},
    "status-pending": {"42": S.PENDING},
    "status-pending-resources": {"71": S.PENDING},
    "status-running": {"18": S.RUNNING},
    "status-several": {
        **{f"22_{i}": S.PENDING for i in range(3, 9)},
        **dict.fromkeys(("18", "19", "22_1", "22_2"), S.RUNNING),
    },
    "status-timeout": {"17": S.TIMEOUT},
    "status-unknown": {},
}


@pytest.mark.parametrize("case", STATUS)
def test_recorded_states(case):
    assert states(f"{case}.squeue") == STATUS[case]


def test_no_recorded_state_is_left_out():
    names = {name.removesuffix(".squeue") for name in cases("slurm", "*.squeue")}
    assert names - set(STATUS) == {"auth-down", "server-down", "status-bad-id", "version"}


def test_grouped_lines_are_taken_apart():
    assert states("status-array-partial.squeue-grouped") == states("status-array-partial.squeue")


@pytest.mark.parametrize("text", ["9_[3,5-6%2]", "9_[3,5-6]"])
def test_groups_of_ranges(text):
    assert set(PLUGIN.parse_status(Output(("squeue",), 0, f"{text}|PENDING|None|\n"))) == {"9_3", "9_5", "9_6"}


@pytest.mark.parametrize(
    ("case", "key", "expected"),
    [
        ("status-running", "18", ("", "hpc1", "")),
        ("status-pending", "42", ("Priority", "", "other jobs come first")),
        ("status-failed", "45", ("NonZeroExitCode", "hpc1", "its script ended with an error")),
        ("status-held", "43", ("JobHeldUser", "", "held by its user: scontrol release JOB lets it go")),
    ],
)
def test_the_reason_and_the_node_are_told(case, key, expected):
    status = PLUGIN.parse_status(recorded("slurm", f"{case}.squeue"))[key]
    assert (status.reason, status.node, status.explanation) == expected
    assert (status.exit_code, status.signal) == (None, 0)


@pytest.mark.parametrize("case", ["infeasible-nodes", "infeasible-time", "status-dependency-never"])
def test_a_job_that_will_never_start_is_told_so(case):
    (status,) = PLUGIN.parse_status(recorded("slurm", f"{case}.squeue")).values()
    assert "never start" in status.explanation


def test_words_that_we_do_not_know_change_nothing():
    text = "7_1|FROBNICATING|None|n1\n7_2|CANCELLED by 1003|None|n1\n7_3|RUNNING|a|b|n2\n"
    found = PLUGIN.parse_status(Output(("squeue",), 0, text))
    assert found["7_1"] == JobStatus(S.UNKNOWN, "FROBNICATING", "n1")
    assert found["7_1"].state.is_active
    assert found["7_2"].state is S.CANCELLED
    assert (found["7_3"].reason, found["7_3"].node) == ("a|b", "n2")


@pytest.mark.parametrize("text", ["squeue: Warnung\n", "\ufffd\ufffd\n", "Bienvenue!\nau revoir\n"])
def test_text_without_any_job_is_no_answer(text):
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(Output(("squeue",), 0, text))
    assert caught.value.transient


def test_lines_of_others_among_the_answer_are_passed_over():
    assert set(PLUGIN.parse_status(Output(("squeue",), 0, "Welcome\n7_1|RUNNING|None|n1\n"))) == {"7_1"}


@pytest.mark.parametrize("case", ["server-down.squeue", "auth-down.squeue"])
def test_an_unreachable_system_has_not_lost_the_jobs(case):
    for parse in (PLUGIN.parse_status, PLUGIN.parse_find):
        with pytest.raises(StatusError) as caught:
            parse(recorded("slurm", case))
        assert caught.value.transient
        assert caught.value.exit_code == 1


def test_a_wrong_id_is_our_mistake_and_not_worth_another_try():
    with pytest.raises(StatusError, match="Invalid job id: abc") as caught:
        PLUGIN.parse_status(recorded("slurm", "status-bad-id.squeue"))
    assert not caught.value.transient


# -- cancel ----------------------------------------------------------------------------


def test_one_command_cancels_all():
    assert PLUGIN.cancel_command(["21"]).argv == recorded("slurm", "cancel-array").argv
    assert PLUGIN.cancel_command(["20_3"]).argv == recorded("slurm", "cancel-element").argv
    assert PLUGIN.cancel_command(["19", "20_6"]).argv == recorded("slurm", "cancel-several").argv


@pytest.mark.parametrize("case", ["cancel-finished", "cancel-unknown", "cancel-mixed-known-unknown", "cancel-range"])
def test_what_is_gone_is_no_error_for_scancel(case):
    assert recorded("slurm", case).exit_code == 0


@pytest.mark.parametrize(
    ("case", "transient"), [("cancel-bad-id", False), ("server-down.cancel", True), ("auth-down.cancel", True)]
)
def test_cancelling_that_failed(case, transient):
    assert PLUGIN.explain_failure(recorded("slurm", case)).transient is transient


# -- history ---------------------------------------------------------------------------


def test_the_accounting_database_is_asked_first():
    sacct, scontrol = PLUGIN.history_commands("46_2")
    assert sacct.argv[:6] == ("sacct", "-n", "-P", "-X", "-j", "46_2")
    assert scontrol.argv == ("scontrol", "-o", "show", "job", "46_2")
    assert isinstance(PLUGIN, Historian)


HISTORY = {
    "status-failed": JobStatus(S.FAILED, "NonZeroExitCode", "hpc1", 3, 0, "its script ended with an error"),
    "status-finished": JobStatus(S.COMPLETED, "", "hpc1", 0),
    "status-timeout": JobStatus(S.TIMEOUT, "TimeLimit", "hpc1", 0, 15, "its walltime was over"),
    "status-cancelled-running": JobStatus(S.CANCELLED, "", "hpc1", 0, 15),
    "status-cancelled-pending": JobStatus(S.CANCELLED, "Priority", "", 0, 0, "other jobs come first"),
    "status-completing": JobStatus(S.COMPLETING, "", "hpc2", 0),
    "status-element": JobStatus(S.RUNNING, "", "hpc1", 0),
}


@pytest.mark.parametrize("case", HISTORY)
def test_recorded_history(case):
    assert PLUGIN.parse_history(recorded("slurm", f"{case}.scontrol")) == HISTORY[case]


@pytest.mark.parametrize("case", ["sacct-disabled", "status-unknown.scontrol", "server-down.scontrol"])
def test_no_history_is_normal(case):
    assert PLUGIN.parse_history(recorded("slurm", case)) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("OUT_OF_MEMORY|0:125|node7", JobStatus(S.OUT_OF_MEMORY, "", "node7", 0, 125)),
        ("CANCELLED by 1003|0:15|node7", JobStatus(S.CANCELLED, "", "node7", 0, 15)),
        ("CANCELLED+|0:0|None assigned", JobStatus(S.CANCELLED, "", "", 0)),
        ("NODE_FAIL|1:0|node7", JobStatus(S.NODE_FAIL, "", "node7", 1)),
        ("FAILED|9:0|a\nFAILED|3:0|b", JobStatus(S.FAILED, "", "b", 3)),
        ("", None),
        ("|0:0|", None),
        ("nonsense", None),
        ("FAILED|x|y", None),
    ],
)
def test_lines_of_sacct(line, expected):
    assert PLUGIN.parse_history(Output(("sacct",), 0, f"{line}\n")) == expected


# -- find ------------------------------------------------------------------------------


def test_jobs_are_found_by_name():
    assert isinstance(PLUGIN, Finder)
    argv = PLUGIN.find_command("dl-sweep-1").argv
    assert argv[:-2] == ("squeue", "-h", "-r", "-t", "all", "--me", "-n", "dl-sweep-1")
    found = PLUGIN.parse_find(recorded("slurm", "status-several.squeue"))
    assert found == [JobArray("22", {i: f"22_{i}" for i in (3, 4, 5, 6, 7, 8, 1, 2)})]
    assert PLUGIN.parse_find(recorded("slurm", "status-none.squeue")) == []


# -- failures --------------------------------------------------------------------------

ERRORS = {
    "error-array-too-large": (False, "--array"),
    "error-bad-array": (False, "--array"),
    "error-bad-constraint": (False, "--constraint"),
    "error-bad-memory": (False, "--mem"),
    "error-bad-nodelist": (False, "--nodelist"),
    "error-bad-option": (False, "--frobnicate"),
    "error-bad-resource": (False, "--gres"),
    "error-bad-time": (False, "--time"),
    "error-missing-script": (False, ""),
    "error-no-shebang": (False, ""),
    "error-unknown-partition": (False, "--partition"),
    "infeasible-tasks.test-only": (False, ""),
    "server-down.submit": (True, ""),
    "auth-down.submit": (True, ""),
}


@pytest.mark.parametrize("case", ERRORS)
def test_recorded_refusals(case):
    output = recorded("slurm", case)
    failure = PLUGIN.explain_failure(output)
    assert (failure.transient, failure.option) == ERRORS[case]
    assert output.stderr.strip() in failure.text


def test_no_recorded_refusal_is_left_out():
    assert {*cases("slurm", "error-*"), *cases("slurm", "*-down.submit")} <= set(ERRORS)


@pytest.mark.parametrize(
    ("text", "transient", "option"),
    [
        ("sbatch: error: slurm_receive_msg: Socket timed out on send/recv operation", True, ""),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", True, ""),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True, ""),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", True, ""),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: x", True, ""),
        ("Batch job submission failed: Invalid account or account/partition combination specified", False, "--account"),
        ("Batch job submission failed: Requested time limit is invalid (missing or exceeds some)", False, "--time"),
        ("Batch job submission failed: User's group not permitted to use this partition", False, "--partition"),
        ("Batch job submission failed: Invalid qos specification", False, "--qos"),
        ("Batch job submission failed: Memory specification can not be satisfied", False, "--mem"),
        ("Batch job submission failed: Access/permission denied", False, ""),
        ("sbatch: invalid option -- 'Q'", False, "Q"),
        ("Batch job submission failed: something quite new", False, ""),
    ],
)
def test_failures_that_were_not_recorded(text, transient, option):
    failure = PLUGIN.explain_failure(Output(("sbatch",), 1, "", text))
    assert (failure.transient, failure.option) == (transient, option)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sbatch: error: invalid partition specified: nope", "#SBATCH --partition=nope"),
        ("sbatch: error: Invalid --mem specification", "#SBATCH --mem=1024M"),
        ("sbatch: invalid option -- 'Q'", "#SBATCH -Q 5"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "#SBATCH -C gpu"),
        ("sbatch: unrecognized option '--frobnicate'", "#SBATCH --frobnicate"),
    ],
)
def test_the_line_at_fault_is_found(text, line):
    wanted = spec(queue="nope", memory=2**30, directives=("-C gpu", "--frobnicate", "-Q 5"))
    script = render_jobscript(PLUGIN, wanted, [])
    blame = blame_line(PLUGIN, PLUGIN.explain_failure(Output(("sbatch",), 1, "", text)), script)
    assert blame.endswith(f": {line}")
    assert script.splitlines()[int(blame.split()[1]) - 1] == line


def test_no_line_is_blamed_for_what_no_line_says():
    script = render_jobscript(PLUGIN, spec(), [])
    for text in ("sbatch: error: invalid partition specified: nope", "something quite new"):
        assert blame_line(PLUGIN, PLUGIN.explain_failure(Output(("sbatch",), 1, "", text)), script) == ""


# -- context ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (90.0, "0-00:01:30"),
        (3600.0, "0-01:00:00"),
        (93784.0, "1-02:03:04"),
        (0.5, "0-00:00:01"),
        (864e3, "10-00:00:00"),
    ],
)
def test_walltime_has_every_part(seconds, text):
    assert PLUGIN.context(spec(walltime_s=seconds))["walltime"] == text


def test_memory_is_rounded_up_to_whole_mebibytes():
    assert PLUGIN.context(spec(memory=10**9))["memory_mib"] == 954
    assert PLUGIN.context(spec(memory=2**20))["memory_mib"] == 1
    assert PLUGIN.context(spec())["memory_mib"] is None


def test_a_percent_sign_in_the_log_folder_is_no_placeholder():
    assert PLUGIN.context(spec(log_dir=PurePosixPath("/a%j/b")))["log"] == "/a%%j/b/sweep.%a.log"
