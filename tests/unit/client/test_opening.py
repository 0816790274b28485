import pytest

from distributed.client.opening import Target, named_target
from distributed.clusterfile import ClusterFile, default_secret, path_of
from distributed.errors import CommError, ConfigError

SECRET = b"x" * 32


def publish(name, addresses, secret=SECRET):
    found = ClusterFile.new(name, addresses, secret)
    found.write(path_of(name))
    return path_of(name)


def test_an_address_goes_with_the_users_own_secret():
    assert named_target("10.0.0.1:8786") == Target(["10.0.0.1:8786"], default_secret())
    assert named_target(("10.0.0.1", 8786)).addresses == ["10.0.0.1:8786"]
    assert named_target("10.0.0.1:8786", secret=SECRET).secret == SECRET


@pytest.mark.parametrize("address", ["host", "host:", "host:0", "host:99999", "host:abc", "", "http://h:1", ":8786"])
def test_what_is_no_address_says_so(address):
    with pytest.raises(CommError, match="connect") as caught:
        named_target(address)
    assert repr(address) in str(caught.value)


def test_nothing_named_is_none():
    assert named_target() is None


def test_a_cluster_is_found_by_its_name():
    publish("mine", ["10.0.0.1:1", "10.0.0.2:1"])
    expected = Target(["10.0.0.1:1", "10.0.0.2:1"], SECRET, "mine")
    assert named_target(cluster="mine") == expected
    assert named_target("mine") == expected


def test_a_cluster_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"no cluster file .*yours"):
        named_target(cluster="yours")


def test_the_environment_names_a_cluster(monkeypatch):
    path = publish("mine", ["10.0.0.1:1"])
    monkeypatch.setenv("DLAUNCH_CLUSTER", "mine")
    assert named_target().addresses == ["10.0.0.1:1"]
    monkeypatch.setenv("DLAUNCH_CLUSTER_FILE", str(path))
    assert named_target().secret == SECRET


def test_a_launchers_cluster_shows_its_file():
    class Cluster:
        cluster_file = publish("mine", ["10.0.0.1:1"])

    assert named_target(Cluster()) == Target(["10.0.0.1:1"], SECRET, "mine")


def test_an_object_may_show_an_address():
    class Cluster:
        scheduler_address = "10.0.0.1:1"

    assert named_target(Cluster()) == Target(["10.0.0.1:1"], default_secret())


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match=r"a Scheduler or a running cluster, not float"):
        named_target(1.5)
