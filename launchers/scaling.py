"""The launcher's machine: wanted workers, known jobs and registered workers in, submissions and worries out.

Pure: times come in as ``now_s``, seconds of any clock that never goes back.  Each index of the array is a *slot* which
holds at most one job at a time; a slot whose job has ended well after its workers had registered is submitted again,
after a pause that grows while its jobs are short-lived.  One command of the batch system is out at a time: after an
action of kind Submit, Find, Poll, Inquire or Cancel nothing of that kind follows until its answer has come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from launchers.actions import Action, Cancel, Find, GiveUp, Inquire, Poll, Stopped, Submit, Tell
from launchers.events import (
    Cancelled,
    CancelFailed,
    Event,
    Found,
    FindFailed,
    Inquired,
    Polled,
    PollFailed,
    StopWanted,
    SubmitFailed,
    Submitted,
    TargetChanged,
    Tick,
    WorkerCame,
    WorkerLeft,
)
from launchers.jobs import JobArray, JobState, JobStatus
