import gc

import pytest

from distributed.client import default_client, default_executor
from distributed.client.defaults import after_fork, default_owner, forget_client, live_clients, remember_client


class Client:
    pass


@pytest.fixture(autouse=True)
def empty():
    kept = live_clients()
    for client in kept:
        forget_client(client)
    yield
    for client in live_clients():
        forget_client(client)


def test_the_client_made_last_is_meant():
    first, second = Client(), Client()
    remember_client(first)
    remember_client(second)
    assert default_client() is second
    forget_client(second)
    assert default_executor() is first
    remember_client(second)
    remember_client(first)
    assert live_clients() == [second, first]


def test_without_a_client_one_is_told_to_make_one():
    with pytest.raises(ValueError, match=r"make one first: client = Client\("):
        default_owner()


def test_a_client_given_is_the_one_meant():
    given = Client()
    assert default_client(given) is given


def test_a_collected_client_is_forgotten():
    client = Client()
    remember_client(client)
    del client
    gc.collect()
    assert live_clients() == []


def test_a_forked_child_begins_anew():
    client = Client()
    remember_client(client)
    assert after_fork() == [client]
    assert live_clients() == []
