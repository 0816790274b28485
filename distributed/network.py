"""This host's own addresses, found without the internet and without a default route."""

from __future__ import annotations

import socket

import psutil

from distributed.errors import ConfigError

__all__ = ["interface_address", "interfaces", "own_address", "own_addresses", "parse_address", "resolve_host"]


def interfaces() -> dict[str, list[str]]:
    """Return the IPv4 addresses of each network interface of this host, else its IPv6 ones."""
    found: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        v4 = [item.address for item in addresses if item.family == socket.AF_INET]
        v6 = [item.address.partition("%")[0] for item in addresses if item.family == socket.AF_INET6]
        if v4 or v6:
            found[name] = v4 or v6
    return found


def interface_address(name: str) -> str:
    """Return the address of an interface.  Raises ConfigError with the names that there are."""
    present = interfaces()
    if name not in present:
        known = ", ".join(f"{key} ({values[0]})" for key, values in present.items())
        raise ConfigError(
            f"this host has no interface {name!r} with an address; it has: {known}", key="interface", value=name
        )
    return present[name][0]


def own_addresses() -> list[str]:
    """Return all addresses of this host, the ones that others can reach first."""
    every = [address for addresses in interfaces().values() for address in addresses]
    return sorted(every, key=lambda address: (address.startswith("127.") or address == "::1", ":" in address))


def own_address(toward: str | None = None) -> str:
    """Return the address that peers should use to reach this host.

    With ``toward`` (``"host:port"``) the address of the route to that host; a routing look-up, nothing is sent.
    Without it the address of the host's own name, unless that is a loopback one; else the first address of an
    interface that is up; else 127.0.0.1.
    """
    if toward is not None:
        host, port = parse_address(toward)
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(target)
                return str(probe.getsockname()[0])
            except OSError:
                return own_addresses()[0] if own_addresses() else "127.0.0.1"
    present = own_addresses()
    try:
        named = {str(item[4][0]) for item in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    except OSError:
        named = set()
    usable = [address for address in present if not address.startswith("127.") and address != "::1"]
    up = _up_addresses()
    usable = [address for address in usable if address in up] or usable
    by_name = [address for address in usable if address in named]
    return (by_name or usable or ["127.0.0.1"])[0]


def _up_addresses() -> set[str]:
    stats = psutil.net_if_stats()
    return {a for name, found in interfaces().items() if name in stats and stats[name].isup for a in found}


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return ``(host, port)`` of ``host:port``, ``[v6]:port`` or, with a default port, ``host``.

    Raises ConfigError for anything else.
    """
    host, separator, port = text.strip().rpartition(":")
    if not separator or (":" in host and not host.startswith("[")):
        host, port = text.strip(), ""
    host = host.strip("[]")
    if not port and default_port is not None and host and "/" not in host:
        return host, default_port
    if not host or not port.isdecimal() or not 0 < int(port) < 65536 or any(c in host for c in "/ @"):
        raise ConfigError(
            f"{text!r} is not an address: write HOST:PORT with a port from 1 to 65535, like 10.0.0.1:8786",
            key="address",
            value=text,
        )
    return host, int(port)


def resolve_host(host: str) -> str:
    """Return the first address of a host name.  Raises ConfigError if it cannot be resolved."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise ConfigError(
            f"the host name {host!r} cannot be resolved: {error.strerror}", key="host", value=host
        ) from error
