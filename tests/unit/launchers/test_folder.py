from __future__ import annotations

import stat

import pytest

from distributed.clusterfile import ClusterFile, home
from distributed.errors import ConfigError
from launchers.folder import ArrayRecord, ClusterFolder, all_folders, log_tail


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_private_and_removed():
    folder = ClusterFolder("c")
    folder.claim()
    assert mode(folder.path) == mode(folder.logs) == 0o700
    folder.write_script("#!/bin/bash\n")
    folder.write_state(folder.new_state("slurm", "c-1", folder.logs))
    assert mode(folder.state_file) == mode(folder.script_file) == 0o600
    folder.remove(keep_logs=False)
    assert not folder.path.exists()


def test_logs_can_be_kept():
    folder = ClusterFolder("c")
    folder.claim()
    folder.write_state(folder.new_state("slurm", "c-1", folder.logs))
    (folder.logs / "c.1.log").write_text("x")
    folder.remove(keep_logs=True)
    assert [path.name for path in folder.path.rglob("*")] == ["logs", "c.1.log"]
    assert list(all_folders()) == []


def test_two_launchers_cannot_have_one_name():
    folder = ClusterFolder("c")
    folder.claim()
    with pytest.raises(ConfigError, match="'c' runs already") as caught:
        ClusterFolder("c").claim()
    assert caught.value.key == "name"
    folder.unlock()
    other = ClusterFolder("c")
    other.claim()
    other.unlock()


def test_the_state_comes_back_as_written():
    folder = ClusterFolder("c")
    folder.claim()
    state = folder.new_state("slurm", "c-1", folder.logs)
    state.arrays.append(ArrayRecord("46", {1: "46_1", 2: "46_2"}))
    state.submitting = "3-4"
    folder.write_state(state)
    assert folder.read_state() == state
    folder.state_file.write_text("{")
    assert folder.read_state() is None
    folder.unlock()


def test_folders_of_clusters_and_no_others():
    assert list(all_folders()) == []
    (home() / "other").mkdir()
    (home() / "secret").write_text("")
    folder = ClusterFolder("c")
    ClusterFile.new("c", ["127.0.0.1:1"]).write(folder.cluster_file)
    assert [found.name for found in all_folders()] == ["c"]


def test_fresh_names_are_free_and_say_the_system():
    names = {ClusterFolder.fresh("slurm").name for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("slurm-") for name in names)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x"])
def test_a_name_that_is_no_folders(name):
    with pytest.raises(ConfigError):
        ClusterFolder(name)


def test_a_home_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("DLAUNCH_HOME", "/proc/nowhere")
    with pytest.raises(ConfigError, match="DLAUNCH_HOME"):
        ClusterFolder("c")


def test_the_end_of_a_log(tmp_path):
    log = tmp_path / "log"
    assert log_tail(log) == ""
    log.write_bytes(b"".join(b"line %d\n" % i for i in range(5000)) + b"\xff last")
    assert log_tail(log, lines=2) == "line 4999\n\N{REPLACEMENT CHARACTER} last"
