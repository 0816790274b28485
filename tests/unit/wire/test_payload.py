import importlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.errors import RemoteProtocolError
from distributed.messages import Reply
from distributed.payloads import Buffer
from distributed.wire.frames import decode_batch, encode_batch
from distributed.wire.payload import (
    dumps,
    dumps_call,
    dumps_plain_calls,
    loads,
    loads_call,
    loads_plain,
    payload_nbytes,
    sizeof,
)

ROOT = Path(__file__).parents[3]


class Key:
    """Stands for a Future."""

    __dlaunch_key__ = True

    def __init__(self, key):
        self.key = key

    def __reduce__(self):
        raise AssertionError("a future inside a call is not pickled itself")


def travelled(payload):
    """The payload as it is after a journey over the wire."""
    pieces = encode_batch([Reply(1, payload)])
    if len(pieces) == 1:
        count = int.from_bytes(pieces[0][:4], "little")
        assert count == 1
        return decode_batch(pieces[0][12:])[0].result
    start = 12 + 8 * (len(pieces) - 1)
    return decode_batch(pieces[0][start:], [bytearray(p) for p in pieces[1:]])[0].result


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda x: st.lists(x) | st.tuples(x, x) | st.dictionaries(st.text(), x),
        max_leaves=10,
    )
)
def test_plain_values_come_back_equal(value):
    assert loads(travelled(dumps(value))) == value


@pytest.fixture
def by_value(tmp_path, monkeypatch):
    """A module that only this process has, as its author told cloudpickle."""
    (tmp_path / "only_here").mkdir()
    (tmp_path / "only_here" / "__init__.py").touch()
    (tmp_path / "only_here" / "tools.py").write_text("class Model:\n    pass\n\ndef double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("only_here.tools")
    cloudpickle.register_pickle_by_value(sys.modules["only_here"])
    yield module
    cloudpickle.unregister_pickle_by_value(sys.modules["only_here"])
    sys.modules.pop("only_here")
    sys.modules.pop("only_here.tools")


def test_what_is_of_a_module_registered_with_cloudpickle_needs_no_module_there(by_value):
    payloads = [dumps(by_value.double), dumps_call((by_value.double,), {})[0], dumps(by_value.Model())]
    code = (
        "import sys; from distributed.wire.payload import loads, loads_call; "
        "function, call, model = map(bytes.fromhex, sys.argv[1:]); "
        "print(loads(function)(2), loads_call(call, {})[0][0](3), type(loads(model)).__name__)"
    )
    argv = [sys.executable, "-c", code, *(payload.hex() for payload in payloads)]
    assert subprocess.run(argv, check=True, capture_output=True, text=True, cwd=ROOT).stdout == "4 6 Model\n"


ODD = [0, -1, 2**63, -(2**63), 2**64, -(2**64), 10**30, True, False, None, 1.0, -0.0, float("inf"), 5e-324]
ODD += ["", "\ud800", "\0", "é" * 40_000, b"", b"\x80", 1j, (), [], {}]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_every_plain_value_comes_back_as_it_was_alone_and_as_an_argument(value):
    for back in (loads(travelled(dumps(value))), loads_call(travelled(dumps_call((value,), {})[0]), {})[0][0]):
        assert (type(back), repr(back)) == (type(value), repr(value))
    payload, [key] = dumps_call((value, Key("a")), {"n": value} if type(value) is not list else {})
    args, kwargs = loads_call(travelled(payload), {key: 1})
    assert repr((args, kwargs)) == repr(((value, 1), {"n": value} if type(value) is not list else {}))


def test_a_small_object_is_bytes():
    assert isinstance(dumps([1, 2, 3]), bytes)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_travels_beside_its_pickle_uncopied(order):
    array = np.asarray(np.arange(60_000).reshape(200, 300), order=order)
    payload = dumps({"x": array})
    [pickled, buffer] = payload
    assert len(pickled) < 1000
    assert np.shares_memory(np.frombuffer(buffer.data, dtype=array.dtype), array)
    back = loads(travelled(payload))["x"]
    assert (back == array).all()
    assert back.flags.f_contiguous == (order == "F")


def test_an_array_that_arrived_can_be_written_to():
    back = loads(travelled(dumps(np.zeros(20_000))))
    back[3] = 1
    assert back.sum() == 1


def test_a_readonly_array_comes_back():
    array = np.arange(20_000)
    array.flags.writeable = False
    assert (loads(travelled(dumps(array))) == array).all()


def test_a_slice_with_holes_comes_back():
    array = np.arange(200_000)[::2]
    assert (loads(travelled(dumps([array, array.reshape(100, -1)[:, ::3]]))[:])[0] == array).all()


def test_small_arrays_stay_inside():
    assert isinstance(dumps(np.arange(10)), bytes)


def test_a_hundred_megabytes_of_bytes():
    data = os.urandom(1000) * 100_000
    payload = dumps(data)
    assert payload_nbytes(payload) >= len(data)
    assert isinstance(payload[0], Buffer)
    assert loads(travelled(payload)) == data


@pytest.mark.parametrize("size", [65535, 65536])
def test_text_and_bytes_around_the_border(size):
    for value in ("x" * size, b"x" * size):
        assert loads(travelled(dumps(value))) == value
        payload, keys = dumps_call((value,), {})
        assert keys == []
        assert loads_call(travelled(payload), {}) == ((value,), {})


def test_lambdas_and_local_classes_go_by_value():
    class Point:
        x = 5

    factor = 3
    function, point = loads(dumps((lambda x: x * factor, Point())))
    assert function(4) == 12
    assert point.x == 5


SCRIPT = """
import sys
from distributed.wire.payload import dumps, dumps_call
class Shape:
    def area(self): return 42
def double(x): return 2 * x
payloads = [dumps(Shape()), dumps_call((double, Shape()), {})[0]]
assert all(isinstance(p, bytes) for p in payloads)
sys.stdout.buffer.write(b"".join(len(p).to_bytes(4, "little") + p for p in payloads))
"""


def test_a_function_by_value_keeps_its_file_for_tracebacks():
    def outer():
        return lambda: None

    for function in (loads(dumps(outer)), loads_call(dumps_call((outer,), {})[0], {})[0][0]):
        assert function is not outer
        assert [code.co_filename for code in (function.__code__, function().__code__)] == [__file__, __file__]


def test_what_a_script_defines_loads_elsewhere(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, script], env=environment, stdout=subprocess.PIPE, check=True).stdout
    first = int.from_bytes(out[:4], "little")
    assert loads(out[4 : 4 + first]).area() == 42
    (double, shape), _ = loads_call(out[8 + first :], {})
    assert double(shape.area()) == 84


def test_an_unpicklable_object_raises_what_its_pickling_raises():
    with pytest.raises(TypeError, match="lock"):
        dumps(threading.Lock())

    class Bad:
        def __reduce__(self):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        dumps(Bad())


def test_deep_nesting_is_a_recursion_error_or_comes_back():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises((RecursionError, pickle.PicklingError)):
        dumps(deep)


@pytest.mark.parametrize("payload", [[], b"", b"junk", [b"junk"], ["text"], [5], [None, Buffer(b"")]])
def test_what_is_no_payload_raises(payload):
    with pytest.raises((RemoteProtocolError, EOFError, pickle.UnpicklingError, TypeError, msgspec.DecodeError)):
        loads(payload)


# -- calls -------------------------------------------------------------------------------------------------


def test_futures_at_any_depth_become_their_values():
    args = (Key("a"), [Key("b"), {"deep": (Key("c"), {"x": Key("a")})}])
    payload, keys = dumps_call(args, {"more": Key("d"), "plain": 5})
    assert keys == ["a", "b", "c", "d"]
    data = {"a": 1, "b": 2, "c": 3, "d": 4}
    assert loads_call(travelled(payload), data) == ((1, [2, {"deep": (3, {"x": 1})}]), {"more": 4, "plain": 5})


def test_futures_beside_what_only_cloudpickle_can():
    payload, keys = dumps_call((lambda x: x + 1, Key("a")), {})
    assert keys == ["a"]
    (function, value), _ = loads_call(payload, {"a": 41})
    assert function(value) == 42


def test_a_future_that_a_lambda_closes_over():
    future = Key("a")
    payload, keys = dumps_call((lambda: future,), {})
    assert keys == ["a"]
    (function,), _ = loads_call(payload, {"a": 41})
    assert function() == 41


def test_a_future_in_an_attribute():
    class Model:
        def __init__(self):
            self.weights = Key("w")

    payload, keys = dumps_call((Model(),), {})
    assert keys == ["w"]
    (model,), _ = loads_call(payload, {"w": [1.0]})
    assert model.weights == [1.0]


def test_many_references_to_one_future_are_one_key():
    future = Key("a")
    payload, keys = dumps_call(([future] * 5,), {})
    assert keys == ["a"]
    assert loads_call(payload, {"a": 1})[0] == ([1] * 5,)


FORMS = {
    "f": "future",
    "v": 7,
    "l": ["future", "future"],
    "p": [1, None, "x"],
    "e": [],
    "m": [1, "future"],
    "d": [["future"]],
}


@pytest.mark.parametrize(
    "form",
    [
        "",
        "v",
        "f",
        "ff",
        "vff",
        "ffv",
        "vffv",
        "vfvf",
        "fvf",
        "vfvffv",
        "l",
        "p",
        "e",
        "vl",
        "lv",
        "ll",
        "lf",
        "fl",
        "flplfe",
        "pe",
        "pf",
        "m",
        "vm",
        "ml",
        "d",
        "fd",
    ],
)
@pytest.mark.parametrize("kwargs", [{}, {"n": 3, "text": "x"}, {"n": [3]}], ids=["", "plain", "list"])
def test_futures_come_back_where_they_were(form, kwargs):
    names, keys = (f"k{i}" for i in itertools.count()), []

    def made(item):
        if isinstance(item, list):
            return [made(part) for part in item]
        if item != "future":
            return item
        keys.append(next(names))
        return Key(keys[-1])

    def valued(item):
        if isinstance(item, list):
            return [valued(part) for part in item]
        return f"value of {item.key}" if isinstance(item, Key) else item

    args = tuple(made(FORMS[kind]) for kind in form)
    payload, found = dumps_call(args, kwargs)
    assert found == keys
    wanted = tuple(valued(arg) for arg in args)
    assert loads_call(travelled(payload), {key: f"value of {key}" for key in keys}) == (wanted, kwargs)


@pytest.mark.parametrize("args", [(), (1,), (Key("a"),), ([Key("a")], 2)])
def test_a_future_that_is_a_keyword_becomes_its_value(args):
    payload, names = dumps_call(args, {"n": Key("z")})
    _, kwargs = loads_call(travelled(payload), {**dict.fromkeys(names, 0), "z": 41})
    assert (names[-1], kwargs) == ("z", {"n": 41})


@pytest.mark.parametrize(
    "calls",
    [[], [()], [(1,), (2, "x")], [(2**70,)], [(1,), (b"x" * 2**16,)], [(1,), ([],)], [(1,), (Key("a"),)]],
    ids=str,
)
def test_plain_calls_at_once_are_what_they_are_one_by_one(calls):
    payloads = dumps_plain_calls(calls)
    if payloads is None:
        assert {type(arg) for args in calls for arg in args} - {int} or calls == [(2**70,)]
    else:
        assert payloads == [dumps_call(args, {})[0] for args in calls]
        assert [loads_call(payload, {}) for payload in payloads] == [(args, {}) for args in calls]


@pytest.mark.parametrize("values", [[1], [1, "x", None, 2.5, b"y", True], [2**70], [1, [2]], [(1,)], []], ids=str)
def test_plain_values_together_are_what_they_are_one_by_one(values):
    payloads = [dumps(value) for value in values]
    assert loads_plain(payloads) == (None if any(payload[0] == 0x80 for payload in payloads) else values)


@pytest.mark.parametrize("damaged", [b"", b"\xa5no", b"\x01\x02", b"\xc1", [b"\x01"]], ids=str)
def test_values_of_which_one_is_not_plain_are_for_others_to_read(damaged):
    assert loads_plain([dumps(1), damaged, dumps(2)]) is None


def test_each_call_has_its_own_lists():
    payload, _ = dumps_call(([Key("a")], [1]), {})
    (one, plain), _ = loads_call(payload, {"a": 1})
    one.append(2)
    plain.append(2)
    assert loads_call(payload, {"a": 1}) == (([1], [1]), {})


def test_a_list_that_is_two_arguments_is_one_list():
    for item in (Key("a"), 1):
        both = [item]
        payload, _ = dumps_call((both, both), {})
        (one, other), _ = loads_call(payload, {"a": 1} if item != 1 else {})
        assert one is other


def test_a_list_is_taken_as_it_is_when_the_call_is_made():
    items = [1]
    payload, _ = dumps_call((items, Key("a")), {})
    items.append(2)
    assert loads_call(payload, {"a": 1})[0] == ([1], 1)


def test_a_future_that_is_two_arguments_is_both():
    keys = [Key("a"), Key("b"), Key("a")]
    values = {"a": 1, "b": 2}
    for _ in range(2):  # the second call has the names of the one before
        payload, names = dumps_call(tuple(keys), {})
        assert names == ["a", "b"]
        assert loads_call(payload, values) == ((1, 2, 1), {})
        assert dumps_call((Key("a"), Key("b")), {})[1] == ["a", "b"]


@pytest.mark.parametrize("args", [(Key("gone"),), (Key("gone"), 1, Key("too")), ([Key("gone"), Key("too")], 1)])
def test_a_reference_without_its_value_is_a_key_error(args):
    payload, _ = dumps_call(args, {})
    with pytest.raises(KeyError, match="inputs are gone"):
        loads_call(payload, {})


def test_arrays_in_calls_travel_beside():
    payload, keys = dumps_call((np.zeros(20_000), Key("a")), {})
    assert keys == ["a"]
    assert [type(part) for part in payload] == [bytes, Buffer]
    (array, value), _ = loads_call(travelled(payload), {"a": "A"})
    assert array.shape == (20_000,)
    assert value == "A"


class Nested:
    """Loads another call while it is loaded itself."""

    def __reduce__(self):
        return load_inner, (dumps_call((Key("a"),), {})[0],)


def load_inner(payload):
    return loads_call(payload, {"a": "inner"})[0][0]


def test_calls_within_calls_have_their_own_values():
    payload, _ = dumps_call((Key("a"), Nested(), Key("a")), {})
    assert loads_call(payload, {"a": "outer"})[0] == ("outer", "inner", "outer")


def test_threads_do_not_mix_up_their_values():
    payload, _ = dumps_call(([Key("a") for _ in range(50)],), {})
    wrong = []
    gate = threading.Barrier(4)

    def load(mine):
        gate.wait()
        for _ in range(200):
            [values] = loads_call(payload, {"a": mine})[0]
            if set(values) != {mine}:
                wrong.append(values)

    threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- sizes -------------------------------------------------------------------------------------------------


def test_sizes_are_about_right():
    assert sizeof(np.zeros(1000)) == pytest.approx(8000, rel=0.1)
    assert sizeof(b"x" * 10_000) == pytest.approx(10_000, rel=0.1)
    assert sizeof([b"x" * 10_000] * 100) == pytest.approx(1_000_000, rel=0.1)
    assert sizeof(dict.fromkeys(range(100), "y" * 1000)) == pytest.approx(100_000, rel=0.2)


def test_the_size_of_a_strange_object_is_still_a_number():
    class Strange:
        def __sizeof__(self):
            raise RuntimeError("no")

        @property
        def nbytes(self):
            raise RuntimeError("no")

    loop = []
    loop.append(loop)
    for value in (Strange(), [Strange()], loop, {}, object, type("Big", (), {"nbytes": "much"})()):
        assert sizeof(value) > 0
