"""What LSF prints, read."""

import pytest
from dlaunch_lsf.lsf import LsfPlugin

from launchers.errors import StatusError
from launchers.jobs import JobState
from launchers.protocol import Output

PLUGIN = LsfPlugin()


def bjobs(exit_code, stdout="", stderr=""):
    return PLUGIN.parse_status(Output(("bjobs",), exit_code, stdout, stderr))


def test_states():
    found = bjobs(0, "77|1|RUN|-\n77|2|EXIT|3\n77|3|ZOMBI|-\n")
    assert {key: status.state for key, status in found.items()} == {
        "77[1]": JobState.RUNNING,
        "77[2]": JobState.FAILED,
        "77[3]": JobState.UNKNOWN,
    }
    assert found["77[2]"].exit_code == 3


def test_a_job_that_is_gone_and_a_system_that_is_down():
    assert bjobs(255, "", "Job <77> is not found\n") == {}
    assert list(bjobs(255, "78|1|RUN|-\n", "Job <77> is not found\n")) == ["78[1]"]
    with pytest.raises(StatusError) as caught:
        bjobs(255, "", "LSF is down. Please wait ...\n")
    assert caught.value.transient


def test_what_has_ended_is_harmless_to_cancel():
    gone = "Job <77>: Job has already finished\n"
    assert PLUGIN.explain_failure(Output(("bkill",), 255, "", gone)).harmless
    assert not PLUGIN.explain_failure(Output(("bkill",), 255, "", f"{gone}User permission denied\n")).harmless
