"""Shared memory between processes of one user on one host, for data too large to copy about."""

from distributed.sharing.arrays import shared_empty

__all__ = ["shared_empty"]
