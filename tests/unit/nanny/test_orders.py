"""Orders and reports survive the way through a line of text."""

from __future__ import annotations

import msgspec
import pytest

from distributed.nanny.orders import (
    Ending,
    Exited,
    Listening,
    Registered,
    SendSignal,
    Spawn,
    Spawned,
    WorkerSettings,
    decode_order,
    decode_report,
    encode,
)

SETTINGS = WorkerSettings(scheduler="10.0.0.1:8786", secret=bytes(range(32)), name="w\n1", resources={"GPU": 1.5})


@pytest.mark.parametrize("order", [Spawn(1, SETTINGS), SendSignal(2, 15)])
def test_orders(order):
    line = encode(order)
    assert line.count(b"\n") == 1
    assert decode_order(line) == order


@pytest.mark.parametrize(
    "report",
    [
        Spawned(1, 4711),
        Listening(1, "10.0.0.2:1", "/tmp/x"),
        Registered(1, "10.0.0.1:8786"),
        Ending(1, "two\nlines, \u00fcml\u00e4ut"),
        Exited(1, -9),
    ],
)
def test_reports(report):
    line = encode(report)
    assert line.count(b"\n") == 1
    assert decode_report(line) == report


@pytest.mark.parametrize("line", [b"", b"{}", b"nonsense", b'{"type":"Exited","id":"x"}'])
def test_nonsense_is_an_error(line):
    with pytest.raises(msgspec.MsgspecError):
        decode_report(line)
