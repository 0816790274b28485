import asyncio
import errno
import socket
import time

import pytest

from distributed.comm import connect
from distributed.errors import CommError
from distributed.listener import listen
from distributed.pool import rpc
from tests.aio import run_async, until
from tests.daemons.linkbed import SECRET, running


@pytest.mark.expect_log("cannot take more connections for now: Too many open files; raise the limit with 'ulimit -n'")
def test_without_file_descriptors_it_pauses_with_one_line_and_goes_on(monkeypatch, caplog):
    monkeypatch.setattr("distributed.listener.PAUSE_S", 0.1)
    full = [True]
    tries = []
    real = socket.socket.accept

    def accept(self):
        tries.append(time.monotonic())
        if full[0]:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)

    async def main():
        async with running() as daemon:
            call = asyncio.ensure_future(rpc(daemon.address, secret=SECRET).ping())
            await until(lambda: len(tries) >= 4)
            assert tries[3] - tries[0] > 0.25
            assert daemon.status == "running"
            full[0] = False
            assert await asyncio.wait_for(call, 5) == "pong"

    run_async(main())
    assert caplog.text.count("cannot take more connections") == 1


@pytest.mark.expect_log("cannot take more connections for now")
def test_closed_while_it_pauses(monkeypatch):
    monkeypatch.setattr("distributed.listener.PAUSE_S", 0.05)

    def accept(self):
        raise OSError(errno.ENFILE, "Too many open files in system")

    async def main():
        async with running() as daemon:
            monkeypatch.setattr(socket.socket, "accept", accept)
            call = asyncio.ensure_future(connect(daemon.address, secret=SECRET))
            await until(lambda: [s for s in daemon._sockets.values() if s._tired])
            await daemon.close()
            await asyncio.sleep(0.1)
            with pytest.raises(CommError):
                await call

    run_async(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_free_again_at_once(host):
    with listen(host, 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen(host, port)
        with socket.create_connection((host, port)), sock.accept()[0]:
            pass
    listen(host, port).close()


def test_nobody_there_is_a_blocking_io_error():
    with listen("127.0.0.1", 0) as sock, pytest.raises(BlockingIOError):
        sock.accept()
