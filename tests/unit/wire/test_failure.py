import os
import pickle
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import msgspec
import pytest

from distributed import errors
from distributed.errors import (
    CommError,
    ConfigError,
    KilledWorker,
    NoWorkersError,
    RemoteError,
    TaskError,
    WorkerLostError,
)
from distributed.messages import ErrorInfo, KeyErred
from distributed.wire.failure import RemoteTraceback, dump_error, load_error
from distributed.wire.frames import decode_batch, encode_batch

ROOT = Path(__file__).parents[3]


def raised(error):
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - whatever the test wants raised
        return caught


def travelled(info):
    [message] = decode_batch(encode_batch([KeyErred("k", info)])[0][12:])
    return message.error


def there_and_back(error, key=""):
    return load_error(travelled(dump_error(raised(error), worker="10.0.0.2:7")), key)


class TwoArgumentsError(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class OwnMessageError(Exception):
    """Pickles without complaint, but its message grows each time."""

    def __init__(self, code):
        super().__init__(f"code {code}")


class HoldsALockError(Exception):
    def __init__(self):
        super().__init__("locked", 5)
        self.lock = threading.Lock()
        self.number = 5


class LockInArgumentsError(Exception):
    def __init__(self):
        super().__init__("locked", threading.Lock())


class BadStrError(Exception):
    def __str__(self):
        raise RuntimeError("no")


class StrangeStrError(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307 - strange it is


class BadReduceError(Exception):
    def __reduce__(self):
        raise RuntimeError("no")


class ExitingReduceError(Exception):
    def __reduce__(self):
        raise SystemExit(9)


def refuse(*args):
    raise ImportError("No module named 'acme'")


def leave(*args):
    raise SystemExit(3)


class RefusesToLoadError(Exception):
    def __reduce__(self):
        return refuse, self.args


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("k"),
        OSError(2, "No such file", "/x"),
        FileNotFoundError(2, "No such file", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        ZeroDivisionError("division by zero"),
        StopIteration(5),
        SystemExit(3),
        KeyboardInterrupt(),
        TwoArgumentsError(5, "why"),
        OwnMessageError(5),
        HoldsALockError(),
        CommError("cannot connect", address="a:1"),
        ConfigError("bad", key="k", value=5),
        KilledWorker("k", ["w: killed"]),
        NoWorkersError("x", [], 1.0),
        RuntimeError(),
        pytest.param(type("Local", (Exception,), {})("x"), id="local class"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_type_and_message_survive(error):
    back = there_and_back(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args or isinstance(error, HoldsALockError)


def test_attributes_survive():
    assert there_and_back(TwoArgumentsError(5, "why")).code == 5
    assert there_and_back(CommError("x", address="a:1")).address == "a:1"
    assert there_and_back(OSError(2, "m", "/x")).filename == "/x"


def test_notes_survive():
    error = ValueError("x")
    error.__notes__ = ["look here"]
    assert there_and_back(error).__notes__ == ["look here"]
    odd = TwoArgumentsError(1, "y")
    odd.__notes__ = ["look there"]
    assert there_and_back(odd).__notes__ == ["look there"]


def test_what_cannot_travel_is_left_behind_and_the_type_survives():
    assert not hasattr(there_and_back(HoldsALockError()), "lock")
    back = there_and_back(LockInArgumentsError())
    assert type(back) is LockInArgumentsError
    assert "locked" in str(back)


def divide(x):
    return 1 / x


def test_the_remote_traceback_comes_along_as_frames_and_as_text():
    try:
        divide(0)
    except ZeroDivisionError as caught:
        info = dump_error(caught, worker="10.0.0.2:7")
    back = load_error(travelled(info))
    frames = traceback.extract_tb(back.__traceback__)
    assert frames[-1].name == "divide"
    assert isinstance(back.__cause__, RemoteTraceback)
    assert "on worker 10.0.0.2:7" in str(back.__cause__)
    assert "return 1 / x" in str(back.__cause__)


def test_causes_and_contexts_survive_in_order():
    try:
        try:
            try:
                divide(0)
            except ZeroDivisionError:
                raise KeyError("middle")  # noqa: B904 - the context is meant
        except KeyError as middle:
            raise ValueError("outer") from middle
    except ValueError as caught:
        info = dump_error(caught)
    outer = load_error(travelled(info))
    assert type(outer) is ValueError
    assert type(outer.__cause__) is KeyError
    assert type(outer.__cause__.__context__) is ZeroDivisionError
    assert isinstance(outer.__cause__.__context__.__cause__, RemoteTraceback)


def test_a_suppressed_context_stays_away():
    try:
        try:
            divide(0)
        except ZeroDivisionError:
            raise ValueError("clean") from None
    except ValueError as caught:
        back = load_error(dump_error(caught))
    assert back.__context__ is None


def test_a_ring_of_causes_ends():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    back = there_and_back(one)
    assert str(back.__cause__) == "two"


def test_a_cause_that_cannot_travel_does_not_spoil_its_effect():
    error = ValueError("outer")
    error.__cause__ = BadReduceError("inner")
    back = there_and_back(error)
    assert type(back) is ValueError
    assert "inner" in str(back.__cause__)


def test_a_recursion_error_keeps_its_type_and_both_ends_of_its_traceback():
    def down(n):
        return down(n + 1)

    def start():
        return down(0)

    try:
        start()
    except RecursionError as caught:
        info = dump_error(caught)
    back = load_error(travelled(info))
    assert type(back) is RecursionError
    names = [frame.name for frame in traceback.extract_tb(back.__traceback__)]
    assert "start" in names
    assert 20 < len(names) < 100


def test_ten_megabytes_of_text_are_shortened():
    info = dump_error(ValueError("x" * 10_000_000))
    assert len(encode_batch([KeyErred("k", info)])[0]) < 200_000
    back = load_error(travelled(info))
    assert type(back) is ValueError
    assert "characters left out" in str(back)


def test_large_attributes_are_left_behind():
    error = TwoArgumentsError(1, "y")
    error.data = bytes(2**21)
    back = there_and_back(error)
    assert type(back) is TwoArgumentsError
    assert not hasattr(back, "data")


@pytest.mark.parametrize(
    "error",
    [BadStrError("x"), StrangeStrError("x"), BadReduceError("x"), ExitingReduceError("x")],
    ids=lambda e: type(e).__name__,
)
def test_the_strangest_exceptions_are_dumped_and_named(error):
    info = travelled(dump_error(raised(error)))
    assert info.type_name.endswith(type(error).__name__)
    back = load_error(info, key="f-1")
    assert type(error).__name__ in (type(back).__name__, getattr(back, "type_name", "").rpartition(".")[2])


def test_file_names_that_are_no_text_are_shown_escaped():
    info = dump_error(ValueError("bad \udcff name"))
    assert travelled(info).message == "bad \\udcff name"


@pytest.mark.parametrize("loader", [refuse, leave])
def test_what_cannot_be_rebuilt_here_is_told_by_its_text(loader):
    info = dump_error(raised(ValueError("deep")), worker="w:1")
    payload = pickle.dumps([((loader, ()), "", None)])
    for broken in (payload, b"junk", b"", [], [5]):
        bad = msgspec.structs.replace(info, exception=broken)
        task = load_error(bad, key="f-1")
        assert type(task) is TaskError
        assert (task.key, task.worker, task.type_name) == ("f-1", "w:1", "ValueError")
        assert str(task).startswith("ValueError: deep")
        assert "raise error" in str(task.__cause__)
        assert type(load_error(bad)) is RemoteError


def test_why_it_cannot_be_rebuilt_is_told():
    info = ErrorInfo("acme.AcmeError", "boom", "", pickle.dumps([((refuse, ()), "", None)]))
    assert "cannot be rebuilt here: ImportError: No module named 'acme'" in str(load_error(info))


def test_an_exception_that_does_not_load_even_here_goes_as_type_and_message():
    assert str(there_and_back(RefusesToLoadError("x"))) == "x"


def test_what_is_no_exception_after_loading_is_told_by_its_text():
    info = ErrorInfo("x.Y", "boom", "", pickle.dumps([((int, ()), "", None)]))
    assert type(load_error(info)) is RemoteError


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (KilledWorker, {"key": "f-1", "causes": ["10.0.0.2:7: killed by signal 9"]}),
        (WorkerLostError, {"key": "x", "workers": ["10.0.0.2:7"]}),
        (errors.CancelledError, {"key": "x"}),
    ],
)
def test_errors_made_as_plain_data_are_built_here(cls, data):
    error = load_error(travelled(ErrorInfo(f"distributed.errors.{cls.__name__}", "m", data=data)), unpickle=False)
    assert type(error) is cls
    assert {name: getattr(error, name) for name in data} == data


@pytest.mark.parametrize(
    "info",
    [
        ErrorInfo("distributed.errors.KilledWorker", "m", data={"wrong": 1}),
        ErrorInfo("distributed.errors.Nothing", "m", data={"key": "x"}),
        ErrorInfo("distributed.errors.copyreg", "m", data={"key": "x"}),
        ErrorInfo("os.system", "m", data={"command": "true"}),
        ErrorInfo("", "", data={"": 1}),
    ],
)
def test_nothing_else_is_built_from_data(info):
    assert type(load_error(info)) is RemoteError


def test_without_unpickling_only_text_is_used(monkeypatch):
    info = travelled(dump_error(raised(ValueError("x")), worker="w:1"))
    monkeypatch.setattr(pickle, "loads", lambda *a, **k: pytest.fail("unpickled"))
    error = load_error(info, unpickle=False)
    assert type(error) is RemoteError
    assert error.type_name == "ValueError"


def test_an_error_passed_on_is_the_original_at_the_end():
    info = travelled(dump_error(raised(TwoArgumentsError(5, "why"))))
    passed_on = travelled(dump_error(load_error(info, unpickle=False), worker="w:1"))
    back = load_error(passed_on)
    assert type(back) is TwoArgumentsError
    assert passed_on.worker == "w:1"


SCRIPT = """
import sys, msgspec
from distributed.wire.failure import dump_error
class ScriptError(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b
try:
    raise ScriptError("mine", 7) from ValueError("inner")
except ScriptError as error:
    sys.stdout.buffer.write(msgspec.msgpack.encode(dump_error(error)))
"""


def test_an_exception_class_of_a_script_is_rebuilt_elsewhere(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, check=True).stdout
    back = load_error(msgspec.msgpack.decode(out, type=ErrorInfo))
    assert type(back).__name__ == "ScriptError"
    assert (str(back), back.b) == ("mine", 7)
    assert type(back.__cause__) is ValueError
