"""One task from payloads to the message that says how it ended."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from distributed.errors import TaskError
from distributed.messages import RunTask, TaskErred, TaskFinished, TaskMissingData
from distributed.wire.failure import load_error
from distributed.wire.payload import dumps, dumps_call, loads
from distributed.worker.context import get_task_key, get_worker
from distributed.worker.held import Held
from distributed.worker.running import LARGEST_INLINE, TaskRunner, safe_sizeof
from distributed.worker.store import Pickled, Placed, Store

ADDRESS = "10.0.0.1:1"


class Key:
    __dlaunch_key__ = True

    def __init__(self, key):
        self.key = key


class Bench:
    def __init__(self):
        self.store = Store()
        self.runner = TaskRunner(self.store, ADDRESS, worker=self)

    def run(self, function, *args, key="k", **kwargs):
        payload, needs = dumps_call(args, kwargs)
        self.runner.learn({"f": dumps(function)})
        self.runner.forget_loaded()
        self.task = RunTask(key, 7, "f", payload, 0, list(needs))
        task, message, value = self.runner(self.task)
        assert task is self.task
        assert (message.key, message.run) == (key, 7)
        return message, value

    def error(self, function, *args):
        message, value = self.run(function, *args)
        assert isinstance(message, TaskErred), message
        assert value is None
        return load_error(message.error, key="k"), message.error


@pytest.fixture
def bench():
    return Bench()


def test_a_small_result_rides_in_the_message(bench):
    message, value = bench.run(pow, 2, 5)
    assert value == 32
    assert loads(message.result) == 32
    assert (message.type_name, message.nbytes > 0, message.duration_s > 0) == ("int", True, True)


def test_none_is_a_result(bench):
    message, value = bench.run(print, "a line for the log")
    assert value is None
    assert loads(message.result) is None
    assert message.type_name == "NoneType"


def test_a_large_result_stays(bench):
    message, value = bench.run(bytes, LARGEST_INLINE + 1)
    assert message.result is None
    assert message.nbytes > LARGEST_INLINE
    assert len(value) == LARGEST_INLINE + 1


class Wrapped:
    def __init__(self, size):
        self.content = bytes(size)


def test_an_object_larger_than_it_looks_stays_and_is_measured(bench):
    message, _ = bench.run(Wrapped, 10_000)
    assert message.result is None
    assert message.nbytes > 10_000


def test_arguments_are_the_data_they_name_at_any_depth(bench):
    bench.store.held.update(x=Held(20, 1), y=Held(Pickled(dumps(22)), 1))
    _, value = bench.run(lambda d, *, n: d["x"][0] + n, {"x": [Key("x")]}, n=Key("y"))
    assert value == 42


@pytest.mark.parametrize("value", [[20], Pickled(dumps([20])), Placed(dumps([20]))])
def test_a_result_may_be_known_before_it_is_in_the_store(bench, value):
    bench.store.held["y"] = Held(22, 1)
    payload, keys = dumps_call((Key("x"), Key("y")), {})
    bench.runner.learn({"f": dumps(lambda x, y: x[0] + y)})
    task = RunTask("k", 1, "f", payload, 0, keys)
    assert bench.runner(task, {"x": Held(value, 8)})[2] == 42
    assert type(bench.runner(task)[1]) is TaskMissingData


def test_an_argument_in_shared_memory_is_unpickled_once_for_all_tasks(bench):
    bench.store.held["x"] = Held(Placed(dumps([20])), 1)
    first, second = bench.run(lambda x: x, Key("x"))[1], bench.run(lambda x: x, Key("x"))[1]
    assert first == [20]
    assert first is second


def test_a_dependency_that_has_left_is_reported_missing(bench):
    message, _ = bench.run(abs, Key("gone"))
    assert message == TaskMissingData("k", 7, {"gone": [ADDRESS]})


def test_exceptions_keep_type_message_and_cause(bench):
    def fail():
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError("no such thing") from error

    error, info = bench.error(fail)
    assert repr(error) == "ValueError('no such thing')"
    assert isinstance(error.__cause__, KeyError)
    assert info.worker == ADDRESS
    assert "in fail" in info.traceback
    assert "distributed/worker" not in info.traceback


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_nothing_that_a_task_raises_ends_its_thread(bench, kind):
    def leave():
        raise kind("bye")

    _, info = bench.error(leave)
    assert info.type_name == kind.__name__


def test_endless_recursion_is_the_tasks_error(bench):
    def again():
        return again()

    error, _ = bench.error(again)
    assert isinstance(error, RecursionError)


def test_a_small_result_that_cannot_be_pickled_is_an_error_with_type_and_name(bench):
    error, _ = bench.error(threading.Lock)
    assert isinstance(error, TaskError)
    assert "the result of k is of type lock, which cannot be pickled" in str(error)
    assert bench.run(abs, -1)[1] == 1


class Stubborn:
    def __reduce__(self):
        raise RuntimeError("never leaves")

    def __len__(self):
        raise RuntimeError("uncountable")

    @property
    def nbytes(self):
        raise RuntimeError("unmeasurable")


def test_an_object_that_fights_its_measuring_is_an_error_not_a_crash(bench):
    assert safe_sizeof(Stubborn()) == 64
    error, _ = bench.error(Stubborn)
    assert "RuntimeError: never leaves" in str(error)


def raise_import():
    raise ModuleNotFoundError("No module named 'elsewhere'")


class NeedsModule:
    def __reduce__(self):
        return raise_import, ()


@pytest.mark.parametrize("what", ["function", "arguments", "input"])
def test_what_cannot_be_unpickled_says_what_where_and_which_python(bench, what):
    if what == "function":
        message, _ = bench.run(NeedsModule())
    elif what == "arguments":
        message, _ = bench.run(abs, NeedsModule())
    else:
        bench.store.held["x"] = Held(Pickled(dumps(NeedsModule())), 1)
        message, _ = bench.run(abs, Key("x"))
    text = str(load_error(message.error, key="k"))
    assert f"the {what}" in text
    assert "No module named 'elsewhere'" in text
    assert ADDRESS in text
    assert sys.version.split()[0] in text


def test_an_unknown_function_is_an_error(bench):
    _, message, _ = bench.runner(RunTask("k", 1, "unknown", b""))
    assert "was never sent" in message.error.message


def test_a_function_is_unpickled_once(bench):
    bench.runner.learn({"f": dumps(counted_function())})
    for n in range(3):
        payload, _ = dumps_call((n,), {})
        _, _message, value = bench.runner(RunTask("k", n, "f", payload))
        assert value == n
    assert LOADED == [1]


LOADED = []


class counted_function:  # noqa: N801 - stands for a function
    def __reduce__(self):
        return load_counted, ()


def load_counted():
    LOADED.append(1)
    return abs


def test_coroutines_run_to_their_end(bench):
    async def answer():
        return 42

    assert bench.run(answer)[1] == 42


def test_a_task_knows_where_it_is(bench):
    message, value = bench.run(lambda: (get_task_key(), get_worker().__class__.__name__), key="me")
    assert value == ("me", "Bench")
    assert isinstance(message, TaskFinished)
    with pytest.raises(ValueError, match="no task"):
        get_task_key()


def test_os_exit_is_not_tried_here_but_a_closed_file_is_an_error(bench):
    error, _ = bench.error(os.fstat, 987)
    assert isinstance(error, OSError)
