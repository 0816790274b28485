"""Which copies to ask from which peer, and when: pure bookkeeping of a worker's fetches.

Rules
- At most one request per peer at a time, and at most ``peers_limit`` peers at once.
- A request asks for keys of together about ``bytes_limit`` bytes, and for one key at least.
- Holders of a key are tried in turn, the least loaded first; a key whose holders are all tried is
  exhausted.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BYTES_PER_REQUEST", "PEERS_AT_ONCE", "Fetches"]

PEERS_AT_ONCE = 50
BYTES_PER_REQUEST = 50_000_000
_UNKNOWN_BYTES = 65_536


class _Want:
    """A key that is to come: untried ``holders``, ``tried`` ones, and the ``peer`` it is queued or
    asked at.
    """

    __slots__ = ("holders", "nbytes", "peer", "tried")

    def __init__(self, holders: list[str], nbytes: int) -> None:
        self.holders = holders
        self.tried: list[str] = []
        self.nbytes = nbytes
        self.peer = ""


class Fetches:
    """The keys that a worker wants from its peers.

    ``wants``: key -> its state; ``queues``: peer -> keys to ask it for; ``busy``: peer -> keys it
    is being asked for.
    """

    __slots__ = ("_bytes_limit", "_peers_limit", "_startable", "busy", "queues", "wants")

    def __init__(self, peers_limit: int = PEERS_AT_ONCE, bytes_limit: int = BYTES_PER_REQUEST) -> None:
        self._peers_limit = peers_limit
        self._bytes_limit = bytes_limit
        self.wants: dict[str, _Want] = {}
        self.queues: dict[str, dict[str, None]] = {}
        self.busy: dict[str, list[str]] = {}
        self._startable: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self.wants

    def want(self, key: str, holders: Iterable[str], nbytes: int | None = None) -> None:
        """Fetch ``key`` from one of ``holders`` (not empty); more holders for a key already wanted
        are added.
        """
        known = self.wants.get(key)
        if known is not None:
            seen = {*known.holders, *known.tried, known.peer}
            known.holders.extend(holder for holder in holders if holder not in seen)
            return
        want = self.wants[key] = _Want(list(holders), _UNKNOWN_BYTES if nbytes is None else nbytes)
        self._queue(key, want)

    def forget(self, key: str) -> None:
        """Want ``key`` no more; an answer that brings it will be ignored."""
        want = self.wants.pop(key, None)
        if want is not None and (queue := self.queues.get(want.peer)) is not None:
            queue.pop(key, None)
            if not queue:
                del self.queues[want.peer]
                self._startable.pop(want.peer, None)

    def clear(self) -> None:
        """Want nothing any more; requests under way run out."""
        self.wants.clear()
        self.queues.clear()
        self._startable.clear()

    def start(self) -> list[tuple[str, list[str], int]]:
        """Return the requests to make now: (peer, keys, bytes)."""
        requests = []
        while self._startable and len(self.busy) < self._peers_limit:
            peer = next(iter(self._startable))
            del self._startable[peer]
            requests.append(self._request(peer))
        return requests

    def answered(self, peer: str, got: Iterable[str] = ()) -> dict[str, list[str]]:
        """The request to ``peer`` ended and brought ``got``.

        Return the exhausted keys: key -> the holders that were tried.  They are wanted no more.
        """
        asked = self.busy.pop(peer, [])
        for key in got:
            self.forget(key)
        exhausted = {}
        for key in asked:
            want = self.wants.get(key)
            # A key that was forgotten and is wanted anew may be queued elsewhere by now: not this
            # answer's business.
            if want is None or want.peer != peer or key in self.queues.get(peer, ()):
                continue
            want.tried.append(peer)
            if want.holders:
                self._queue(key, want)
            else:
                exhausted[key] = want.tried
                del self.wants[key]
        if peer in self.queues:
            self._startable[peer] = None
        return exhausted

    def lost(self, peer: str) -> dict[str, list[str]]:
        """``peer`` cannot be reached: as :meth:`answered`, also for all that was still to be asked
        there.
        """
        queued = self.queues.pop(peer, {})
        self._startable.pop(peer, None)
        self.busy[peer] = [*dict.fromkeys([*self.busy.get(peer, ()), *queued])]
        return self.answered(peer)

    def _queue(self, key: str, want: _Want) -> None:
        peer = want.holders[0] if len(want.holders) == 1 else min(want.holders, key=self._load)
        want.holders.remove(peer)
        want.peer = peer
        self.queues.setdefault(peer, {})[key] = None
        if peer not in self.busy:
            self._startable[peer] = None

    def _load(self, peer: str) -> int:
        return len(self.queues.get(peer, ())) + len(self.busy.get(peer, ()))

    def _request(self, peer: str) -> tuple[str, list[str], int]:
        queue = self.queues[peer]
        keys: list[str] = []
        total = 0
        for key in queue:
            nbytes = self.wants[key].nbytes
            if keys and total + nbytes > self._bytes_limit:
                break
            keys.append(key)
            total += nbytes
        for key in keys:
            del queue[key]
        if not queue:
            del self.queues[peer]
        self.busy[peer] = keys
        return peer, keys, total

    def validate(self) -> None:
        """Check that the state agrees with itself.  For tests; raises AssertionError."""
        for peer, queue in self.queues.items():
            assert queue, f"{peer} has an empty queue"
            assert all(self.wants[key].peer == peer for key in queue), f"{peer} queues keys wanted elsewhere"
            assert (peer in self._startable) == (peer not in self.busy), f"{peer} is startable and busy, or neither"
        assert set(self._startable) <= set(self.queues), "a startable peer has nothing to be asked"
        for key, want in self.wants.items():
            at = key in self.queues.get(want.peer, ()) or key in self.busy.get(want.peer, ())
            assert at, f"{key} is wanted and asked nowhere"
            assert not {want.peer} & {*want.holders, *want.tried}, f"{key} lists its present peer twice"
        assert len(self.busy) <= self._peers_limit
