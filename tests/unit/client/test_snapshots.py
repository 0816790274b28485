from distributed.client.snapshots import detached
from distributed.payloads import Buffer


def test_small_payloads_are_as_they_are():
    assert detached(b"small") == b"small"


def test_what_can_be_written_to_is_copied():
    memory = bytearray(b"before")
    payload = detached([b"head", Buffer(memory), Buffer(memoryview(memory))])
    memory[:] = b"after!"
    assert payload[0] == b"head"
    assert [bytes(part.data) for part in payload[1:]] == [b"before", b"before"]


def test_what_cannot_change_is_not_copied():
    data = bytes(100)
    buffer = Buffer(memoryview(data))
    assert detached([b"head", buffer])[1] is buffer
