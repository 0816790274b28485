from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from launchers.drmaa_words import REFUSED, UNUSABLE
from launchers.errors import StatusError, UnexpectedOutputError
from launchers.jobs import JobArray, JobSpec, JobState
from launchers.jobscript import blame_line, render_jobscript
from launchers.protocol import Finder, Historian, Output
from launchers.sge import SgePlugin
from launchers.sge_drmaa import SgeDrmaaPlugin

PLUGIN = SgeDrmaaPlugin()
SPEC = JobSpec(
    "sweep",
    "sweep-1",
    ("worker",),
    PurePosixPath("/logs"),
    last=2,
    queue="nope.q",
    script_file=PurePosixPath("/home/ada/.dlaunch/sweep/jobscript.sh"),
)
SCRIPT = render_jobscript(PLUGIN, SPEC, [])
SUBMIT = PLUGIN.submit_command(SCRIPT, SPEC)


def test_it_is_grid_engine_with_the_same_script_and_options():
    assert render_jobscript(SgePlugin(), SPEC, []) == SCRIPT
    assert (PLUGIN.name, PLUGIN.options) == (SgePlugin.name, SgePlugin.options)
    assert isinstance(PLUGIN, Historian)
    assert isinstance(PLUGIN, Finder)


def test_the_directives_in_the_script_count():
    assert json.loads(SUBMIT.stdin)["attributes"] == {
        "remoteCommand": "/home/ada/.dlaunch/sweep/jobscript.sh",
        "nativeSpecification": "-b n -w n",
    }
    assert {"SGE_TASK_*", "JOB_*", "NSLOTS"} <= set(SUBMIT.drop)
    assert SUBMIT.env["LC_ALL"] == "C"


def test_a_users_own_word_about_checking_wins():
    spec = JobSpec("s", "s-1", ("w",), PurePosixPath("/logs"), directives=("-w e",))
    assert json.loads(PLUGIN.submit_command("", spec).stdin)["attributes"]["nativeSpecification"] == "-b n"


def test_places_where_the_library_may_be():
    variables = json.loads(SUBMIT.stdin)["variables"]
    assert list(variables) == ["SGE_ROOT", "DRMAA_LIBRARY_PATH"], "the second needs the first"


def test_ids_are_those_of_the_commands():
    array = PLUGIN.parse_submit(Output(SUBMIT.argv, 0, '{"ids": ["5.1", "5.2"]}'), SPEC)
    assert array == JobArray("5", {1: "5.1", 2: "5.2"})
    assert json.loads(PLUGIN.cancel_command(["5", "6.1"]).stdin)["ids"] == ["5", "6.1"]


def test_elements_of_two_arrays_are_no_array():
    with pytest.raises(UnexpectedOutputError, match="elements of one job array"):
        PLUGIN.parse_submit(Output(SUBMIT.argv, 0, '{"ids": ["5.1", "6.2"]}'), SPEC)


def test_how_jobs_ended_is_left_to_the_accounting():
    text = '{"states": {"5.1": "running", "5.2": "failed", "5.3": "done", "5.4": "user_on_hold"}}'
    found = PLUGIN.parse_status(Output(PLUGIN.status_command(["5.1"]).argv, 0, text))
    assert {key: status.state for key, status in found.items()} == {"5.1": JobState.RUNNING, "5.4": JobState.PENDING}
    assert [command.argv[0] for command in PLUGIN.history_commands("5.2")] == ["qstat", "qacct"]


def test_a_refusal_leads_to_the_line():
    said = 'Job was rejected because job requests unknown queue "nope.q"'
    failure = PLUGIN.explain_failure(Output(SUBMIT.argv, REFUSED, '{"error": "DeniedByDrmException"}\n', f"{said}\n"))
    assert failure.text == f"{said}\nqconf -sql lists the queues"
    assert not failure.transient
    assert blame_line(PLUGIN, failure, SCRIPT).endswith("of the jobscript: #$ -q nope.q")


def test_an_outage_passes():
    said = 'unable to send message to qmaster using port 6444 on host "hpc0": got send error'
    argv = PLUGIN.status_command(["5.1"]).argv
    with pytest.raises(StatusError) as caught:
        PLUGIN.parse_status(Output(argv, REFUSED, '{"error": "DrmCommunicationException"}\n', said))
    assert caught.value.transient


def test_commands_are_explained_as_ever():
    output = Output(("qstat", "-xml"), 1, "", "error: commlib error: got select error (Connection refused)\n")
    assert PLUGIN.explain_failure(output) == SgePlugin().explain_failure(output)


def test_what_is_missing_is_told():
    assert PLUGIN.inspect_command().argv[-1] == "check"
    assert PLUGIN.parse_inspection(Output((), UNUSABLE, "", "set it\n")) == "set it"
    assert PLUGIN.parse_inspection(Output((), 0, '{"library": ""}')) == ""
