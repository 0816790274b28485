"""What a launcher is to do: output of ``scaling.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from launchers.jobs import ElementId, JobStatus

__all__ = ["Action", "Cancel", "Find", "GiveUp", "Inquire", "Poll", "Stopped", "Submit", "Tell"]


@dataclass(frozen=True)
class Submit:
    """Submit the elements ``first`` to ``last`` as one array; answered by Submitted or SubmitFailed."""

    first: int
    last: int


@dataclass(frozen=True)
class Find:
    """A submission may have made jobs although it failed: look for them; answered by Found or FindFailed."""


@dataclass(frozen=True)
class Poll:
    """Ask for the states of these elements; answered by Polled or PollFailed."""

    ids: tuple[ElementId, ...]


@dataclass(frozen=True)
class Inquire:
    """Find out how these elements ended (index, id); answered by Inquired."""

    elements: tuple[tuple[int, ElementId], ...]


@dataclass(frozen=True)
class Cancel:
    """Cancel whole arrays or elements; answered by Cancelled or CancelFailed."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class Tell:
    """Tell the user.  ``warning``: something is wrong; ``index``: the element it is about (its log may help)."""

    text: str
    warning: bool = False
    index: int | None = None


@dataclass(frozen=True)
class GiveUp:
    """No more jobs are submitted.

    ``refused``: the batch system does not take them; else jobs ended before their workers registered, as
    ``failures`` tells (index, id, status).
    """

    text: str
    refused: bool
    failures: tuple[tuple[int, ElementId, JobStatus], ...] = ()


@dataclass(frozen=True)
class Stopped:
    """All is cancelled.  ``left``: elements that the batch system still had when we stopped waiting."""

    left: tuple[ElementId, ...] = ()


Action: TypeAlias = Submit | Find | Poll | Inquire | Cancel | Tell | GiveUp | Stopped
