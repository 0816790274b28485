"""Results in the places of their futures."""

from __future__ import annotations

import pytest

from distributed.client.fetching import Fetched
from distributed.client.future import Future
from distributed.client.gathering import Gathering
from distributed.client.table import KeyState, Remote
from distributed.errors import RequestTimeoutError, TaskError, WorkerLostError
from distributed.wire.payload import dumps
from distributed.worker.transfer import raise_unpicklable


class Session:
    def forget(self, state):
        pass


class _Raises:
    def __reduce__(self):
        return raise_unpicklable, ("why it could not", "told", "Model")


class Owner:
    _session = session = Session()
    asynchronous = False


OWNER = Owner()


def finished(key, value):
    """A future whose result came along."""
    return of(key, "finished", dumps(value))


def of(key, status="pending", detail=None):
    state = KeyState(key)
    state.status, state.detail = status, detail
    return Future(key, OWNER, state)


def lost(key):
    return of(key, "lost", WorkerLostError(key, ["a:1"]))


def gathered(structure, errors="raise", fetched=None, timeout=None, left=None):
    gathering = Gathering(structure, errors)
    absent = gathering.take(timeout, left)
    assert bool(absent) == (fetched is not None)
    if fetched is not None:
        gathering.add(fetched)
    return gathering.filled()


def answer(payloads=None, errors=None):
    got = Fetched()
    got.payloads.update(payloads or {})
    got.errors.update(errors or {})
    return got


def test_results_that_came_along_are_read_in_their_places():
    structure = [finished("a", 1), {"b": (finished("b", [2]), "text")}, 5]
    assert gathered(structure) == [1, {"b": ([2], "text")}, 5]


@pytest.mark.parametrize("number", [1, 999, 1000, 1001, 2500])
@pytest.mark.parametrize("odd", [None, [1, 2]])
def test_many_results_are_read_as_each_by_itself(number, odd):
    values = [(n, str(n), None, -1.5 * n, True)[n % 5] for n in range(number)]
    if odd is not None:
        values[number // 2] = odd  # which goes as a pickle
    futures = [finished(str(n), value) for n, value in enumerate(values)]
    assert gathered(futures) == values
    assert gathered((futures,)) == (values,)
    assert gathered(tuple(futures)) == tuple(values)


def test_what_came_damaged_is_told_from_the_others():
    with pytest.raises(TaskError, match="the result of bad cannot"):
        gathered([finished("a", 1), of("bad", "finished", b"\xa5no"), finished("b", 2)])
    with pytest.raises(TaskError, match="the result of bad cannot"):
        gathered([finished("a", 1), of("bad", "finished", b""), finished("b", 2)])


def test_a_key_that_is_given_twice_is_read_once():
    one = finished("a", ["value"])
    same = Future("a", OWNER, one._state)
    first, second, third = gathered([one, same, one])
    assert first == ["value"]
    assert first is second is third


def test_what_is_elsewhere_is_what_was_fetched():
    far = of("far", "finished", Remote(["a:1"], 10))
    pending = of("late")
    got = answer({"far": dumps("f"), "late": dumps("l")})
    assert gathered([finished("a", 1), far, pending, far], fetched=got) == [1, "f", "l", "f"]


def test_the_first_failure_is_raised_or_all_are_left_out():
    with pytest.raises(WorkerLostError, match="first"):
        gathered([finished("a", 1), lost("first"), lost("second")])
    assert gathered([finished("a", 1), lost("first"), [lost("second")]], "skip", answer()) == [1, []]
    assert gathered(lost("first"), "skip", answer()) is None


def test_what_could_not_be_fetched_is_raised_or_left_out():
    far = of("far", "finished", Remote(["a:1"], 10))
    got = answer(errors={"far": WorkerLostError("far", ["a:1"])})
    with pytest.raises(WorkerLostError):
        gathered([finished("a", 1), far], fetched=got)
    assert gathered([finished("a", 1), far], "skip", got) == [1]


def test_what_cannot_be_read_here_is_raised_or_left_out():
    bad, worse = (of(key, "finished", b"\x80\x05no pickle") for key in ("bad", "worse"))
    with pytest.raises(TaskError, match="the result of bad cannot be unpickled here"):
        gathered([finished("a", 1), bad, finished("b", 2), worse])
    assert gathered([finished("a", 1), bad, finished("b", 2), worse, worse, finished("c", 3)], "skip") == [1, 2, 3]


def test_what_could_not_be_pickled_there_says_so_itself():
    told = of("told", "finished", dumps(_Raises()))
    with pytest.raises(TaskError, match="why it could not") as caught:
        gathered([told])
    assert caught.value.__cause__ is None


def test_when_the_time_is_over_what_is_pending_is_counted():
    with pytest.raises(RequestTimeoutError, match="1 of 2 results are not there after 3 s"):
        Gathering([finished("a", 1), of("late")], "raise").take(3.0, 0.0)
    assert gathered([finished("a", 1)], timeout=3.0, left=-1.0) == [1]
