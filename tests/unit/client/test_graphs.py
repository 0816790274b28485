import operator

import pytest

from distributed.calls import Nested, evaluate, same
from distributed.client.graphs import call_of, is_key, is_task, plan, substitute


def inc(x):
    return x + 1


def test_tasks_are_tuples_with_a_callable_in_front():
    assert is_task((inc, 1))
    assert not is_task(("x", 0))
    assert not is_task(())
    assert not is_task([inc, 1])


def test_unhashable_values_are_no_keys():
    assert is_key("x", {"x": 1})
    assert not is_key([1], {"x": 1})
    assert not is_key((inc, [1]), {"x": 1})


def test_the_plan_has_dependencies_first_and_only_what_is_needed():
    graph = {
        "a": 1,
        "b": (inc, "a"),
        ("c", 0): (sum, ["a", "b"]),
        "d": (inc, (operator.add, "b", ("c", 0))),
        "unused": (inc, "a"),
    }
    assert plan(graph, ["d"]) == ["a", "b", ("c", 0), "d"]
    assert plan(graph, ["a", "a"]) == ["a"]


def test_a_deep_graph_needs_no_deep_stack():
    graph = {0: "start", **{i: (inc, i - 1) for i in range(1, 20_000)}}
    assert plan(graph, [19_999])[-1] == 19_999


def test_a_circle_is_named():
    with pytest.raises(ValueError, match=r"circle: 'b' -> 'c' -> 'b'"):
        plan({"a": (inc, "b"), "b": (inc, "c"), "c": (inc, "b")}, ["a"])


def test_a_key_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="no key 'z'"):
        plan({"a": 1}, ["z"])


def test_substitution_goes_into_lists_and_nested_tasks():
    known = {"x": 10, "y": 20}
    assert substitute([["x"], "other", {"x": 1}], known) == [[10], "other", {"x": 1}]
    nested = substitute((operator.add, "x", [(inc, "y")]), known)
    assert nested == Nested(operator.add, [10, [Nested(inc, [20])]])


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ((operator.add, "x", "y"), 30),
        ((sum, ["x", "y", 1]), 31),
        ((sum, ["x", (inc, "y")]), 31),
        ((inc, (inc, (inc, "x"))), 13),
        (["x", (inc, "y")], [10, 21]),
        (["x", 1], [10, 1]),
        ("plain", "plain"),
    ],
)
def test_calls_compute_what_the_graph_says(value, result):
    function, args = call_of(value, {"x": 10, "y": 20})
    assert function(*args) == result


def test_plain_tasks_are_called_without_a_detour():
    assert call_of((inc, "x"), {"x": 1}) == (inc, (1,))
    assert call_of((inc, (inc, 1)), {})[0] is evaluate
    assert call_of(5, {})[0] is same
