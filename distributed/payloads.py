"""What a payload is: an object of the user's in a form that travels, opaque to all but its final reader
(``wire/payload.py``).

- ``bytes``: one small pickle, or a plain value (a number, text, bytes, None) as msgpack, or
- ``[pickle, *buffers]``: a pickle and its out-of-band buffers (pickle protocol 5); parts of 64 KiB and more travel as
  frames of their own, as :class:`Buffer`, or stay in shared memory, named by a :class:`SharedBuffer`, if both sides
  are processes of one user on one host and the reader asked for it. A large call of plain values is one such part.
"""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Buffer", "Payload", "SharedBuffer"]


class Buffer:
    """Bytes that travel as a frame of their own, never copied into the message.  ``data`` is bytes-like."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.data = data

    def __len__(self) -> int:
        return self.data.nbytes if isinstance(self.data, memoryview) else len(self.data)

    def __repr__(self) -> str:
        return f"Buffer({len(self)} bytes)"


class SharedBuffer:
    """Bytes that do not travel: ``length`` of them from ``offset`` on in a segment of shared memory.

    The segment is descriptor ``fd`` of process ``pid``, ``size`` bytes large, and carries ``token`` (16 bytes).
    """

    __slots__ = ("fd", "length", "offset", "pid", "size", "token")

    def __init__(self, pid: int, fd: int, size: int, token: bytes, offset: int, length: int) -> None:
        self.pid = pid
        self.fd = fd
        self.size = size
        self.token = token
        self.offset = offset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"SharedBuffer({self.length} bytes, process {self.pid}, descriptor {self.fd})"


Payload: TypeAlias = bytes | list[Any]
