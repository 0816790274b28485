import concurrent.futures
import errno
import multiprocessing
import os
import stat
import threading
from pathlib import Path

import pytest

from distributed import clusterfile
from distributed.clusterfile import ClusterFile, default_secret, find, home, path_of, resolve, running_files
from distributed.errors import ConfigError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# -- the user's secret -------------------------------------------------------------------------------------


def test_the_secret_is_made_once_and_private_under_any_umask(umask):
    first = default_secret()
    assert len(first) == 32
    assert default_secret() == first
    assert mode(home()) == 0o700
    assert mode(home() / "secret") == 0o600
    assert [path.name for path in home().iterdir()] == ["secret"]


def ask_for_secret(gate, folder, results):
    os.environ["DLAUNCH_HOME"] = folder
    gate.wait()
    results.put(default_secret())


def test_twenty_processes_that_make_it_at_once_have_the_same_one(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(20), context.SimpleQueue()
    arguments = (gate, str(tmp_path / "new" / "home"), results)
    processes = [context.Process(target=ask_for_secret, args=arguments) for _ in range(20)]
    for process in processes:
        process.start()
    found = {results.get() for _ in processes}
    for process in processes:
        process.join()
    assert len(found) == 1


def test_without_hard_links_it_is_still_one_secret(monkeypatch):
    def no_links(*args):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(clusterfile.os, "link", no_links)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(default_secret) for _ in range(8)]}
    assert len(found) == 1
    assert mode(home() / "secret") == 0o600


def test_a_secret_that_is_just_being_written_is_waited_for():
    path = home() / "secret"
    path.touch(0o600)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(default_secret)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(0.1)
        path.write_text("ab" * 32 + "\n")
        assert future.result(5) == b"\xab" * 32


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o666, 0o620])
def test_a_secret_open_to_others_is_refused_with_the_remedy(bits):
    default_secret()
    (home() / "secret").chmod(bits)
    with pytest.raises(ConfigError, match=r"can be read by others.*chmod 600 .*/secret"):
        default_secret()


@pytest.mark.parametrize(
    ("text", "words"),
    [("ab" * 31, "too short"), ("", "too short"), ("zz" * 32, "does not hold a secret"), ("é" * 64, "does not hold")],
)
def test_a_damaged_secret_is_refused_and_says_delete_it(text, words, monkeypatch):
    monkeypatch.setattr(clusterfile, "_SETTLE_S", 0.0)
    path = home() / "secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"{words}.*delete it"):
        default_secret()


def test_somebody_elses_secret_is_refused(monkeypatch):
    default_secret()
    theirs = os.stat_result((0o100600, 0, 0, 1, 4242, 0, 65, 0, 0, 0))
    monkeypatch.setattr(clusterfile.os, "fstat", lambda handle: theirs)
    with pytest.raises(ConfigError, match=r"belongs to another user \(uid 4242\)"):
        default_secret()


# -- the folder --------------------------------------------------------------------------------------------


def test_an_open_folder_is_closed():
    home().chmod(0o755)
    assert mode(home()) == 0o700


@pytest.mark.parametrize("call", [home, default_secret, lambda: path_of("x"), running_files])
def test_a_folder_that_cannot_be_used_says_so_and_names_the_variable(call, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DLAUNCH_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match=r"cannot use the folder .*Not a directory.*DLAUNCH_HOME"):
        call()


def test_a_full_disk_is_told(monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(clusterfile.tempfile, "mkstemp", full)
    with pytest.raises(ConfigError, match=r"cannot use the secret in .*No space left"):
        default_secret()
    with pytest.raises(ConfigError, match=r"cannot write the cluster file .*No space left"):
        ClusterFile.new("x").write(path_of("x"))


def test_a_user_without_a_home_is_told(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("DLAUNCH_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ConfigError, match="no home folder; name a folder in the variable DLAUNCH_HOME"):
        home()


# -- cluster files -----------------------------------------------------------------------------------------


def test_a_cluster_file_comes_back_private_under_any_umask(umask):
    made = ClusterFile.new("c1", ["10.0.0.1:8786", "[::1]:8786"])
    made.write(path_of("c1"))
    assert ClusterFile.read(path_of("c1")) == made
    assert made.pid == os.getpid()
    assert len(made.secret_bytes) == 32
    assert mode(path_of("c1")) == 0o600
    assert mode(path_of("c1").parent) == 0o700


def test_each_cluster_has_a_secret_of_its_own():
    assert ClusterFile.new("a").secret != ClusterFile.new("a").secret
    assert ClusterFile.new("a", secret=b"xyz").secret_bytes == b"xyz"


def test_a_folder_of_the_users_own_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    ClusterFile.new("x").write(tmp_path / "here.json")
    assert mode(tmp_path) == 0o755


def test_a_reader_never_sees_half_a_file():
    path = path_of("c")
    ClusterFile.new("c", ["a:1"] * 1000).write(path)
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            ClusterFile.new("c", ["a:1"] * 1000).write(path)

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        for _ in range(200):
            assert len(ClusterFile.read(path).addresses) == 1000
    finally:
        stop.set()
        writer.join()
    assert [item.name for item in path.parent.iterdir()] == ["cluster.json"]


def test_a_file_that_appears_late_is_told_apart_from_a_bad_one():
    path = path_of("late")
    with pytest.raises(ConfigError, match="there is no cluster file") as caught:
        ClusterFile.read(path)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    ClusterFile.new("late", ["a:1"]).write(path)
    assert ClusterFile.read(path).addresses == ["a:1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "junk",
        '{"name": "x", "addresses": "a:1", "secret": "ab"}',
        '{"name": "x"}',
        "ÿ",
        '{"name": "x", "addresses": [], "secret": "zz"}',
        '{"name": "x", "addresses": [], "secret": ""}',
    ],
)
def test_what_is_no_cluster_file_says_so(text, tmp_path):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="is not a cluster file"):
        ClusterFile.read(path)


def test_fields_of_a_later_version_are_no_reason_to_refuse(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"name": "x", "addresses": ["a:1"], "secret": "ab", "new": 1}')
    path.chmod(0o600)
    assert ClusterFile.read(path).addresses == ["a:1"]


def test_an_open_cluster_file_is_refused():
    path = path_of("c")
    ClusterFile.new("c").write(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"can be read by others.*chmod 600"):
        ClusterFile.read(path)


def test_a_folder_or_a_device_is_no_cluster_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the cluster file .*Is a directory"):
        ClusterFile.read(tmp_path)
    with pytest.raises(ConfigError):
        ClusterFile.read(Path("/dev/zero"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc", "../x", ".hidden", "-n", "a b", "a\n", "ü", "x" * 101, "secret"]
)
def test_names_that_cannot_be_a_folders_are_refused(name):
    with pytest.raises(ConfigError, match="cannot be a cluster's name") as caught:
        path_of(name)
    assert caught.value.value == name


@pytest.mark.parametrize("name", ["a", "A1", "my.cluster-2_x", "0", "x" * 100])
def test_names_that_can(name):
    assert path_of(name) == home() / name / "cluster.json"


# -- which one ---------------------------------------------------------------------------------------------


def publish(name, address):
    made = ClusterFile.new(name, [address])
    made.write(path_of(name))
    return made


def test_the_arguments_win_over_the_environment(monkeypatch):
    assert find() is None
    monkeypatch.setenv("DLAUNCH_CLUSTER", "env")
    assert find() == path_of("env")
    monkeypatch.setenv("DLAUNCH_CLUSTER_FILE", "/x/env.json")
    assert find() == Path("/x/env.json")
    assert find(cluster="arg") == path_of("arg")
    assert find("arg", "/x/arg.json") == Path("/x/arg.json")


def test_an_address_goes_with_the_users_secret_unless_a_cluster_is_named(monkeypatch):
    own, env = publish("own", "10.0.0.1:1"), publish("env", "10.0.0.2:2")
    assert resolve("10.0.0.9:9") == (["10.0.0.9:9"], default_secret())
    assert resolve() == ([], default_secret())
    assert resolve(cluster="own") == (["10.0.0.1:1"], own.secret_bytes)
    assert resolve("10.0.0.9:9", cluster="own") == (["10.0.0.9:9"], own.secret_bytes)
    monkeypatch.setenv("DLAUNCH_CLUSTER", "env")
    assert resolve() == (["10.0.0.2:2"], env.secret_bytes)
    assert resolve("10.0.0.2:2") == (["10.0.0.2:2"], env.secret_bytes)
    assert resolve("10.0.0.9:9") == (["10.0.0.9:9"], default_secret())


def test_a_named_cluster_that_is_not_there_is_an_error(monkeypatch):
    with pytest.raises(ConfigError, match="there is no cluster file"):
        resolve(cluster="gone")
    monkeypatch.setenv("DLAUNCH_CLUSTER", "gone")
    with pytest.raises(ConfigError, match="there is no cluster file"):
        resolve()
    assert resolve("10.0.0.9:9") == (["10.0.0.9:9"], default_secret())


def test_running_clusters_newest_first():
    for age, name in enumerate(["new", "old"]):
        publish(name, "a:1")
        os.utime(path_of(name), (1e9 - age, 1e9 - age))
    (home() / "empty").mkdir()
    assert running_files() == [path_of("new"), path_of("old")]


@pytest.mark.parametrize("address", ["10.0.0.1:41234", "head:41234"])
def test_an_address_alone_finds_the_secret_of_the_cluster_that_is_there(address):
    here = ClusterFile.new("one", ["10.0.0.1:41234", "10.9.0.1:41234"])
    here.host = "head"
    here.write(path_of("one"))
    ClusterFile.new("other", ["10.0.0.1:8786"]).write(path_of("other"))
    assert resolve(address) == ([address], here.secret_bytes)


def test_an_address_of_no_known_cluster_goes_with_the_users_own_secret():
    ClusterFile.new("one", ["10.0.0.1:41234"]).write(path_of("one"))
    assert resolve("10.0.0.1:8786") == (["10.0.0.1:8786"], default_secret())
