"""What the standard library does not tell: where a buffer lies, and calls of the C library."""

from __future__ import annotations

import functools
import os
from typing import Any

__all__ = ["address_of", "libc"]


@functools.cache
def _view_type() -> type[Any]:
    import ctypes  # only for large data

    class View(ctypes.Structure):
        """``Py_buffer`` of Python's C interface, unchanged since 3.3."""

        _fields_ = (
            ("buf", ctypes.c_void_p),
            ("obj", ctypes.c_void_p),
            ("len", ctypes.c_ssize_t),
            ("itemsize", ctypes.c_ssize_t),
            ("readonly", ctypes.c_int),
            ("ndim", ctypes.c_int),
            ("format", ctypes.c_char_p),
            ("shape", ctypes.c_void_p),
            ("strides", ctypes.c_void_p),
            ("suboffsets", ctypes.c_void_p),
            ("internal", ctypes.c_void_p),
        )

    return View


def address_of(buffer: Any) -> int:
    """Return the address of the first byte of a contiguous buffer."""
    import ctypes  # only for large data

    view = _view_type()()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), ctypes.byref(view), 0)
    try:
        return view.buf or 0
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))


def libc(function: str, *arguments: Any) -> int:
    """Call a function of the C library that returns -1 for an error.  Raises OSError."""
    import ctypes  # only on systems where Python itself does not offer the call

    call = getattr(ctypes.CDLL(None, use_errno=True), function, None)
    if call is None:
        raise OSError(f"the C library has no {function}")
    found = int(call(*arguments))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found
