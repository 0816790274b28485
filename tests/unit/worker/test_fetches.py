"""Which copies are asked from whom, and when."""

from __future__ import annotations

from distributed.worker.fetches import Fetches

A, B, C = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"


def requests(fetches):
    found = fetches.start()
    fetches.validate()
    return [(peer, keys) for peer, keys, _ in found]


def test_keys_of_one_peer_go_into_one_request():
    fetches = Fetches()
    fetches.want("x", [A], 10)
    fetches.want("y", [A], 20)
    assert fetches.start() == [(A, ["x", "y"], 30)]


def test_one_request_per_peer_at_a_time():
    fetches = Fetches()
    fetches.want("x", [A])
    assert requests(fetches) == [(A, ["x"])]
    fetches.want("y", [A])
    assert requests(fetches) == []
    assert fetches.answered(A, ["x"]) == {}
    assert requests(fetches) == [(A, ["y"])]


def test_requests_are_bounded_in_bytes_but_hold_one_key_at_least():
    fetches = Fetches(bytes_limit=100)
    for key, nbytes in [("huge", 1000), ("x", 60), ("y", 30), ("z", 30)]:
        fetches.want(key, [A], nbytes)
    assert requests(fetches) == [(A, ["huge"])]
    fetches.answered(A, ["huge"])
    assert requests(fetches) == [(A, ["x", "y"])]


def test_peers_at_once_are_bounded():
    fetches = Fetches(peers_limit=2)
    for key, peer in [("x", A), ("y", B), ("z", C)]:
        fetches.want(key, [peer])
    assert requests(fetches) == [(A, ["x"]), (B, ["y"])]
    fetches.answered(B, ["y"])
    assert requests(fetches) == [(C, ["z"])]


def test_the_least_loaded_holder_is_asked():
    fetches = Fetches()
    fetches.want("x", [A, B])
    fetches.want("y", [A, B])
    assert requests(fetches) == [(A, ["x"]), (B, ["y"])]


def test_holders_that_do_not_have_it_are_tried_once_each():
    fetches = Fetches()
    fetches.want("x", [A, B])
    requests(fetches)
    assert fetches.answered(A, []) == {}
    assert requests(fetches) == [(B, ["x"])]
    assert fetches.answered(B, []) == {"x": [A, B]}
    assert "x" not in fetches


def test_a_lost_peer_is_lost_for_what_was_still_to_be_asked_there():
    fetches = Fetches()
    fetches.want("x", [A])
    requests(fetches)
    fetches.want("y", [A, B])
    fetches.want("z", [A])
    assert fetches.lost(A) == {"x": [A], "z": [A]}
    assert requests(fetches) == [(B, ["y"])]


def test_more_holders_may_become_known():
    fetches = Fetches()
    fetches.want("x", [A])
    requests(fetches)
    fetches.want("x", [A, B])
    assert fetches.lost(A) == {}
    assert requests(fetches) == [(B, ["x"])]


def test_a_key_forgotten_and_wanted_again_survives_the_old_answer():
    fetches = Fetches()
    fetches.want("x", [A])
    requests(fetches)
    fetches.forget("x")
    fetches.want("x", [A])
    assert fetches.answered(A, []) == {}
    assert requests(fetches) == [(A, ["x"])]


def test_forgetting_the_last_key_of_a_peer_forgets_the_peer():
    fetches = Fetches()
    fetches.want("x", [A])
    fetches.forget("x")
    assert requests(fetches) == []
    fetches.want("y", [A])
    fetches.clear()
    assert requests(fetches) == []


def test_an_answer_from_a_peer_that_was_not_asked_is_harmless():
    fetches = Fetches()
    assert fetches.answered(A, ["x"]) == {}
    assert fetches.lost(A) == {}
