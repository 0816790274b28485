import pytest

from distributed.errors import AuthenticationError
from distributed.wire import handshake
from distributed.wire.handshake import ACCEPTED, REFUSED, Connector, Listener, check_prefix, describe_stranger

SECRET = b"s" * 32
OTHER = b"t" * 32
NONCE_A, NONCE_B, NONCE_C = (bytes([i]) * 32 for i in (1, 2, 3))


def meet(theirs=SECRET, ours=SECRET, who="client ann@host pid 7"):
    connector = Connector(theirs, NONCE_A, who)
    listener = Listener(ours, NONCE_B, connector.hello)
    answer, believed = connector.answer(listener.challenge())
    return listener, answer, believed


def test_two_holders_of_the_secret_believe_each_other():
    listener, answer, believed = meet()
    assert believed
    assert listener.accepts(answer)
    assert listener.who == "client ann@host pid 7"


def test_records_have_the_sizes_that_are_announced():
    connector = Connector(SECRET, NONCE_A, "é" * 500)
    listener = Listener(SECRET, NONCE_B, connector.hello)
    assert len(connector.hello) == handshake.HELLO_SIZE
    assert len(listener.challenge()) == len(handshake.empty_challenge()) == handshake.CHALLENGE_SIZE
    assert len(connector.answer(listener.challenge())[0]) == handshake.ANSWER_SIZE


def test_with_another_secret_neither_believes_and_nothing_is_proved():
    listener, answer, believed = meet(theirs=OTHER)
    assert not believed
    assert not listener.accepts(answer)
    assert answer == REFUSED + bytes(32)


def test_a_listener_with_another_secret_cannot_trick_the_proof_out_of_a_connector():
    connector = Connector(SECRET, NONCE_A, "x")
    stranger = Listener(OTHER, NONCE_B, connector.hello)
    answer, believed = connector.answer(stranger.challenge())
    assert not believed
    assert not any(answer[1:])


def test_a_replayed_meeting_is_refused():
    connector = Connector(SECRET, NONCE_A, "x")
    answer, _ = connector.answer(Listener(SECRET, NONCE_B, connector.hello).challenge())
    again = Listener(SECRET, NONCE_C, connector.hello)
    assert not again.accepts(answer)


def test_a_reflected_proof_is_refused():
    connector = Connector(SECRET, NONCE_A, "x")
    listener = Listener(SECRET, NONCE_B, connector.hello)
    proof = listener.challenge()[-32:]
    assert not listener.accepts(ACCEPTED + proof)


def test_a_listener_that_reflects_is_not_believed():
    connector = Connector(SECRET, NONCE_A, "x")
    answer, _ = connector.answer(Listener(SECRET, NONCE_A, connector.hello).challenge())
    echoed = connector.hello[:8] + NONCE_A + answer[1:]
    assert not connector.answer(echoed)[1]


def test_who_cannot_be_changed_on_the_way():
    connector = Connector(SECRET, NONCE_A, "client ann")
    changed = connector.hello.replace(b"ann", b"bob")
    listener = Listener(SECRET, NONCE_B, changed)
    answer, believed = connector.answer(listener.challenge())
    assert not believed
    assert not listener.accepts(answer)


@pytest.mark.parametrize("answer", [b"", b"\x01", bytes(33), ACCEPTED + bytes(32), b"\xff" * 33, b"\x01" * 500])
def test_other_answers_are_refused(answer):
    assert not Listener(SECRET, NONCE_B, Connector(SECRET, NONCE_A, "x").hello).accepts(answer)


def test_the_word_alone_is_no_proof():
    listener, answer, _ = meet()
    assert not listener.accepts(REFUSED + answer[1:])


def test_another_version_is_named_on_both_sides(monkeypatch):
    monkeypatch.setattr(handshake, "_PREFIX", handshake.MAGIC + b"\x02")
    newer = Connector(SECRET, NONCE_A, "x").hello
    newer_challenge = handshake.empty_challenge()
    monkeypatch.undo()
    with pytest.raises(AuthenticationError, match="protocol version 2, this side version 1: use the same dlaunch"):
        Listener(SECRET, NONCE_B, newer)
    with pytest.raises(AuthenticationError, match="protocol version 2, this side version 1"):
        Connector(SECRET, NONCE_A, "x").answer(newer_challenge)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"GET / HT", "speaks HTTP"),
        (b"POST /x ", "speaks HTTP"),
        (b"HTTP/1.1", "speaks HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "speaks TLS"),
        (b"SSH-2.0-", "speaks SSH"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07", r"sent b'\\x00\\x01.*which is not a dlaunch hello"),
        (b"dlaunc", "not a dlaunch hello"),
    ],
)
def test_strangers_are_described(start, words):
    with pytest.raises(AuthenticationError, match=words):
        check_prefix(start)
    assert describe_stranger(start)


def test_who_is_safe_to_log():
    connector = Connector(SECRET, NONCE_A, "evil\n2026 ERROR root\x1b[31m")
    listener = Listener(SECRET, NONCE_B, connector.hello)
    assert listener.who == "evil?2026 ERROR root?[31m"


@pytest.mark.parametrize(
    "build",
    [lambda: Connector(b"", NONCE_A, "x"), lambda: Listener(b"", NONCE_A, Connector(SECRET, NONCE_A, "x").hello)],
)
def test_an_empty_secret_proves_nothing(build):
    with pytest.raises(ValueError, match="empty secret"):
        build()
