"""Mutual proof that two peers hold the same cluster secret, before anything else is read.

Four fixed-size records, so nothing needs parsing::

    connector -> listener   HELLO      magic(7) version(1) nonce(32) who(120, UTF-8, zero padded)
    listener  -> connector  CHALLENGE  magic(7) version(1) nonce(32) proof(32)
    connector -> listener   ANSWER     word(1) proof(32)
    listener  -> connector  VERDICT    word(1)

A proof is HMAC-SHA256 of the secret over a label for the side, the whole HELLO and the listener's
nonce: it cannot be replayed (fresh nonces) or reflected (labels).  Challenge-response with a shared
key as in ISO/IEC 9798-4, three-pass mutual.  The listener proves first, so that a connector never
answers a stranger; a connector that does not believe the listener says so by the word REFUSED, so
that both sides can report the same thing.

Magic and version come first in both directions and in every version, and each side looks at them
before it reads on: so different versions can tell each other what they are.
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
    "PREFIX_SIZE",
    "REFUSED",
    "VERSION",
    "Connector",
    "Listener",
    "check_prefix",
    "describe_stranger",
    "empty_challenge",
]

MAGIC = b"dlaunch"
VERSION = 1
NONCE_SIZE = 32
_WHO_SIZE = 120
_PROOF_SIZE = 32
_PREFIX = MAGIC + bytes([VERSION])
PREFIX_SIZE = len(_PREFIX)
HELLO_SIZE = PREFIX_SIZE + NONCE_SIZE + _WHO_SIZE
CHALLENGE_SIZE = PREFIX_SIZE + NONCE_SIZE + _PROOF_SIZE
ANSWER_SIZE = 1 + _PROOF_SIZE
ACCEPTED = b"\x01"
REFUSED = b"\x00"
_HTTP_VERBS = {b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH"}


def _check_secret(secret: bytes) -> bytes:
    if not secret:
        raise ValueError("an empty secret would let everybody in")
    return secret


def _proof(secret: bytes, side: bytes, hello: bytes, nonce: bytes) -> bytes:
    return hmac.new(secret, b"dlaunch " + side + hello + nonce, hashlib.sha256).digest()


def describe_stranger(start: bytes) -> str:
    """Say in words what the first bytes of somebody who does not speak our protocol look like."""
    if start.split(b" ", 1)[0] in _HTTP_VERBS or start[:5] == b"HTTP/":
        return "speaks HTTP"
    if start[:2] in (b"\x16\x03", b"\x15\x03"):
        return "speaks TLS"
    if start[:4] == b"SSH-":
        return "speaks SSH"
    return f"sent {start[:8]!r}, which is not a dlaunch hello"


def check_prefix(record: bytes) -> None:
    """Look at the first ``PREFIX_SIZE`` bytes that a peer sent.

    Raises AuthenticationError if it does not speak this protocol in this version.
    """
    if record[: len(MAGIC)] != MAGIC:
        raise AuthenticationError(f"the peer {describe_stranger(record)}")
    if (version := record[len(MAGIC)]) != VERSION:
        raise AuthenticationError(
            f"the peer speaks protocol version {version}, this side version {VERSION}: use the same dlaunch on both"
        )


def empty_challenge() -> bytes:
    """Return a CHALLENGE that proves nothing: it only tells a peer of another version what it met."""
    return _PREFIX + bytes(NONCE_SIZE + _PROOF_SIZE)


class Connector:
    """The side that connects.  ``nonce``: 32 random bytes; ``who``: shown in the listener's log.

    Raises ValueError for an empty secret.
    """

    def __init__(self, secret: bytes, nonce: bytes, who: str) -> None:
        self._secret = _check_secret(secret)
        padded = who.encode("utf-8", "replace")[:_WHO_SIZE].ljust(_WHO_SIZE, b"\0")
        self.hello = _PREFIX + nonce + padded

    def answer(self, challenge: bytes) -> tuple[bytes, bool]:
        """Return the ANSWER to send and whether the listener holds our secret.

        Raises AuthenticationError if the listener does not speak this protocol.
        """
        check_prefix(challenge)
        nonce, proof = challenge[8 : 8 + NONCE_SIZE], challenge[8 + NONCE_SIZE :]
        if not hmac.compare_digest(proof, _proof(self._secret, b"listener", self.hello, nonce)):
            return REFUSED + bytes(_PROOF_SIZE), False
        return ACCEPTED + _proof(self._secret, b"connector", self.hello, nonce), True


class Listener:
    """The side that was connected to.  ``nonce``: 32 random bytes; ``hello``: what it received.

    Raises AuthenticationError if the peer does not speak this protocol, ValueError for an empty
    secret.
    """

    def __init__(self, secret: bytes, nonce: bytes, hello: bytes) -> None:
        check_prefix(hello)
        self._secret = _check_secret(secret)
        self._nonce = nonce
        self._hello = hello

    @property
    def who(self) -> str:
        """What the connector says of itself, made safe for a log line.

        Not proved before ``accepts``.
        """
        text = self._hello[PREFIX_SIZE + NONCE_SIZE :].rstrip(b"\0").decode("utf-8", "replace")
        return "".join(c if c.isprintable() else "?" for c in text)

    def challenge(self) -> bytes:
        """Return the CHALLENGE that answers the HELLO."""
        return _PREFIX + self._nonce + self._prove(b"listener")

    def accepts(self, answer: bytes) -> bool:
        """Whether the ANSWER proves that the connector holds the secret (in constant time)."""
        return hmac.compare_digest(answer, ACCEPTED + self._prove(b"connector"))

    def _prove(self, side: bytes) -> bytes:
        return _proof(self._secret, side, self._hello, self._nonce)
