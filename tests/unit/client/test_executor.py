import functools

import pytest

from distributed.client import executor as executor_module
from distributed.client.executor import ClientExecutor
from distributed.client.table import KeyState, Remote


class StubFuture:
    """Ends when told."""

    def __init__(self, value=None):
        self.value = value
        self.cancelled_by = 0
        self.callbacks = []
        self._state = KeyState("k")

    def add_done_callback(self, callback):
        self.callbacks.append(callback)

    def end(self, value):
        self.value = value
        for callback in self.callbacks:
            callback(self)

    def result(self, timeout=None):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def cancel(self):
        self.cancelled_by += 1


class StubClient:
    def __init__(self, asynchronous=False):
        self.asynchronous = asynchronous
        self.calls = []
        self.futures = []
        self.cancelled = []
        self.gathered = []

    def submit(self, function, *args, **options):
        self.calls.append((function, args, options))
        self.futures.append(StubFuture())
        return self.futures[-1]

    def map(self, function, *iterables, batch_size=None, **options):
        self.calls.append((function, batch_size))
        values = list(map(function, *iterables))
        if batch_size is None:
            return [StubFuture(value) for value in values]
        return [StubFuture(values[start : start + batch_size]) for start in range(0, len(values), batch_size)]

    def gather(self, futures, timeout=None):
        self.gathered.append(len(futures))
        return [future.result(timeout) for future in futures]

    def cancel(self, futures):
        self.cancelled += futures


class FinishedClient(StubClient):
    """Its results are at workers at once, each of so many bytes."""

    def __init__(self, nbytes):
        super().__init__()
        self.nbytes = nbytes

    def map(self, function, *iterables, **options):
        futures = super().map(function, *iterables, **options)
        for future in futures:
            future._state.end("finished", Remote(["a:1"], self.nbytes))
        return futures


@pytest.fixture
def client():
    return StubClient()


def test_calls_are_not_taken_for_pure_and_options_are_passed(client):
    executor = ClientExecutor(client, priority=5)
    executor.submit(divmod, 7, 2)
    assert client.calls == [(divmod, (7, 2), {"pure": False, "priority": 5})]


def test_keyword_arguments_are_never_options(client):
    ClientExecutor(client).submit(print, 1, key="mine", workers=3)
    function, args, options = client.calls[0]
    assert isinstance(function, functools.partial)
    assert (function.keywords, args, options) == ({"key": "mine", "workers": 3}, (1,), {"pure": False})


def test_outcomes_are_copied(client):
    executor = ClientExecutor(client)
    good, bad = executor.submit(int), executor.submit(int)
    client.futures[0].end(5)
    client.futures[1].end(OSError("no"))
    assert good.result(0) == 5
    assert isinstance(bad.exception(0), OSError)


def test_cancelling_reaches_the_task_and_its_late_end_is_nothing(client):
    future = ClientExecutor(client).submit(int)
    assert future.cancel()
    assert client.futures[0].cancelled_by == 1
    client.futures[0].end(5)
    assert future.cancelled()


def test_map_sends_chunks_and_yields_single_results(client):
    results = ClientExecutor(client).map(pow, [1, 2, 3], [2, 2, 2], chunksize=2)
    assert next(results) == 1
    assert list(results) == [4, 9]
    assert client.calls == [(pow, 2)]
    assert client.cancelled == []


def test_map_of_nothing_is_nothing(client):
    assert list(ClientExecutor(client).map(int)) == []


@pytest.mark.parametrize(("nbytes", "gathered"), [(5_000, [64, 36]), (3_000_000, [2] * 50), (10_000_000, [])])
def test_results_that_are_there_come_several_at_a_time_but_not_too_much(nbytes, gathered):
    client = FinishedClient(nbytes)
    assert list(ClientExecutor(client).map(int, map(str, range(100)))) == list(range(100))
    assert client.gathered == gathered


def test_results_before_a_failure_are_yielded_before_it_is_raised():
    client = FinishedClient(100)
    results = ClientExecutor(client).map(lambda i: OSError("no") if i == 2 else i, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="no"):
        next(results)
    assert len(client.cancelled) == 3


def test_results_that_are_there_and_do_not_come_cost_their_time_only_once(monkeypatch):
    now_s, left = [100.0], []

    class Late(FinishedClient):
        def gather(self, futures, timeout=None):
            now_s[0] += timeout
            raise TimeoutError

    monkeypatch.setattr(executor_module.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(StubFuture, "result", lambda self, timeout=None: left.append(timeout))
    next(ClientExecutor(Late(100)).map(int, ["1", "2"], timeout=5.0))
    assert left == [0.0]


def test_a_map_that_is_given_up_cancels_the_rest(client):
    results = ClientExecutor(client).map(int, ["1", "2", "3"])
    assert next(results) == 1
    results.close()
    assert len(client.cancelled) == 2


def test_shutdown_refuses_more_and_may_cancel(client):
    executor = ClientExecutor(client)
    open_one = executor.submit(int)
    executor.shutdown(wait=False, cancel_futures=True)
    assert open_one.cancelled()
    for attempt in (lambda: executor.submit(int), lambda: executor.map(int, [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            attempt()


def test_an_asynchronous_client_has_no_executor():
    with pytest.raises(TypeError, match="not asynchronous"):
        ClientExecutor(StubClient(asynchronous=True))
