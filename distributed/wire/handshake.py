"""Mutual proof that two peers hold the same cluster secret, before anything else is read.

Four fixed-size records, so nothing needs parsing::

    connector -> listener   HELLO      magic(7) version(1) nonce(32) who(120, UTF-8, zero padded)
    listener  -> connector  CHALLENGE  magic(7) version(1) nonce(32) proof(32)
    connector -> listener   ANSWER     word(1) proof(32)
    listener  -> connector  VERDICT    word(1)

A proof is HMAC-SHA256 of the secret over a label for the side, both nonces and ``who``: it cannot be replayed (fresh
nonces) or reflected (labels).  Challenge-response with a shared key as in ISO/IEC 9798-4, three-pass mutual.  The
listener proves first, so that a connector never answers a stranger; a connector that does not believe the listener
says so by the word REFUSED, so that both sides can report the same thing.
"""

from __future__ import annotations

import hashlib
import hmac

from distributed.errors import AuthenticationError

__all__ = [
    "ACCEPTED",
    "ANSWER_SIZE",
    "CHALLENGE_SIZE",
    "HELLO_SIZE",
    "MAGIC",
    "NONCE_SIZE",
    "REFUSED",
    "VERSION",
    "Listener",
    "Connector",
    "describe_stranger",
]

MAGIC = b"dlaunch"
VERSION = 1
NONCE_SIZE = 32
_WHO_SIZE = 120
_PROOF_SIZE = 32
_PREFIX = MAGIC + bytes([VERSION])
HELLO_SIZE = len(_PREFIX) + NONCE_SIZE + _WHO_SIZE
CHALLENGE_SIZE = len(_PREFIX) + NONCE_SIZE + _PROOF_SIZE
ANSWER_SIZE = 1 + _PROOF_SIZE
ACCEPTED = b"\x01"
REFUSED = b"\x00"


def _proof(secret: bytes, side: bytes, hello: bytes, nonce: bytes) -> bytes:
    return hmac.new(secret, b"dlaunch " + side + hello + nonce, hashlib.sha256).digest()


def describe_stranger(start: bytes) -> str:
    """Say in words what the first bytes of somebody who does not speak our protocol look like."""
    if start.split(b" ", 1)[0] in {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE"}:
        return "speaks HTTP"
    if start[:2] == b"\x16\x03":
        return "speaks TLS"
    if start[:4] == b"SSH-":
        return "speaks SSH"
    return f"sent {start[:8]!r}, which is not a dlaunch hello"


def _check_prefix(record: bytes) -> None:
    if record[:7] != MAGIC:
        raise AuthenticationError(f"the peer {describe_stranger(record)}")
    if record[7] != VERSION:
        raise AuthenticationError(
            f"the peer speaks protocol version {record[7]}, this side version {VERSION}: use the same dlaunch on both"
        )


class Connector:
    """The side that connects.  ``nonce``: 32 random bytes; ``who``: shown in the listener's log."""

    def __init__(self, secret: bytes, nonce: bytes, who: str) -> None:
        self._secret = secret
        padded = who.encode("utf-8", "replace")[:_WHO_SIZE].ljust(_WHO_SIZE, b"\0")
        self.hello = _PREFIX + nonce + padded

    def answer(self, challenge: bytes) -> tuple[bytes, bool]:
        """Return the ANSWER to send and whether the listener holds our secret.

        Raises AuthenticationError if the listener does not speak this protocol.
        """
        _check_prefix(challenge)
        nonce, proof = challenge[8 : 8 + NONCE_SIZE], challenge[8 + NONCE_SIZE :]
        if not hmac.compare_digest(proof, _proof(self._secret, b"listener", self.hello, nonce)):
            return REFUSED + bytes(_PROOF_SIZE), False
        return ACCEPTED + _proof(self._secret, b"connector", self.hello, nonce), True


class Listener:
    """The side that was connected to.  ``nonce``: 32 random bytes."""

    def __init__(self, secret: bytes, nonce: bytes) -> None:
        self._secret = secret
        self._nonce = nonce
        self._hello = b""

    @property
    def who(self) -> str:
        """What the connector says of itself, made safe for a log line; not proved before ``accepts``."""
        text = self._hello[8 + NONCE_SIZE :].rstrip(b"\0").decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text)

    def challenge(self, hello: bytes) -> bytes:
        """Return the CHALLENGE for a HELLO; raises AuthenticationError if the peer does not speak this protocol."""
        _check_prefix(hello)
        self._hello = hello
        return _PREFIX + self._nonce + _proof(self._secret, b"listener", hello, self._nonce)

    def challenge_prefix(self) -> bytes:
        """Return a CHALLENGE that proves nothing: it only tells a peer of another version what it met."""
        return _PREFIX + bytes(NONCE_SIZE + _PROOF_SIZE)

    def accepts(self, answer: bytes) -> bool:
        """Whether the ANSWER proves that the connector holds the secret (compared in constant time)."""
        expected = ACCEPTED + _proof(self._secret, b"connector", self._hello, self._nonce)
        return hmac.compare_digest(answer, expected)
