"""Listening sockets that bear a full table of file descriptors.

When no descriptor is left, ``accept`` fails but the connection stays in the queue, so the event
loop would try again at once and for ever.  These sockets pause instead.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from typing import Any, Final

from tornado.ioloop import IOLoop

__all__ = ["PausingSocket", "pausing"]

logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.5
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


def pausing(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Return the same listening sockets, made to pause."""
    made: list[socket.socket] = []
    for sock in sockets:
        taken = PausingSocket(fileno=sock.detach())
        taken.setblocking(False)
        made.append(taken)
    return made
