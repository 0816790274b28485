"""The options of a cluster, in one table: the command line, the configuration files and Python read the same.

Values are parsed here, once and strictly; below are only the fields of :class:`Settings`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed.errors import ConfigError
from distributed.units import parse_duration, parse_memory
from launchers.hosts import parse_hosts

__all__ = ["HOST_OPTIONS", "OPTIONS", "Option", "Settings", "build_settings", "parse_value"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WAY = re.compile(r"[a-z][a-z0-9_-]*")
_MOST_WORKERS = 100_000


@dataclass(frozen=True)
class Settings:
    """What a cluster shall be, every value checked.

    ``n`` workers in all; ``mem`` bytes per job; ``walltime``, ``wait_timeout`` and ``death_timeout`` seconds; ``env``
    variables of the workers (None: the value here); ``wait``: how many workers to wait for (None: see the command);
    ``via``: the way to the batch system; ``own``: the options of the launcher's plugin that were given, by key.
    """

    n: int
    workers_per_job: int = 1
    nthreads: int = 1
    mem: int | None = None
    walltime: float | None = None
    queue: str | None = None
    account: str | None = None
    directive: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    env: tuple[tuple[str, str | None], ...] = ()
    python: str | None = None
    log_dir: Path | None = None
    name: str | None = None
    host: str | None = None
    interface: str | None = None
    port: int = 0
    wait: int | None = None
    wait_timeout: float = 600.0
    via: str = "commands"
    template: Path | None = None
    death_timeout: float = 60.0
    own: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n % self.workers_per_job:
            fitting = self.n // self.workers_per_job * self.workers_per_job
            choices = [str(k) for k in (fitting, fitting + self.workers_per_job) if k]
            raise ConfigError(
                f"{self.n} workers do not fill jobs of {self.workers_per_job} (--workers-per-job): ask for "
                f"{' or '.join(choices)}",
                key="n",
                value=self.n,
            )
        if self.wait is not None and self.wait > self.n:
            raise ConfigError(f"--wait {self.wait} can never be reached with -n {self.n}", key="wait", value=self.wait)
        if self.host and self.interface:
            raise ConfigError("--host and --interface exclude each other", key="host", value=self.host)

    @property
    def jobs(self) -> int:
        """How many jobs hold these workers."""
        return self.n // self.workers_per_job


@dataclass(frozen=True)
class Option:
    """One option: ``key`` as in files and on the command line (``--key``), how to parse its text, and its help."""

    key: str
    parse: Callable[[Any], Any]
    metavar: str
    help: str
    short: str = ""
    multiple: bool = False
    default: Any = field(default=None, kw_only=True)

    @property
    def field(self) -> str:
        """The name in Python."""
        return self.key.replace("-", "_")


def _count(what: str, least: int = 1, most: int = _MOST_WORKERS) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        text = str(value).strip()
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d+", text):
            raise ValueError(f"{value!r} is not a whole number of {what}")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not a number of {what} from {least} to {most}")
        return int(text)

    return parse


def _walltime(value: Any) -> float:
    if isinstance(value, int | float) or re.fullmatch(r"\s*\d+(\.\d+)?\s*", str(value)):
        number = str(value).strip()
        raise ValueError(f"{number} is ambiguous: write {number}m or {number}s, 2h30m, 01:30:00 or 1-02:03:04")
    return parse_duration(value)


def _wait(value: Any) -> int | str:
    return "all" if str(value).strip() == "all" else _count("workers, or 'all'", least=0)(value)


def _text(value: Any) -> str:
    text = str(value)
    if not text.strip() or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"{text!r} must be one line of text")
    return text


def _lines(value: Any) -> str:
    text = str(value)
    if "\0" in text or not text.strip():
        raise ValueError(f"{text!r} is no line for the shell")
    return text.rstrip("\n")


def _name(value: Any) -> str:
    if not _NAME.fullmatch(str(value)):
        raise ValueError(
            f"{value!r} cannot be a cluster's name: use up to 60 letters, digits, '_' and '-', a letter or digit first"
        )
    return str(value)


def _way(value: Any) -> str:
    if not _WAY.fullmatch(str(value)):
        raise ValueError(f"{value!r} is not the name of a way to a batch system, like commands or drmaa")
    return str(value)


def _variable(value: Any) -> tuple[str, str | None]:
    key, separator, text = str(value).partition("=")
    if not _IDENTIFIER.fullmatch(key):
        raise ValueError(f"{value!r} is not KEY=VALUE, or KEY for the value that it has here")
    if "\0" in text:
        raise ValueError(f"the value of {key} holds a zero byte")
    return key, text if separator else None


def _hosts(value: Any) -> str:
    text = _text(value)
    if not parse_hosts([text]):
        raise ValueError(f"{text!r} names no host")
    return text


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser().absolute()


OPTIONS: tuple[Option, ...] = (
    Option("n", _count("workers"), "N", "How many workers.", short="-n"),
    Option("workers-per-job", _count("workers", most=1024), "N", "Workers in each job.", default=1),
    Option(
        "nthreads", _count("threads", most=4096), "N", "Threads of each worker; so many CPUs are asked for.", default=1
    ),
    Option("mem", parse_memory, "SIZE", "Memory of each job, like 24GB (its workers share it)."),
    Option("walltime", _walltime, "TIME", "How long each job may run, like 2h30m or 1-02:03:04."),
    Option("queue", _text, "NAME", "Queue (SLURM: partition) to submit to."),
    Option("account", _text, "NAME", "Account that pays for the jobs."),
    Option(
        "directive",
        _text,
        "LINE",
        "A line for the batch system, like --constraint=gpu; it wins over ours.",
        multiple=True,
    ),
    Option(
        "prologue", _lines, "LINE", "A line of shell to run before the worker, like 'module load gcc'.", multiple=True
    ),
    Option("env", _variable, "KEY=VALUE", "A variable for the workers; KEY alone takes its value here.", multiple=True),
    Option("python", _text, "PATH", "The Python that runs the workers [default: the one that runs dlaunch]."),
    Option("log-dir", _path, "DIR", "Keep the logs of the workers in DIR [default: in the cluster's folder]."),
    Option("name", _name, "NAME", "Name of the cluster [default: made up]."),
    Option("host", _text, "ADDRESS", "Address of this host that the scheduler listens on and tells others."),
    Option("interface", _text, "NAME", "The same, by the name of a network interface, like ib0."),
    Option(
        "port", _count("port", least=0, most=65535), "PORT", "Port of the scheduler [default: any free one].", default=0
    ),
    Option("wait", _wait, "N|all", "Go on when N workers are there [default: 1 before a command]."),
    Option("wait-timeout", parse_duration, "TIME", "Give up when they are not there after this long.", default="10m"),
    Option(
        "via",
        _way,
        "WAY",
        "Reach the batch system by its own commands, or by another way that it has, like drmaa.",
        default="commands",
    ),
    Option("template", _path, "FILE", "Render this template instead of the system's own."),
    Option(
        "death-timeout", parse_duration, "TIME", "Workers end when the scheduler is gone for this long.", default="60s"
    ),
)

HOST_OPTIONS: tuple[Option, ...] = (
    Option("hosts", _hosts, "HOST", "Use these hosts, like n01,ada@n02:2222 or n[01-04].", multiple=True),
    Option("hostfile", _path, "FILE", "Read hosts from FILE, one a line; slots=4 after one is for four jobs."),
    Option("min-hosts", _count("hosts"), "N", "Go on with N hosts if others do not start [default: all must]."),
)
"""Of plugins whose users name the hosts."""

_BY_KEY = {option.key: option for option in OPTIONS}


def parse_value(key: str, value: Any, origin: str = "", own: Sequence[Option] = ()) -> Any:
    """Return the parsed value of option ``key``; of a list, if it may be given several times.

    ``own``: options of a plugin that are known too.  Raises ConfigError, with ``origin`` in its message if there is
    one.
    """
    where = f" (in {origin})" if origin else ""
    known = {**_BY_KEY, **{option.key: option for option in own}}
    option = known.get(key)
    if option is None:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
        raise ConfigError(f"there is no option {key!r}{where}; {hint}", key=key, value=value, origin=origin)
    try:
        if option.multiple:
            items = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
            items = [items] if isinstance(items, str) else items
            return tuple(option.parse(item) for item in items)
        if isinstance(value, list | dict | bool):
            raise ValueError(f"{value!r} is not one value")
        return option.parse(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key}{where}: {error}", key=key, value=value, origin=origin) from error


def build_settings(values: Mapping[str, Any]) -> Settings:
    """Return the settings of parsed values by option key; what is missing takes its default.  Raises ConfigError."""
    if values.get("n") is None:
        raise ConfigError("say how many workers: -n 4", key="n")
    fields = {_BY_KEY[key].field: value for key, value in values.items() if value is not None and key in _BY_KEY}
    if fields.get("wait") == "all":
        fields["wait"] = fields["n"]
    known = {item.name for item in dataclasses.fields(Settings)}
    own = {key: value for key, value in values.items() if value is not None and key not in _BY_KEY}
    return Settings(**{name: value for name, value in fields.items() if name in known}, own=own)
