from sys import getsizeof

import pytest

from distributed.client.table import KeyTable, Remote, exception_of
from distributed.errors import CancelledError, ConnectionLostError, TaskError, WorkerLostError
from distributed.messages import (
    CancelKeys,
    ErrorInfo,
    Heartbeat,
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    RetryKeys,
    WantKeys,
)


class Watcher:
    def __init__(self, *states):
        self.seen = []
        for state in states:
            state.waiters = (self,)

    def notify(self, state):
        self.seen.append((state.key, state.status))


def in_memory(key, result=b"r", workers=("w:1",)):
    return KeyInMemory(key, "int", 28, list(workers), result)


def make(*keys):
    table = KeyTable("fence-")
    return (table, *(table.acquire(key)[0] for key in keys))


def test_futures_of_one_key_share_its_state_and_it_is_new_once():
    table = KeyTable("fence-")
    first, new = table.acquire("x")
    second, again = table.acquire("x")
    assert first is second
    assert (new, again, first.refs, len(table)) == (True, False, 2, 1)


def test_an_inline_result_is_kept_as_it_came():
    table, x = make("x")
    watcher = Watcher(x)
    assert table.apply(in_memory("x", b"payload"))
    assert (x.status, x.detail, x.type_name) == ("finished", b"payload", "int")
    assert watcher.seen == [("x", "finished")]
    assert x.waiters == ()


def test_a_result_elsewhere_names_its_holders():
    table, x = make("x")
    table.apply(in_memory("x", None, ["a:1", "b:2"]))
    assert x.detail == Remote(["a:1", "b:2"], 28)
    table.apply(in_memory("x", None, ["b:2"]))
    assert x.detail == Remote(["b:2"], 28)


def test_news_of_unknown_keys_are_nothing():
    (table,) = make()
    for news in (in_memory("y"), KeyCancelled("y"), KeyPending("y"), KeyLost("y", [])):
        assert table.apply(news)
    assert len(table) == 0


def test_other_messages_are_not_news_of_keys():
    (table,) = make()
    assert not table.apply(Heartbeat(1, 2))


def test_the_last_release_of_a_finished_key_is_told_without_a_fence():
    table, x = make("x")
    table.acquire("x")
    table.apply(in_memory("x"))
    assert table.release([x]) == []
    assert table.release([x]) == [ReleaseKeys(["x"])]
    assert len(table) == 0


def test_a_table_that_became_empty_takes_no_room():
    keys = [f"x-{number}" for number in range(500)]
    table, *states = make(*keys)
    table.release(states[1:])
    large = getsizeof(table.states)
    table.release(states[:1])
    assert getsizeof(table.states) < large


def test_releasing_two_futures_in_one_go():
    table, x = make("x")
    table.acquire("x")
    assert table.release([x, x])[0] == ReleaseKeys(["x"])


def test_a_failed_key_raises_its_own_exception_each_time_anew():
    table, x = make("x")
    table.apply(KeyErred("x", ErrorInfo("my.Error", "no good", "Traceback ...", b"", "w:1")))
    first, second = exception_of(x), exception_of(x)
    assert x.status == "error"
    assert isinstance(first, TaskError)
    assert "no good" in str(first)
    assert first is not second


def test_lost_data_say_where_they_were():
    table, x = make("x")
    table.apply(KeyLost("x", ["w:1"]))
    error = exception_of(x)
    assert x.status == "lost"
    assert isinstance(error, WorkerLostError)
    assert error.workers == ["w:1"]


def test_lost_data_may_be_scattered_again_and_the_old_future_does_not_disturb():
    table, old = make("x")
    table.apply(KeyLost("x", ["w:1"]))
    new, fresh = table.acquire("x")
    assert fresh
    assert new is not old
    assert table.release([old]) == []
    assert table.states["x"] is new


def test_a_cancelled_key_tells_the_reason():
    table, x = make("x")
    table.apply(KeyCancelled("x", "the cluster was restarted"))
    assert x.status == "cancelled"
    assert len(table) == 0
    with pytest.raises(CancelledError, match="x was cancelled: the cluster was restarted"):
        raise exception_of(x)


def test_pending_again_forgets_the_result():
    table, x = make("x")
    table.apply(in_memory("x"))
    table.apply(KeyPending("x"))
    assert (x.status, x.detail) == ("pending", None)
    table.apply(in_memory("x", b"again"))
    assert x.detail == b"again"


def test_cancel_ends_keys_at_once_and_sets_a_fence():
    table, x, y = make("x", "y")
    watcher = Watcher(x)
    assert table.cancel([x, x], force=True) == [
        CancelKeys(["x"], True),
        ReleaseKeys(["x"]),
        WantKeys(["fence-1"]),
    ]
    assert watcher.seen == [("x", "cancelled")]
    assert y.status == "pending"
    assert table.cancel([x]) == []
    assert table.release([x]) == []


def test_old_news_do_not_reach_a_key_submitted_again():
    table, old = make("x")
    messages = table.release([old])
    assert messages == [ReleaseKeys(["x"]), WantKeys(["fence-1"])]
    new, fresh = table.acquire("x")
    assert fresh
    table.apply(in_memory("x", b"of the first"))
    table.apply(KeyCancelled("x"))
    assert new.status == "pending"
    table.apply(KeyCancelled("fence-1", "unknown"))
    table.apply(in_memory("x", b"of the second"))
    assert new.detail == b"of the second"


def test_each_key_waits_for_its_own_fence():
    table, x = make("x")
    table.release([x])
    y, _ = table.acquire("y")
    table.cancel([y])
    x2, _ = table.acquire("x")
    y2, _ = table.acquire("y")
    table.apply(KeyCancelled("fence-1"))
    table.apply(in_memory("x"))
    table.apply(in_memory("y"))
    assert (x2.status, y2.status) == ("finished", "pending")
    table.apply(KeyCancelled("fence-2"))
    z, _ = table.acquire("z")
    table.apply(in_memory("y"))
    table.apply(in_memory("z"))
    assert (y2.status, z.status) == ("finished", "finished")


def test_retry_reopens_failed_keys_only():
    table, x, y = make("x", "y")
    table.apply(KeyErred("x", ErrorInfo("E", "m")))
    table.apply(in_memory("y"))
    assert table.retry([x, y, x]) == [RetryKeys(["x"])]
    assert (x.status, y.status) == ("pending", "finished")
    assert table.retry([y]) == []


def test_at_the_end_nothing_stays_pending():
    table, x, y = make("x", "y")
    table.apply(in_memory("y"))
    watcher = Watcher(x)
    lost = ConnectionLostError("lost the scheduler at h:1", address="h:1")
    table.end_all("lost", lost)
    assert watcher.seen == [("x", "lost")]
    assert y.status == "finished"
    error = exception_of(x)
    assert isinstance(error, ConnectionLostError)
    assert error is not lost
    assert error.address == "h:1"


def test_scattered_data_are_finished_without_news():
    table, x = make("x")
    table.finish("x", Remote(["w:1"], 8), "list")
    table.finish("unknown", Remote([], 0))
    assert (x.status, x.type_name, exception_of(x)) == ("finished", "list", None)
