from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, UnexpectedOutputError
from launchers.hosts import Host, parse_hosts
from launchers.jobs import JobArray, JobSpec, JobState, JobStatus
from launchers.protocol import Configurable, Finder, Historian, Output, Placer
from launchers.ssh import SshPlugin, ssh_argv

PLUGIN = SshPlugin()
SCRIPT = "#!/bin/bash\n#SSH -T\n#SSH -o 'User=a b'\necho '#SSH -v'\n"


def spec(hosts: str = "n[1-3]", **changes) -> JobSpec:
    own = {"hosts": tuple(parse_hosts([hosts])), **changes.pop("own", {})}
    values = {"name": "c", "job_name": "c-1", "command": ("true",), "log_dir": PurePosixPath("/logs"), "own": own}
    return JobSpec(**{**values, **changes})


def order(spec: JobSpec, script: str = SCRIPT) -> dict:
    return json.loads(PLUGIN.submit_command(script, spec).stdin)


def test_what_it_can():
    assert isinstance(PLUGIN, Placer)
    assert isinstance(PLUGIN, Configurable)
    assert not isinstance(PLUGIN, Finder | Historian)


def test_the_words_of_ssh():
    words = ssh_argv(Host("n1", "ada", 2222), ["-l", "bob", "-v"])
    assert words[0] == "ssh"
    assert words[-3:] == ["--", "n1", "exec bash -s"]
    assert words.index("ada") < words.index("bob"), "of an option given twice ssh takes the first"
    assert words.index("-v") < words.index("ConnectTimeout=15"), "a user's own wins over our default"
    assert words.index("BatchMode=yes") < words.index("-v"), "nobody is there to answer a question"
    assert not any("StrictHostKeyChecking" in word for word in words), "a changed key is never accepted"


def test_the_order():
    made = order(spec(last=3, cluster_file=PurePosixPath("/home/ada/c.json"), death_timeout_s=90.0))
    assert made["script"] == SCRIPT
    assert made["cluster_file"] == "/home/ada/c.json"
    assert made["silence_s"] == 90.0
    assert [element["host"] for element in made["elements"]] == ["n1", "n2", "n3"]
    assert [element["log"] for element in made["elements"]] == ["/logs/c.1.log", "/logs/c.2.log", "/logs/c.3.log"]
    argv = made["elements"][0]["argv"]
    assert argv[argv.index("User=a b") - 1] == "-o"
    assert "-v" not in argv


def test_nothing_of_the_order_is_an_argument():
    command = PLUGIN.submit_command(SCRIPT, spec(cluster_file=PurePosixPath("/home/ada/c.json")))
    assert command.argv[-1] == "submit"
    assert "c.json" not in " ".join(command.argv)


@pytest.mark.parametrize(
    ("changes", "need"),
    [
        ({"last": 3}, 3),
        ({"last": 3, "own": {"min-hosts": 2}}, 2),
        ({"hosts": "n1", "last": 1}, 1),
        # Elements that are submitted later must not end those that are at work.
        ({"first": 2, "last": 2}, 0),
        ({"first": 4, "last": 5}, 0),
        ({"last": 2}, 0),
    ],
)
def test_how_many_hosts_must_start(changes, need):
    assert order(spec(**changes))["need"] == need


def test_more_elements_begin_again_at_the_first_host():
    assert [element["host"] for element in order(spec(first=3, last=5))["elements"]] == ["n3", "n1", "n2"]


def test_hosts_are_used_as_often_as_they_have_slots():
    hosts = [Host("a", slots=2), Host("b")]
    assert PLUGIN.place(hosts, None) == (hosts[0], hosts[0], hosts[1])
    assert PLUGIN.place(hosts, 1) == (hosts[0],)
    with pytest.raises(ValueError, match="which hosts"):
        PLUGIN.place([], 3)


@pytest.mark.parametrize(("field", "option"), [("queue", "--queue"), ("account", "--account")])
def test_what_only_a_batch_system_can_give_is_refused(field, option):
    with pytest.raises(ValueError, match=f"{option} means nothing"):
        PLUGIN.context(spec(**{field: "x"}))
    with pytest.raises(ValueError, match="--walltime means nothing"):
        PLUGIN.context(spec(walltime_s=60.0))


def test_submitted_whole_and_in_part():
    text = "started 1 ab12.1@n1\nstarted 2 ab12.2@ada@n2:22\n"
    found = PLUGIN.parse_submit(Output(("x",), 0, text), spec(last=2))
    assert found == JobArray("ab12", {1: "ab12.1@n1", 2: "ab12.2@ada@n2:22"})
    text = "refused 1 n1: Connection refused\nstarted 2 ab12.2@n2\n"
    found = PLUGIN.parse_submit(Output(("x",), 0, text), spec(last=2))
    assert found == JobArray("ab12", {2: "ab12.2@n2"}, {1: "n1: Connection refused"})
    with pytest.raises(UnexpectedOutputError, match="3 results"):
        PLUGIN.parse_submit(Output(("x",), 0, text), spec(last=3))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("running -1 ", JobStatus(JobState.RUNNING, node="n1")),
        ("starting -1 ", JobStatus(JobState.PENDING, node="n1")),
        ("ended 0 ", JobStatus(JobState.COMPLETED, node="n1", exit_code=0)),
        ("ended 3 ", JobStatus(JobState.FAILED, node="n1", exit_code=3)),
        ("ended 137 ", JobStatus(JobState.FAILED, node="n1", signal=9)),
        ("cancelled -1 ", JobStatus(JobState.CANCELLED, node="n1")),
        ("lost -1 the connection broke", JobStatus(JobState.NODE_FAIL, "the connection broke", "n1")),
        ("refused -1 Connection refused", JobStatus(JobState.NODE_FAIL, "Connection refused", "n1")),
        ("dreaming -1 ", JobStatus(JobState.UNKNOWN, node="n1")),
    ],
)
def test_states(line, expected):
    assert PLUGIN.parse_status(Output(("x",), 0, f"ab12.1@n1 {line}\n")) == {"ab12.1@n1": expected}


def test_a_keeper_that_cannot_be_asked_is_no_answer():
    with pytest.raises(StatusError, match="no room"):
        PLUGIN.parse_status(Output(("x",), 1, "", "no room\n"))


def test_options_that_would_let_the_connection_go_are_reserved():
    assert {"-f", "-N", "-n", "-t"} <= set(PLUGIN.reserved_directives)
