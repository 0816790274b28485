import gc
import operator
import sys
import textwrap
import types
import weakref

import cloudpickle
import pytest

from distributed.client.functions import FunctionRegistry
from distributed.wire.payload import loads


def double(x):
    return 2 * x


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


def test_a_module_may_be_registered_with_cloudpickle_after_its_function_was_sent():
    registry, module = FunctionRegistry(), sys.modules[__name__]
    by_name = registry.pack(double)
    cloudpickle.register_pickle_by_value(module)
    try:
        by_value = registry.pack(double)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert loads(by_name.payload) is double
    assert loads(by_value.payload) is not double
    assert registry.pack(double).id == by_name.id


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="needs a function to call, not int"):
        FunctionRegistry().pack(1)  # type: ignore[arg-type]


def written(source):
    """Return a namespace like that of a program or a notebook, after running this in it."""
    known = {"__name__": "__main__"}
    exec(textwrap.dedent(source), known)
    return known


SETTLED = {
    "on its own": "def f(x):\n    return x + 1",
    "lambda": "f = lambda x: x + 1",
    "of a module": "import math\ndef f(x):\n    return math.floor(x) + 1",
    "of a constant": "ONE = 1\ndef f(x):\n    return x + ONE",
    "with a default": "def f(x, one=1):\n    return x + one",
    "of another": "def one():\n    return 1\ndef f(x):\n    return x + one()",
    "of itself": "def f(x):\n    return f(x - 1) + 1 if x > 1 else x + 1",
    "of one inside": "ONE = 1\ndef f(x):\n    def more():\n        return x + ONE\n    return more()",
    "of each other": "def f(x, n=3):\n    return g(x, n - 1) if n else x + 1\ndef g(x, n):\n    return f(x, n)",
}


@pytest.mark.parametrize("source", SETTLED.values(), ids=SETTLED)
def test_a_function_of_the_program_is_pickled_once_for_as_long_as_nothing_of_it_changes(source):
    registry, known = FunctionRegistry(), written(source)
    packed = registry.pack(known["f"])
    assert registry.pack(known["f"]) is packed
    assert loads(packed.payload)(1) == 2


TWO_OF_ONE_MAKING = """
def make(n):
    def made(n=n):
        return n
    return made
a, b = make(2), make(1)
c = b
def f():
    return a() * 0 + b() * 0 + c()
"""
CHANGES = {
    "a constant": ("ONE = 1\ndef f():\n    return ONE", "ONE = 2"),
    "a constant of one inside": ("ONE = 1\ndef f():\n    return (lambda: ONE)()", "ONE = 2"),
    "a name that comes to hide a builtin": ("def f():\n    return len([0])", "len = lambda items: 2"),
    "another function": ("def one():\n    return 1\ndef f():\n    return one()", "def one():\n    return 2"),
    "its own default": ("def f(one=1):\n    return one", "f.__defaults__ = (2,)"),
    "the default of another": ("def one(n=1):\n    return n\ndef f():\n    return one()", "one.__defaults__ = (2,)"),
    "its code": ("def f():\n    return 1", "f.__code__ = (lambda: 2).__code__"),
    "a list": ("ONE = [1]\ndef f():\n    return ONE[0]", "ONE[0] = 2"),
    "a list by way of another": ("N = [1]\ndef g():\n    return N[0]\ndef f():\n    return g()", "N[0] = 2"),
    "a class": ("class One:\n    n = 1\ndef f():\n    return One.n", "One.n = 2"),
    "a default that can change": ("def f(n=[1]):\n    return n[0]", "f.__defaults__[0][0] = 2"),
    "a keyword's default": ("def f(*, n=1):\n    return n", "f.__kwdefaults__['n'] = 2"),
    "an attribute": ("def f():\n    return f.n\nf.n = 1", "f.n = 2"),
    "which of two of one making": (TWO_OF_ONE_MAKING, "c = a"),
}


def test_a_function_that_the_program_itself_finds_by_its_name_travels_as_it_is_now(monkeypatch):
    registry, known = FunctionRegistry(), written("ONE = 1\ndef f():\n    return ONE")
    monkeypatch.setattr(sys.modules["__main__"], "f", known["f"], raising=False)
    before = registry.pack(known["f"])
    known["ONE"] = 2
    assert (loads(before.payload)(), loads(registry.pack(known["f"]).payload)()) == (1, 2)


@pytest.mark.parametrize(("source", "change"), CHANGES.values(), ids=CHANGES)
def test_a_function_of_the_program_travels_as_it_is_now(source, change):
    registry, known = FunctionRegistry(), written(source)
    before = registry.pack(known["f"])
    exec(change, known)
    after = registry.pack(known["f"])
    assert (loads(before.payload)(), loads(after.payload)()) == (1, 2)


def test_a_module_that_no_import_finds_travels_as_it_is_now():
    registry, known = FunctionRegistry(), written("def f():\n    return mine.n")
    known["mine"] = types.ModuleType("mine")
    known["mine"].n = 1
    before = registry.pack(known["f"])
    known["mine"].n = 2
    assert (loads(before.payload)(), loads(registry.pack(known["f"]).payload)()) == (1, 2)


def test_a_function_that_nobody_needs_goes():
    registry, known = FunctionRegistry(), written(SETTLED["of each other"])
    registry.pack(known["f"])
    watched = weakref.ref(known["f"])
    known.clear()
    gc.collect()
    assert watched() is None
