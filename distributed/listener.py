"""Listening sockets that bear a full table of file descriptors.

When no descriptor is left, ``accept`` fails but the connection stays in the queue, so the event
loop would try again at once and for ever.  These sockets pause instead.
"""

from __future__ import annotations

import errno
import logging
import socket
from typing import Any, Final

from tornado.ioloop import IOLoop

__all__ = ["PausingSocket", "listen"]

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.5
BACKLOG: Final = 4096
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class PausingSocket(socket.socket):
    """A listening socket, watched by the current Tornado loop."""

    _tired = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises BlockingIOError if there is none, or none can be taken now: then the loop looks
        away for ``PAUSE_S`` seconds.
        """
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._pause(error)
            raise BlockingIOError(errno.EAGAIN, "paused") from error
        self._tired = False
        return accepted

    def _pause(self, error: OSError) -> None:
        if not self._tired:  # one line until it works again
            logger.warning(
                "cannot take more connections for now: %s; raise the limit with 'ulimit -n'",
                error.strerror,
            )
        self._tired = True
        loop = IOLoop.current()
        loop.update_handler(self, 0)
        loop.call_later(PAUSE_S, self._resume, loop)

    def _resume(self, loop: IOLoop) -> None:
        if self.fileno() >= 0:
            loop.update_handler(self, IOLoop.READ)


def listen(host: str, port: int) -> PausingSocket:
    """Return a socket that listens on a numeric address and ``port`` (0: any free one).

    Raises OSError.
    """
    family, kind, proto, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )[0]
    sock = PausingSocket(family, kind, proto)
    try:
        sock.setblocking(False)
        # A port whose former connections are still fading away is free for us.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
