"""The Grid Engine plugin over the outputs that a real Grid Engine printed."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.jobscript import blame_line, check_directives, render_jobscript
from launchers.protocol import Configurable, Finder, Inspector, LateHistorian, Output
from launchers.sge import SgePlugin
from tests.recorded import cases, recorded

S = JobState
PLUGIN = SgePlugin()


def spec(**changes) -> JobSpec:
    values = {"name": "sweep", "job_name": "sweep-1", "command": ("worker",), "log_dir": PurePosixPath("/logs")}
    return JobSpec(**{**values, **changes})


def states(case: str) -> dict[str, JobState]:
    return {key: status.state for key, status in PLUGIN.parse_status(recorded("sge", case)).items()}


def directives(wanted: JobSpec) -> list[str]:
    return [line for line in render_jobscript(PLUGIN, wanted, []).splitlines() if line.startswith("#$")]


# -- submit ----------------------------------------------------------------------------


def test_one_submission_is_one_command_with_the_script_on_stdin():
    command = PLUGIN.submit_command("#!/bin/sh\n", spec(last=64))
    assert command.argv == ("qsub", "-terse", "-t", "1-64")
    assert command.stdin == "#!/bin/sh\n"
    assert command.env == {"LC_ALL": "C"}


def test_the_surrounding_job_does_not_leak_into_ours():
    dropped = PLUGIN.submit_command("", spec()).drop
    assert {"SGE_TASK_*", "JOB_*", "NSLOTS", "PE", "DLAUNCH_*"} <= set(dropped)
    assert not {"SGE_*", "SGE_ROOT", "SGE_CELL", "SGE_CLUSTER_NAME"} & set(dropped), "these find the cluster"


@pytest.mark.parametrize(
    ("case", "number"), [("submit-array.terse", "3"), ("submit-array-limit.terse", "5"), ("submit-array.plain", "4")]
)
def test_recorded_submissions(case, number):
    array = PLUGIN.parse_submit(recorded("sge", case), spec(last=8))
    assert array == JobArray(number, {index: f"{number}.{index}" for index in range(1, 9)})


@pytest.mark.parametrize(
    "text",
    [
        "Welcome to the cluster\n7.1-2:1\nYour quota is 80% used\n",
        'Your job-array 7.1-2:1 ("sweep") has been submitted\n',
        "7.1-2:1",
        "\u00fc\ufffd\n7.1-2:1\n",
    ],
)
def test_the_id_is_found_among_lines_of_the_site(text):
    assert PLUGIN.parse_submit(Output(("qsub",), 0, text), spec(last=2)).id == "7"


@pytest.mark.parametrize("text", ["", "\n", "7\n", "job 7.1-2:1 is there\n", "7.1-2:1\n8.1-2:1\n", "123.server\n"])
def test_anything_else_is_no_id(text):
    with pytest.raises(UnexpectedOutputError, match=r"5\.1-8:1"):
        PLUGIN.parse_submit(Output(("qsub",), 0, text), spec(last=2))


@pytest.mark.parametrize(
    ("usage", "is_ours"),
    [
        (recorded("sge", "version").stdout, True),
        ("usage: qsub [-a date_time] [-A account_string] [-t array]", False),
        ("", True),
    ],
)
def test_the_qsub_of_another_system_is_noticed(usage, is_ours):
    assert isinstance(PLUGIN, Inspector)
    assert PLUGIN.inspect_command().argv == ("qsub", "-help")
    said = PLUGIN.parse_inspection(Output(("qsub",), 2, "", usage))
    assert said == "" if is_ours else "dlaunch torque" in said


# -- status ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("status-none.qstat-xml", {}),
        ("status-running.qstat-xml", {}),  # no array, so no job of ours
        ("status-array-running.qstat-xml", {f"3.{i}": S.RUNNING for i in range(1, 9)}),
        ("status-array-running.qstat-gd-xml", {f"3.{i}": S.RUNNING for i in range(1, 9)}),
        ("status-array-partial.qstat-xml", {f"5.{i}": S.RUNNING if i < 3 else S.PENDING for i in range(1, 9)}),
        ("status-array-partial.qstat-gd-xml", {f"5.{i}": S.RUNNING if i < 3 else S.PENDING for i in range(1, 9)}),
        ("status-error-array.qstat-xml", {f"64.{i}": S.STUCK for i in (3, 4, 5)}),
    ],
)
def test_recorded_states(case, expected):
    assert states(case) == expected


def test_a_cancelled_element_is_not_listed():
    assert "3.3" not in states("status-array-after-element-cancel.qstat-xml")
    assert states("status-array-after-element-cancel.qstat-xml")["3.2"] is S.RUNNING


def listed(word: str, tasks: str = "3") -> Output:
    entry = f"<job_list><JB_job_number>7</JB_job_number><state>{word}</state><tasks>{tasks}</tasks>"
    return Output(("qstat", "-xml"), 0, f"<job_info>{entry}<queue_name>main.q@n1</queue_name></job_list></job_info>")


@pytest.mark.parametrize(
    ("word", "state", "said"),
    [
        ("qw", S.PENDING, ""),
        ("hqw", S.PENDING, "held"),
        ("r", S.RUNNING, ""),
        ("t", S.RUNNING, ""),
        ("Rr", S.RUNNING, ""),
        ("Rq", S.PENDING, "will run again"),
        ("s", S.RUNNING, "suspended"),
        ("dr", S.COMPLETING, ""),
        ("dt", S.COMPLETING, ""),
        ("Eqw", S.STUCK, "error state"),
        ("Ehqw", S.STUCK, "error state"),
        ("z", S.GONE, ""),
        ("quite new", S.UNKNOWN, ""),
        ("", S.UNKNOWN, ""),
    ],
)
def test_every_state_has_a_meaning(word, state, said):
    status = PLUGIN.parse_status(listed(word))["7.3"]
    assert status.state is state
    assert said in status.explanation
    assert status.node == "n1"


@pytest.mark.parametrize(
    ("tasks", "numbers"), [("3", [3]), ("2,3", [2, 3]), ("5-8:1", [5, 6, 7, 8]), ("1,4-8:2", [1, 4, 6, 8]), ("", [])]
)
def test_elements_in_one_state_share_an_entry(tasks, numbers):
    assert list(PLUGIN.parse_status(listed("qw", tasks))) == [f"7.{number}" for number in numbers]


@pytest.mark.parametrize("case", ["server-down.qstat-xml", "server-down.qstat-gd-xml"])
def test_a_master_that_is_down_has_lost_no_job(case):
    with pytest.raises(StatusError, match="unable to send message") as caught:
        PLUGIN.parse_status(recorded("sge", case))
    assert caught.value.transient


@pytest.mark.parametrize("text", ["", "Welcome\n", "<html></html>", "<job_info>", "\ufffd"])
def test_what_is_no_list_says_nothing_about_jobs(text):
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(Output(("qstat", "-xml"), 0, text))
    assert caught.value.transient


# -- cancel ----------------------------------------------------------------------------


def test_one_command_cancels_arrays_and_elements():
    assert PLUGIN.cancel_command(["5", "7.3"]).argv == ("qdel", "5", "7.3")


@pytest.mark.parametrize("case", [name for name in cases("sge", "cancel-*") if recorded("sge", name).exit_code])
def test_what_is_gone_already_is_no_harm(case):
    assert PLUGIN.explain_failure(recorded("sge", case)).harmless


@pytest.mark.parametrize(
    ("text", "transient"),
    [
        ('denied: job "7" does not exist\ngot send error\n', True),
        (
            'denied: job "7" does not exist\nbob - you do not have the necessary privileges to delete the job "8"\n',
            False,
        ),
        ("", False),
    ],
)
def test_other_trouble_beside_it_counts(text, transient):
    failure = PLUGIN.explain_failure(Output(("qdel", "7", "8"), 1, text))
    assert not failure.harmless
    assert failure.transient == transient


def test_a_master_that_is_down_cancels_later():
    failure = PLUGIN.explain_failure(recorded("sge", "server-down.cancel"))
    assert (failure.transient, failure.harmless) == (True, False)


# -- history ---------------------------------------------------------------------------


def test_the_error_of_the_queue_is_asked_for_first():
    assert isinstance(PLUGIN, LateHistorian)
    argvs = [command.argv for command in PLUGIN.history_commands("5.3")]
    assert argvs == [("qstat", "-j", "5.3", "-xml"), ("qacct", "-j", "5", "-t", "3")]


def test_an_error_state_tells_its_reason():
    status = PLUGIN.parse_history(recorded("sge", "status-error-array.qstat-j-xml"))
    text = 'can\'t open output file "/no/such/x.4": No such file or directory'
    assert status == JobStatus(S.STUCK, "Eqw", explanation=text)


@pytest.mark.parametrize(
    "case",
    [
        "status-running.qstat-j-xml",
        "status-unknown.qstat-j-xml",
        "status-unknown.qacct",
        "status-running.qacct",
        "status-array-task-unknown.qacct",
        "status-no-accounting-file.qacct",
        "server-down.qstat-j",
    ],
)
def test_who_knows_nothing_says_nothing(case):
    assert PLUGIN.parse_history(recorded("sge", case)) is None


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("status-finished.qacct", (S.COMPLETED, 0, 0)),
        ("status-failed.qacct", (S.FAILED, 3, 0)),
        ("status-timeout.qacct", (S.TIMEOUT, None, 0)),
        ("status-cancelled-running.qacct", (S.FAILED, None, 9)),  # or a kernel that ran out of memory
        ("status-cancelled-notified.qacct", (S.CANCELLED, 140, 12)),
        ("status-error-array.qacct", (S.FAILED, None, 0)),
    ],
)
def test_recorded_ends(case, expected):
    status = PLUGIN.parse_history(recorded("sge", case))
    assert (status.state, status.exit_code, status.signal) == expected
    assert status.node in ("vm", "hpc1", "hpc2", "hpc3", "hpc4")


@pytest.mark.parametrize(
    ("failed", "code", "state"),
    [
        ("100 : assumedly after job", 140, S.CANCELLED),
        ("100 : assumedly after job", 139, S.FAILED),
        ("37  : qmaster enforced h_rt", 140, S.TIMEOUT),
        ("25  : rescheduling", 0, S.PREEMPTED),
        ("21  : in recognizing job", 0, S.NODE_FAIL),
        ("8   : in prolog", 1, S.FAILED),
        ("28  : changing into working directory", 0, S.FAILED),
        ("77  : something quite new", 0, S.FAILED),
    ],
)
def test_numbers_of_the_accounting(failed, code, state):
    text = f"=====\nhostname     n1\nfailed       {failed}\nexit_status  {code}\n"
    status = PLUGIN.parse_history(Output(("qacct",), 0, text))
    assert status.state is state
    assert "something quite new" not in failed or "something quite new" in status.describe()


# -- find ------------------------------------------------------------------------------


def test_jobs_are_found_by_name():
    assert isinstance(PLUGIN, Finder)
    assert PLUGIN.find_command("sweep-1").argv == ("qstat", "-j", "sweep-1", "-xml")
    found = PLUGIN.parse_find(recorded("sge", "find-array.qstat-j-xml"))
    assert found == [JobArray("64", {i: f"64.{i}" for i in (3, 4, 5)})]
    assert PLUGIN.parse_find(recorded("sge", "find-unknown.qstat-j-xml")) == []
    with pytest.raises(StatusError):
        PLUGIN.parse_find(recorded("sge", "server-down.qstat-j"))


def test_a_name_does_not_begin_with_a_digit():
    assert "#$ -N dl-2nd-1" in directives(spec(job_name="2nd-1"))
    assert PLUGIN.find_command("2nd-1").argv[2] == "dl-2nd-1"
    assert "#$ -N second-1" in directives(spec(job_name="second-1"))


# -- failures --------------------------------------------------------------------------

ERRORS = {
    "error-array-too-large": (False, "-t"),
    "error-bad-array": (False, "-t"),
    "error-bad-name": (False, ""),
    "error-bad-option": (False, "-frobnicate"),
    "error-bad-resource": (False, "-l foo"),
    "error-bad-time": (False, "-l h_rt"),
    "error-infeasible": (False, ""),
    "error-missing-script": (False, ""),
    "error-root-refused": (False, ""),
    "error-unknown-pe": (False, "-pe"),
    "error-unknown-project": (False, "-P"),
    "error-unknown-queue": (False, "-q"),
    "server-down.submit": (True, ""),
}


@pytest.mark.parametrize("case", ERRORS)
def test_recorded_refusals(case):
    output = recorded("sge", case)
    failure = PLUGIN.explain_failure(output)
    assert (failure.transient, failure.option) == ERRORS[case]
    assert output.stderr.strip() in failure.text


@pytest.mark.parametrize(
    ("text", "uncertain"),
    [
        ("error: commlib error: got read error (closing connection)", True),
        ("Unable to run job: can't get response from qmaster", True),
        ("error: commlib error: got select error (Connection refused)", False),
        ('Unable to run job: unknown resource "timeout"', False),
    ],
)
def test_after_a_lost_answer_nobody_knows_whether_the_jobs_are_there(text, uncertain):
    assert PLUGIN.explain_failure(Output(("qsub",), 1, "", text)).uncertain == uncertain


def test_no_recorded_refusal_is_left_out():
    assert {*cases("sge", "error-*"), *cases("sge", "*-down.submit")} <= set(ERRORS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('job requests unknown queue "nope.q"', "#$ -q nope.q"),
        ('the requested parallel environment "smp" does not exist', "#$ -pe smp 4"),
        ('unknown resource "gpu"', "#$ -l gpu=1,ssd=1"),
        ('unknown resource "ssd"', "#$ -l gpu=1,ssd=1"),
        ('attribute "h_rt" is not a time value', "#$ -l h_rt=60"),
    ],
)
def test_the_line_at_fault_is_found(text, line):
    wanted = spec(queue="nope.q", nthreads=4, walltime_s=60.0, directives=("-l gpu=1,ssd=1",))
    script = render_jobscript(PLUGIN, wanted, [])
    failure = PLUGIN.explain_failure(Output(("qsub",), 1, "", f"Unable to run job: {text}\nExiting.\n"))
    assert blame_line(PLUGIN, failure, script).endswith(f": {line}")


# -- the script ------------------------------------------------------------------------


def test_a_parallel_environment_only_where_a_job_needs_several_cpus():
    assert not any(line.startswith("#$ -pe") for line in directives(spec()))
    assert "#$ -pe smp 6" in directives(spec(nthreads=3, workers_per_job=2))
    assert "#$ -pe shm 6" in directives(spec(nthreads=3, workers_per_job=2, own={"pe": "shm"}))


@pytest.mark.parametrize(
    ("resource", "lines"),
    [
        (None, ["#$ -l mem_free=4096M"]),
        ("h_vmem", ["#$ -l h_vmem=1024M"]),
        ("h_vmem/slot,mem_free/job", ["#$ -l h_vmem=1024M", "#$ -l mem_free=4096M"]),
    ],
)
def test_memory_by_the_sites_resource(resource, lines):
    own = {"mem-resource": resource} if resource else {}
    wanted = spec(memory=4 * 2**30, nthreads=4, own=own)
    assert [line for line in directives(wanted) if " -l " in line] == lines


@pytest.mark.parametrize(("key", "value"), [("mem-resource", "1x"), ("mem-resource", "a/b"), ("pe", "two words")])
def test_options_of_its_own_are_checked(key, value):
    assert isinstance(PLUGIN, Configurable)
    option = next(option for option in PLUGIN.options if option.key == key)
    with pytest.raises(ValueError, match=value):
        option.parse(value)


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ("-l h_rt=99", "-l h_rt"),
        ("-l ssd=1,h_rt=99", "-l h_rt"),
        ("-l h_vmem=1G", "-l mem_free"),
        ("-wd /scratch", "-cwd"),
        ("-pe mpi 8", "-pe smp"),
        ("-o /mine/$TASK_ID", "-o /logs"),
    ],
)
def test_a_users_line_wins_over_ours(given, gone):
    wanted = spec(nthreads=2, walltime_s=60.0, memory=2**30, directives=(given,))
    lines = directives(wanted)
    assert f"#$ {given}" in lines
    ours = [line for line in lines if line != f"#$ {given}"]
    assert not any(line.startswith(f"#$ {gone}") for line in ours)
    assert len(ours) == len(directives(spec(nthreads=2, walltime_s=60.0, memory=2**30))) - 1


def test_lines_that_would_take_the_jobs_out_of_our_hands_are_refused():
    for line in ("-t 1-5", "-N mine", "-terse", "-sync y", "#$ -t 9"):
        with pytest.raises(ValueError, match="out of our hands"):
            check_directives(PLUGIN, [line])


@pytest.mark.parametrize("folder", ["/it's", '/"x"', "/$HOME/x", "/a:b", "/a,b", "/a#b", "/back\\slash"])
def test_the_shell_opens_a_log_that_no_directive_can_name(folder):
    lines = render_jobscript(PLUGIN, spec(log_dir=PurePosixPath(folder)), []).splitlines()
    assert "#$ -o /dev/null" in lines
    assert any(line.startswith("exec >>") for line in lines)


def test_a_folder_with_blanks_is_in_quotes():
    assert '#$ -o "/my logs/sweep.$TASK_ID.log"' in directives(spec(log_dir=PurePosixPath("/my logs")))


@pytest.mark.parametrize(
    "changes",
    [
        {"prologue": ("true\n#$ -q evil.q",)},
        {"prologue": ("#$ -q evil.q",)},
        {"env": {"A": "x\n#$ -q evil.q"}},
        {"queue": "it's"},
        {"account": '"lab"'},
    ],
)
def test_text_that_would_become_a_directive_is_refused(changes):
    with pytest.raises(ValueError, match="directive"):
        PLUGIN.context(spec(**changes))


def test_a_value_that_only_looks_like_one_is_taken():
    PLUGIN.context(spec(env={"A": "#$ -q x"}, prologue=("echo '#$'",)))
