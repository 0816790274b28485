import functools
import operator

import pytest

from distributed.client.keys import FunctionRegistry, TokenSource, name_of, token_of, unwrap
from distributed.payloads import Buffer
from distributed.wire.payload import loads


class Callable:
    def __call__(self):
        return 1


def double(x):
    return 2 * x


def test_names_are_short_and_readable():
    assert name_of(double) == "double"
    assert name_of(lambda: 0) == "lambda"
    assert name_of(Callable()) == "Callable"
    assert name_of(operator.add) == "add"
    assert len(name_of(type("X" * 500, (), {}))) == 60


def test_equal_payloads_have_equal_tokens_and_others_not():
    assert token_of(b"f", b"1") == token_of(b"f", b"1")
    assert token_of(b"f", b"1") != token_of(b"f", b"2")
    assert token_of(b"g", b"1") != token_of(b"f", b"1")
    assert len(token_of(b"", b"")) == 32


def test_a_token_depends_on_out_of_band_buffers():
    first = token_of(b"f", [b"head", Buffer(b"data")])
    assert first == token_of(b"f", [b"head", Buffer(bytearray(b"data"))])
    assert first != token_of(b"f", [b"head", Buffer(b"dat4")])


def test_token_sources_never_repeat():
    one, other = TokenSource(), TokenSource()
    assert len({source.next() for source in (one, other) for _ in range(1000)}) == 2000


def test_functions_of_modules_are_pickled_once():
    registry = FunctionRegistry()
    assert registry.pack(operator.add) is registry.pack(operator.add)
    packed = registry.pack(operator.add)
    assert loads(packed.payload) is operator.add
    assert packed.name == "add"


def test_a_closure_travels_with_the_state_that_it_has_now():
    state = [1]

    def read():
        return state[0]

    registry = FunctionRegistry()
    before = registry.pack(read)
    state[0] = 2
    after = registry.pack(read)
    assert before.id != after.id
    assert (loads(before.payload)(), loads(after.payload)()) == (1, 2)


def test_equal_lambdas_have_equal_ids():
    registry = FunctionRegistry()
    made = [registry.pack(eval("lambda x: x + 1", {})) for _ in range(2)]
    assert made[0].id == made[1].id


def test_a_replaced_function_of_a_module_is_not_taken_for_the_old_one(monkeypatch):
    registry = FunctionRegistry()
    old = double
    assert registry.pack(old) is registry.pack(old)

    def changed(x):
        return 3 * x

    changed.__qualname__ = "double"
    monkeypatch.setitem(globals(), "double", changed)
    assert loads(registry.pack(changed).payload)(1) == 3


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="needs a function to call, not int"):
        FunctionRegistry().pack(1)  # type: ignore[arg-type]


def test_partials_are_unwrapped_to_their_function():
    inner = functools.partial(functools.partial(divmod, 7))
    assert unwrap(inner, (2,), {}) == (divmod, (7, 2), {})
    keyed = functools.partial(sorted, key=abs, reverse=True)
    assert unwrap(keyed, ([1],), {"reverse": False}) == (sorted, ([1],), {"key": abs, "reverse": False})
