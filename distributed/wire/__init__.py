"""Bytes to messages and back: framing, handshake and payloads.  No socket is touched here."""
