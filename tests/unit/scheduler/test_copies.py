from __future__ import annotations

from distributed.messages import (
    DataAdded,
    DataScattered,
    DropData,
    FetchData,
    FetchFailed,
    ReleaseKeys,
)
from distributed.scheduler.copies import plan_moves
from distributed.scheduler.events import (
    DataMissing,
    RebalanceWanted,
    ReplicateWanted,
    RetireWanted,
)
from tests.unit.scheduler.desk import Desk, spec


def with_data(*workers: str, **data: tuple[int, str]) -> Desk:
    """Workers, and scattered data: key -> (bytes, holder)."""
    desk = Desk(*workers)
    desk.client(DataScattered({key: (size, [holder]) for key, (size, holder) in data.items()}))
    return desk


def fetches(desk: Desk, *addresses: str) -> dict[str, dict[str, list[str]]]:
    """What these workers were told to fetch."""
    told = {address: desk.heard(address, FetchData) for address in addresses}
    return {address: message.who_has for address, messages in told.items() for message in messages}


def test_replicate_answers_when_the_copies_are_there() -> None:
    desk = with_data("a:1", "b:1", "c:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d", "unknown"]))
    assert fetches(desk, "a:1", "b:1", "c:1") == {"b:1": {"d": ["a:1"]}, "c:1": {"d": ["a:1"]}}
    desk.report("b:1", DataAdded({"d": 8}))
    assert not desk.answers
    desk.report("c:1", DataAdded({"d": 8}))
    assert desk.answers == {1: {"d": ["a:1", "b:1", "c:1"], "unknown": []}}


def test_n_copies_go_to_the_emptiest() -> None:
    desk = with_data("a:1", "b:1", "c:1", d=(8, "a:1"), big=(100, "b:1"))
    desk.handle(ReplicateWanted(1, ["d"], 2))
    assert fetches(desk, "a:1", "b:1", "c:1") == {"c:1": {"d": ["a:1"]}}


def test_what_is_there_already_is_answered_at_once() -> None:
    desk = with_data("a:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d"]))
    desk.handle(ReplicateWanted(2, ["d"], 5, ["gone:1"]))
    desk.handle(RebalanceWanted(3))
    assert desk.answers == {1: {"d": ["a:1"]}, 2: {"d": ["a:1"]}, 3: 0}


def test_a_target_that_dies_is_replaced() -> None:
    desk = with_data("a:1", "b:1", "c:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d"], 2))
    [target] = fetches(desk, "b:1", "c:1")
    other = "b:1" if target == "c:1" else "c:1"
    desk.leave(target)
    assert fetches(desk, other) == {other: {"d": ["a:1"]}}
    desk.leave(other)
    assert desk.answers == {1: {"d": ["a:1"]}}


def test_a_target_that_cannot_fetch_is_not_asked_for_ever() -> None:
    desk = with_data("a:1", "b:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d"]))
    for _ in range(3):
        assert not desk.answers
        desk.report("b:1", FetchFailed({"d": ["a:1"]}))
    # The third complaint costs data that cannot be computed again its last holder.
    assert desk.answers == {1: {"d": []}}


def test_data_that_is_released_meanwhile_is_not_waited_for() -> None:
    desk = with_data("a:1", "b:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d"]))
    desk.client(ReleaseKeys(["d"]))
    assert desk.answers == {1: {"d": []}}
    desk.report("b:1", DataAdded({"d": 8}))
    assert DropData(["d"]) in desk.heard("b:1")


def test_two_who_ask_for_the_same_copy_are_both_answered() -> None:
    desk = with_data("a:1", "b:1", d=(8, "a:1"))
    desk.handle(ReplicateWanted(1, ["d"]))
    desk.handle(ReplicateWanted(2, ["d"]))
    assert len(desk.heard("b:1", FetchData)) == 1
    desk.report("b:1", DataAdded({"d": 8}))
    assert set(desk.answers) == {1, 2}


def test_rebalance_moves_from_full_to_empty_and_drops_after_arrival() -> None:
    desk = with_data("a:1", "b:1", p=(100, "a:1"), q=(100, "a:1"))
    desk.handle(RebalanceWanted(1))
    [(target, moved)] = fetches(desk, "b:1").items()
    [key] = moved
    assert not desk.heard("a:1", DropData)
    desk.report(target, DataAdded({key: 100}))
    assert desk.heard("a:1", DropData) == [DropData([key])]
    assert desk.answers == {1: 1}
    assert [w.nbytes for w in desk.state.workers.values()] == [100, 100]


def test_a_source_keeps_what_is_needed_while_it_moves() -> None:
    desk = with_data("a:1", "b:1", p=(100, "a:1"), q=(100, "a:1"))
    desk.submit(spec("x", "p", "q"))
    desk.handle(RebalanceWanted(1))
    [moved] = fetches(desk, "b:1").values()
    desk.report("b:1", DataAdded(dict.fromkeys(moved, 100)))
    assert not desk.heard("a:1", DropData)
    assert desk.answers == {1: 1}


def test_a_source_that_dies_on_the_way_leaves_the_copy() -> None:
    desk = with_data("a:1", "b:1", p=(100, "a:1"), q=(100, "a:1"))
    desk.handle(RebalanceWanted(1))
    [moved] = fetches(desk, "b:1").values()
    desk.report("b:1", DataAdded(dict.fromkeys(moved, 100)))
    desk.leave("a:1")
    assert {desk.kind(key) for key in moved} == {"memory"}
    assert set(desk.answers) == {1}


def test_only_the_named_keys_and_workers_take_part() -> None:
    desk = with_data("a:1", "b:1", "c:1", p=(100, "a:1"), q=(100, "a:1"), r=(100, "a:1"))
    desk.handle(RebalanceWanted(1, ["q"], ["a:1", "c:1", "gone:1"]))
    assert fetches(desk, "b:1", "c:1") == {"c:1": {"q": ["a:1"]}}


def test_a_plan_evens_out_and_moves_a_key_once() -> None:
    desk = with_data("a:1", "b:1", "c:1", **{f"k{i}": (10, "a:1") for i in range(30)})
    moves = plan_moves(list(desk.state.workers.values()), None)
    assert len(moves) == 19 or len(moves) == 20
    assert len({task for task, _, _ in moves}) == len(moves)
    targets = [target.address for _, target, _ in moves]
    assert abs(targets.count("b:1") - targets.count("c:1")) <= 1
    assert plan_moves([], None) == []


def test_retiring_workers_hand_over_what_only_they_have() -> None:
    desk = with_data("a:1", "b:1", "c:1", d=(8, "a:1"), e=(8, "b:1"))
    desk.handle(RetireWanted(1, ["a:1", "gone:1"]))
    told = fetches(desk, "b:1", "c:1")
    assert told == {"c:1": {"d": ["a:1"]}}
    desk.report("c:1", DataAdded({"d": 8}))
    assert desk.answers == {1: 1}
    desk.submit("x", "y", "z", "w", "v", "u")
    assert not desk.at("a:1")
    desk.leave("a:1", expected=False)
    assert desk.kind("d") == "memory"


def test_the_last_worker_retires_with_its_data() -> None:
    desk = with_data("a:1", d=(8, "a:1"))
    desk.handle(RetireWanted(1, ["a:1"]))
    assert desk.answers == {1: 0}


def test_data_that_somebody_did_not_find_is_computed_again() -> None:
    desk = Desk("a:1")
    desk.submit("x")
    desk.finish("x")
    desk.handle(DataMissing({"x": ["a:1"], "unknown": ["a:1"]}))
    assert desk.kind("x") == "processing"
