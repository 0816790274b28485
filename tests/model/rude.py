"""A network that behaves worse than any real one, for random lives of the machines.

Messages of one peer to another keep their order, as on a TCP stream; all else is up to chance: which stream moves
next and how far, how long one is stuck, whether a message comes twice, and whether what a lost peer had sent comes
long after it is gone.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Delivery", "RudeNetwork"]


@dataclass(frozen=True)
class Delivery:
    """A batch on arrival.  ``ghost``: its sender has been cut off since it sent this."""

    source: str
    target: str
    messages: list[Any]
    ghost: bool = False


@dataclass
class RudeNetwork:
    """Streams between named peers.

    ``repeat``: how likely a delivered message comes again, at once or later; ``haunt``: how likely a message on its
    way survives the cut of its sender, as a ghost.  ``may_repeat_late(message)`` and ``may_haunt(message)`` say which
    messages this may happen to; all may be repeated at once.
    """

    rng: random.Random
    repeat: float = 0.1
    haunt: float = 0.3
    may_repeat_late: Callable[[Any], bool] = lambda message: False
    may_haunt: Callable[[Any], bool] = lambda message: False
    streams: dict[tuple[str, str], deque[Any]] = field(default_factory=dict)
    ghosts: list[Delivery] = field(default_factory=list)

    def send(self, source: str, target: str, *messages: Any) -> None:
        """Put messages on their way."""
        if messages:
            self.streams.setdefault((source, target), deque()).extend(messages)

    def cut(self, peer: str) -> None:
        """The peer is gone: its streams end, but for what comes back as ghosts."""
        for source, target in [ends for ends in self.streams if peer in ends]:
            stream = self.streams.pop((source, target))
            for message in stream:
                if source == peer and self.may_haunt(message) and self.rng.random() < self.haunt:
                    self.ghosts.append(Delivery(source, target, [message], ghost=True))

    def calm(self) -> None:
        """From now on everything comes once; ghosts are laid."""
        self.repeat = self.haunt = 0.0
        self.ghosts.clear()

    def is_silent(self) -> bool:
        """Whether nothing is on its way."""
        return not self.streams and not self.ghosts

    def deliver(self) -> Delivery | None:
        """Take the next batch from some stream; None if nothing is on its way."""
        rng = self.rng
        if self.ghosts and rng.random() < 0.1:
            return self.ghosts.pop(rng.randrange(len(self.ghosts)))
        if not self.streams:
            return self.ghosts.pop() if self.ghosts else None
        source, target = ends = rng.choice(list(self.streams))
        stream = self.streams[ends]
        size = rng.choice((1, 1, 2, len(stream)))
        batch = [stream.popleft() for _ in range(min(size, len(stream)))]
        arrived: list[Any] = []
        for message in batch:
            arrived.append(message)
            if rng.random() < self.repeat:
                self._again(message, arrived, stream)
        if not stream:
            del self.streams[ends]
        return Delivery(source, target, arrived)

    def _again(self, message: Any, arrived: list[Any], stream: deque[Any]) -> None:
        if self.may_repeat_late(message) and self.rng.random() < 0.5:
            stream.insert(self.rng.randint(0, len(stream)), message)
        else:
            arrived.append(message)
