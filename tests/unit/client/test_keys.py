import functools
import operator
import threading

from distributed.client.keys import TokenSource, name_of, token_of, unwrap
from distributed.payloads import Buffer


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


def test_many_tokens_are_those_that_come_one_by_one():
    source = TokenSource()
    first = source.next()
    keys = [*source.many("f-", 3), *source.many("f-", 600), *source.many("f-", 0), *source.many("f-", 256)]
    start = first[:-8]
    assert first == f"{start}{0:08x}"
    assert keys == [f"f-{start}{number:08x}" for number in range(1, 860)]


def test_no_two_threads_get_the_same_token():
    source, got = TokenSource(), []
    threads = [threading.Thread(target=lambda: got.extend(source.many("", 300))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 2400


def test_partials_are_unwrapped_to_their_function():
    inner = functools.partial(functools.partial(divmod, 7))
    assert unwrap(inner, (2,), {}) == (divmod, (7, 2), {})
    keyed = functools.partial(sorted, key=abs, reverse=True)
    assert unwrap(keyed, ([1],), {"reverse": False}) == (sorted, ([1],), {"key": abs, "reverse": False})
