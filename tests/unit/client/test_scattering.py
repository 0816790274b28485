import pytest

from distributed.client.scattering import _shares, choose_workers
from distributed.errors import NoWorkersError
from distributed.payloads import Buffer

PRESENT = {
    "10.0.0.1:1": {"name": "a", "nthreads": 2, "host": "node1"},
    "10.0.0.2:1": {"name": "b", "nthreads": 1, "host": "node2"},
}


def test_workers_take_turns_as_often_as_they_have_threads():
    assert choose_workers(PRESENT, None) == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.1:1"]


@pytest.mark.parametrize("name", ["10.0.0.2:1", "b", "node2", "10.0.0.2"])
def test_workers_are_named_by_address_name_or_host(name):
    assert choose_workers(PRESENT, [name]) == ["10.0.0.2:1"]


def test_no_suitable_worker_is_an_error_that_names_what_there_is():
    with pytest.raises(NoWorkersError, match="scattered to c") as caught:
        choose_workers(PRESENT, ["c"])
    assert caught.value.present == sorted(PRESENT)


def test_data_go_round_robin():
    shares = _shares({"x": b"1", "y": b"2", "z": b"3"}, ["a", "b"], broadcast=False)
    assert shares == [("a", {"x": b"1", "z": b"3"}), ("b", {"y": b"2"})]


def test_broadcast_data_go_everywhere_once():
    shares = _shares({"x": b"1"}, ["a", "b", "a"], broadcast=True)
    assert shares == [("a", {"x": b"1"}), ("b", {"x": b"1"})]


def test_large_data_travel_in_several_requests():
    big = [b"head", Buffer(bytes(2**26))]
    shares = _shares({"x": big, "y": b"small", "z": big}, ["a"], broadcast=False)
    assert [list(share) for _, share in shares] == [["x"], ["y", "z"]]
