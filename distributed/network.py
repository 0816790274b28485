"""Addresses of this host, found without the internet and without a default route."""

from __future__ import annotations

import contextlib
import socket

from distributed.errors import ConfigError

__all__ = [
    "interface_address",
    "interfaces",
    "join_address",
    "own_address",
    "own_addresses",
    "parse_address",
    "resolve_host",
]


def interfaces() -> dict[str, list[str]]:
    """Return the IPv4 addresses of each network interface of this host, else its IPv6 ones."""
    import psutil  # most daemons never ask

    found: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        v4 = [item.address for item in addresses if item.family == socket.AF_INET]
        v6 = [item.address for item in addresses if item.family == socket.AF_INET6]
        # A link-local address means nothing without its interface, and nothing on another host.
        v6 = [address.partition("%")[0] for address in v6 if not address.startswith("fe80:")]
        if v4 or v6:
            found[name] = v4 or v6
    return found


def interface_address(name: str) -> str:
    """Return the address of an interface.  Raises ConfigError with the names that there are."""
    present = interfaces()
    if name not in present:
        known = ", ".join(f"{key} ({values[0]})" for key, values in present.items()) or "none"
        raise ConfigError(
            f"this host has no interface {name!r} with an address; it has: {known}",
            key="interface",
            value=name,
        )
    return present[name][0]


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def own_addresses() -> list[str]:
    """Return all addresses of this host, the ones that others can reach first."""
    every = [address for addresses in interfaces().values() for address in addresses]
    return sorted(every, key=lambda address: (_is_loopback(address), ":" in address))


def own_address(toward: str | None = None) -> str:
    """Return the address that peers should use to reach this host.

    With ``toward`` (``"host:port"``) the address of the route to that host; a routing look-up,
    nothing is sent.  Without it, or without such a route, the address of the host's own name,
    unless that is a loopback one; else that of the default route; else the first address of an
    interface that is up; else 127.0.0.1.  Raises ConfigError if ``toward`` is not an address or its host has none.
    """
    if toward is not None:
        with contextlib.suppress(OSError):
            return _address_on_route(*parse_address(toward))
    usable = [address for address in own_addresses() if not _is_loopback(address)]
    up = _up_addresses()
    usable = [address for address in usable if address in up] or usable
    if len(usable) > 1:
        named = _named_addresses()
        usable.sort(key=lambda address: (address not in named, address != _default_address()))
    return usable[0] if usable else "127.0.0.1"


def _address_on_route(host: str, port: int) -> str:
    numeric = resolve_host(host)
    family = socket.AF_INET6 if ":" in numeric else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((numeric, port))
        return str(probe.getsockname()[0])


def _default_address() -> str:
    """The address on the default route, "" if there is none.  (192.0.2.0/24 is nobody's.)"""
    with contextlib.suppress(OSError):
        return _address_on_route("192.0.2.1", 9)
    return ""


def _named_addresses() -> set[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except (OSError, UnicodeError):
        return set()
    return {str(item[4][0]) for item in found}


def _up_addresses() -> set[str]:
    import psutil  # see interfaces

    stats = psutil.net_if_stats()
    up = [found for name, found in interfaces().items() if name in stats and stats[name].isup]
    return {address for found in up for address in found}


def join_address(host: str, port: int) -> str:
    """Return ``"host:port"``, or ``"[host]:port"`` for IPv6: what ``parse_address`` takes apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return ``(host, port)`` of ``host:port``, ``[v6]:port`` or, with a default port, ``host``.

    Raises ConfigError for anything else.
    """
    host, port = _split(text.strip())
    if port is None and default_port is not None:
        port = str(default_port)
    if not _is_host(host) or port is None or not _is_port(port):
        raise ConfigError(
            f"{text!r} is not an address: write HOST:PORT with a port from 1 to 65535, like 10.0.0.1:8786",
            key="address",
            value=text,
        )
    return host, int(port)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            return "", None
        return host, rest[1:] if rest else None
    if text.count(":") > 1:  # a bare IPv6 address
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _is_host(host: str) -> bool:
    return bool(host) and not any(c.isspace() or c in "/@[]" for c in host)


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536


def resolve_host(host: str) -> str:
    """Return the first address of a host name.  Raises ConfigError if it cannot be resolved."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a host name"
        raise ConfigError(f"the host name {host!r} cannot be resolved: {why}", key="host", value=host) from error
