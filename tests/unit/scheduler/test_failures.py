from __future__ import annotations

from distributed import errors
from distributed.messages import ErrorInfo
from distributed.scheduler.failures import killed_error, lost_error, unreachable_error
from distributed.wire.failure import load_error


def loaded(info: ErrorInfo) -> BaseException:
    assert info.exception == b""
    error = load_error(info)
    assert str(error) == info.message
    return error


def test_a_killer_is_told_with_all_its_victims() -> None:
    error = loaded(killed_error("x", ["a: killed by signal 9", "b: exit code 1"]))
    assert isinstance(error, errors.KilledWorker)
    assert (error.key, error.causes) == ("x", ["a: killed by signal 9", "b: exit code 1"])


def test_lost_data_names_its_last_holders() -> None:
    error = loaded(lost_error("x", ["a:1"]))
    assert isinstance(error, errors.WorkerLostError)
    assert (error.key, error.workers) == ("x", ["a:1"])


def test_released_data_says_what_would_have_kept_it() -> None:
    error = loaded(lost_error("x", ()))
    assert isinstance(error, errors.WorkerLostError)
    assert "has been released" in str(error)


def test_an_unreachable_dependency_says_where_it_is() -> None:
    error = loaded(unreachable_error("y", {"x": ["10.0.0.1:4"]}, 10))
    assert isinstance(error, errors.CommError)
    assert error.address == "10.0.0.1:4"
    assert "y could not get x from 10.0.0.1:4" in str(error)
