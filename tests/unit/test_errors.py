import copy
import inspect
import pickle

import pytest

from distributed import errors
from distributed.errors import DistributedError

EXAMPLES = [
    errors.ConfigError("m", key="k", value=5, origin="--k"),
    errors.LocalProtocolError("m"),
    errors.RemoteProtocolError("m"),
    errors.CommError("m", address="a:1"),
    errors.ConnectionClosedError("m", address="a:1"),
    errors.ConnectionLostError("m", address="a:1"),
    errors.AuthenticationError("m", address="a:1"),
    errors.RequestTimeoutError("m"),
    errors.SharedMemoryError("m"),
    errors.RemoteError("m", type_name="T", traceback="t", info=("x",)),
    errors.InvalidTransitionError("k", "m", ["a", "b"]),
    errors.TaskError("m", key="k", worker="w", type_name="T", traceback="t"),
    errors.CancelledError("k"),
    errors.WorkerLostError("k", ["w"]),
    errors.KilledWorker("k", ["w: signal 9"]),
    errors.NoWorkersError("x", ["w"], 2.5),
]


def test_every_error_has_an_example():
    made = {type(example) for example in EXAMPLES}
    public = {getattr(errors, name) for name in errors.__all__}
    assert public - made == {DistributedError, errors.ProtocolError}


def test_every_error_has_the_one_root_and_is_exported():
    for name, cls in inspect.getmembers(errors, inspect.isclass):
        if cls.__module__ == errors.__name__:
            assert issubclass(cls, DistributedError)
            assert name in errors.__all__
            assert name.endswith("Error") or name == "KilledWorker"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("how", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_errors_survive_pickling_with_their_attributes(error, how):
    back = how(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_connection_troubles_are_os_errors_and_timeouts_are_timeouts():
    assert issubclass(errors.CommError, OSError)
    assert issubclass(errors.RequestTimeoutError, TimeoutError)


def test_messages_say_what_to_do():
    assert "scatter it once more" in str(errors.WorkerLostError("k", ["w:1"]))
    assert "start one with 'dworker ADDRESS'" in str(errors.NoWorkersError("k", [], 3))
    assert "- w:1: signal 9" in str(errors.KilledWorker("k", ["w:1: signal 9"]))
