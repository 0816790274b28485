"""Hosts that users name, on their way into the plan and the machine."""

from __future__ import annotations

import pytest

from distributed.errors import ConfigError
from launchers import config, events
from launchers.actions import Cancel, Submit, Tell
from launchers.hosts import Host
from launchers.jobs import JobArray
from launchers.scaling import ScalingMachine
from launchers.session import make_plan, resolve_settings


@pytest.fixture(autouse=True)
def no_site(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SITE_FOLDER", tmp_path / "etc")


def plan(system="ssh", **given):
    given = {key.replace("_", "-"): value for key, value in given.items()}
    return make_plan(system, resolve_settings(system, given))


def test_there_are_as_many_jobs_as_places(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("n1\nn2 slots=2\n")
    made = plan(hosts=["n0,n1"], hostfile=str(file), workers_per_job=2)
    assert made.spec.last == 4
    assert made.settings.n == 8
    two = Host("n2", slots=2)
    assert made.spec.own["hosts"] == (Host("n0"), Host("n1"), two, two)


def test_n_says_how_many():
    assert [host.name for host in plan(hosts=["a", "b"], n=3).spec.own["hosts"]] == ["a", "b", "a"]
    assert plan(hosts=["a", "b"], n=3).spec.last == 3


def test_the_worker_is_told_its_cluster_file_by_the_job():
    made = plan(hosts=["a"], death_timeout="90s")
    assert '--cluster-file "${DLAUNCH_CLUSTER_FILE}"' in made.script
    assert str(made.spec.cluster_file) == str(made.folder.cluster_file)
    assert made.spec.death_timeout_s == 90.0


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "which hosts"),
        ({"hosts": ["a", "b"], "n": 1, "min_hosts": 2}, "--min-hosts 2 can never be reached with 1 hosts"),
        ({"hostfile": "/nonexistent/hosts"}, "cannot read the hostfile"),
        ({"hosts": ["-x"]}, "is not a host"),
    ],
)
def test_what_cannot_be(given, problem):
    with pytest.raises(ConfigError, match=problem):
        plan(**given)


def test_a_bad_line_of_a_hostfile_is_named(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("n1\n-x\n")
    with pytest.raises(ConfigError, match=rf"the hostfile {file}: line 2: '-x' is not a host"):
        plan(hostfile=str(file))


def test_other_systems_know_no_hosts():
    with pytest.raises(ConfigError, match="there is no option 'hosts'"):
        plan("slurm", n=1, hosts=["a"])


def test_elements_that_were_not_taken_are_told_and_not_submitted_again():
    machine = ScalingMachine("c")
    assert machine.handle(events.TargetChanged(3, 1.0)) == [Submit(1, 3)]
    array = JobArray("J", {1: "J.1", 3: "J.3"}, {2: "n2: Connection refused"})
    actions = machine.handle(events.Submitted(1, 3, array, 2.0))
    text = "1 jobs were not taken and are not submitted again:\n  n2: Connection refused"
    assert actions == [Tell(text, True, None)]
    assert machine.attainable == 2
    assert machine.progress.jobs == 2
    assert not any(isinstance(a, Submit) for a in machine.handle(events.Tick(1000.0)))
    machine.handle(events.Polled({}, 1001.0))
    assert machine.handle(events.StopWanted(False, 1002.0)) == [Cancel(("J",))]
