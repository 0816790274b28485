"""Hosts as users write them: on the command line and in files.

A host is ``[user@]name[:port]``; a name may hold ranges, ``n[01-04,7]``; an IPv6 address with a port stands in
brackets.  In a file there is one to a line, perhaps followed by ``slots=4`` and by ``# words``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

__all__ = ["Host", "parse_hostfile", "parse_hosts", "places", "read_hostfile"]

MOST_HOSTS = 10_000

_COMMA = re.compile(r",(?![^\[]*\])")
_RANGE = re.compile(r"\[([0-9,-]+)\]")
# Never a dash first: ssh would take it for an option.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?")
_USER = re.compile(r"[A-Za-z0-9_][^\s@;&|<>'\"`$()]*")
_BRACKETED = re.compile(r"\[([^\[\]]*:[^\[\]]*)\](?::(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Host:
    """One host.

    ``user`` "" and ``port`` None: as ssh's own configuration says; ``slots``: how many workers it takes, None if that
    was not said.
    """

    name: str
    user: str = ""
    port: int | None = None
    slots: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        if self.port is None:
            return f"{user}{self.name}"
        return f"{user}[{self.name}]:{self.port}" if ":" in self.name else f"{user}{self.name}:{self.port}"


def parse_hosts(words: Iterable[str]) -> list[Host]:
    """Return the hosts that are named in words, several in one by commas; each once.  Raises ValueError."""
    parts = [part.strip() for word in words for part in _COMMA.split(word)]
    return _merge(host for part in parts if part for host in _parse_host(part))


def parse_hostfile(text: str) -> list[Host]:
    """Return the hosts of a file, each once.  Raises ValueError that names the line."""
    found: list[Host] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        try:
            found += _parse_line(words)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return _merge(found)


def read_hostfile(data: bytes) -> list[Host]:
    """Return the hosts of a file's bytes.  Raises ValueError, also if there is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not a text file: byte {error.start} is {data[error.start]:#x}") from error
    if not (hosts := parse_hostfile(text)):
        raise ValueError("it names no host")
    return hosts


def places(hosts: Sequence[Host], count: int | None = None) -> tuple[Host, ...]:
    """Return the host of each of ``count`` workers: hosts in turn, each as often as it has slots.

    None: as many as there are slots.  More workers than slots begin again at the first host.
    """
    slots = [host for host in hosts for _ in range(host.slots or 1)]
    if count is None:
        return tuple(slots)
    return tuple(itertools.islice(itertools.cycle(slots), count)) if slots else ()


def _parse_line(words: list[str]) -> list[Host]:
    """The words of one line of a file: hosts, then ``slots=N`` (other programs' words are not understood)."""
    if not words:
        return []
    hosts, slots = parse_hosts(words[:1]), None
    for word in words[1:]:
        key, separator, value = word.partition("=")
        if key != "slots" or not separator:
            raise ValueError(f"{word!r} is not understood: a line is a host and, if you like, slots=N")
        if not value.isdecimal() or not 1 <= int(value) <= 1000:
            raise ValueError(f"slots={value} is not a number of workers from 1 to 1000")
        slots = int(value)
    return [replace(host, slots=slots) for host in hosts]


def _parse_host(text: str) -> Iterator[Host]:
    user, at, rest = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise ValueError(f"{text!r}: {user!r} is no name of a user")
    if match := _BRACKETED.fullmatch(rest):
        name, port = match[1], match[2]
    elif rest.count(":") > 1:
        name, port = rest, None
    else:
        name, colon, after = rest.partition(":")
        port = after if colon else None
    for number, expanded in enumerate(_expand(name)):
        if number >= MOST_HOSTS:
            raise ValueError(f"{text!r} names more than {MOST_HOSTS} hosts")
        if not _NAME.fullmatch(expanded):
            raise ValueError(f"{text!r} is not a host, like n01, user@n01:2222 or n[01-04]")
        yield Host(expanded, user, None if port is None else _port(port, text))


def _port(port: str, text: str) -> int:
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"{text!r}: {port!r} is not a port from 1 to 65535")
    return int(port)


def _expand(name: str) -> Iterator[str]:
    """``n[01-03]`` -> n01, n02, n03; several ranges vary the last one fastest."""
    match = _RANGE.search(name)
    if match is None:
        yield name
        return
    for number in _numbers(match[1], name):
        for rest in _expand(name[match.end() :]):
            yield f"{name[: match.start()]}{number}{rest}"


def _numbers(ranges: str, name: str) -> Iterator[str]:
    for part in ranges.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{name!r}: {part!r} is not a range like 01-04")
        if int(last or first) < int(first):
            raise ValueError(f"{name!r}: the range {part!r} runs backwards")
        if int(last or first) - int(first) >= MOST_HOSTS:
            raise ValueError(f"{name!r}: {part!r} are more than {MOST_HOSTS} hosts")
        for number in range(int(first), int(last or first) + 1):
            yield str(number).zfill(len(first))


def _merge(hosts: Iterable[Host]) -> list[Host]:
    """Each host once; slots that were said twice add up."""
    found: dict[tuple[str, str, int | None], Host] = {}
    for host in hosts:
        key = (host.name, host.user, host.port)
        before = found.get(key)
        said = [h.slots for h in (before, host) if h is not None and h.slots is not None]
        found[key] = replace(host, slots=sum(said) if said else None)
        if len(found) > MOST_HOSTS:
            raise ValueError(f"more than {MOST_HOSTS} hosts are named")
    return list(found.values())
