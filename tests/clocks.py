"""A clock that a test moves."""

from __future__ import annotations

import asyncio
import time


class Handle:
    cancelled = False

    def cancel(self):
        self.cancelled = True


class Clock:
    """The part of a loop that tells the time, which begins at 1000 s."""

    def __init__(self):
        self.now_s = 1000.0
        self.calls = []

    def time(self):
        return self.now_s

    def call_later(self, in_s, call):
        handle = Handle()
        self.calls.append((self.now_s + in_s, call, handle))
        return handle

    def go(self, until_s):
        """Let the time pass."""
        while self.calls and min(call[0] for call in self.calls) <= until_s:
            entry = min(self.calls, key=lambda call: call[0])
            self.calls.remove(entry)
            self.now_s = entry[0]
            if not entry[2].cancelled:
                entry[1]()
        self.now_s = until_s

    @classmethod
    def install(cls, monkeypatch):
        """Return one that is the running loop's, and that of the whole process."""
        made = cls()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: made)
        monkeypatch.setattr(time, "time", made.time)
        return made
