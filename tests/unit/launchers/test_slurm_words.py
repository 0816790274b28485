from __future__ import annotations

import re

import pytest

from launchers.jobs import JobState
from launchers.slurm_words import ALIASES, FAILURES, KEPT_DEFAULTS, RESERVED, STATES, explain_reason
from tests.recorded import cases, recorded

# From squeue(1), JOB STATE CODES, of SLURM 20 to 24.
MANUAL = [
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "CONFIGURING", "COMPLETING", "DEADLINE", "FAILED", "LAUNCH_FAILED",
    "NODE_FAIL", "OUT_OF_MEMORY", "PENDING", "POWER_UP_NODE", "PREEMPTED", "RECONFIG_FAIL", "REQUEUE_FED",
    "REQUEUE_HOLD", "REQUEUED", "RESIZING", "RESV_DEL_HOLD", "REVOKED", "RUNNING", "SIGNALING", "SPECIAL_EXIT",
    "STAGE_OUT", "STOPPED", "SUSPENDED", "TIMEOUT",
]  # fmt: skip


def test_every_state_of_the_manual_is_known():
    assert sorted(STATES) == sorted(MANUAL)


def test_states_mean_what_they_say():
    waiting = {word for word, state in STATES.items() if state is JobState.PENDING}
    assert waiting == {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
    assert JobState.UNKNOWN not in STATES.values()
    assert JobState.GONE not in STATES.values()


@pytest.mark.parametrize("case", [name for name in cases("slurm", "*.squeue") if name != "version.squeue"])
def test_every_recorded_reason_is_explained(case):
    reasons = {line.split("|")[2] for line in recorded("slurm", case).stdout.splitlines()} - {"None"}
    assert [reason for reason in reasons if not explain_reason(reason)] == []


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("Resources", "free nodes"),
        ("(Resources)", "free nodes"),
        ("ReqNodeNotAvail, UnavailableNodes:hpc[1-4]", "reserved (maintenance?)"),
        ("ReqNodeNotAvail, May be reserved for other job", "reserved (maintenance?)"),
        ("AssocGrpCPUMinutesLimit", "limit of the account"),
        ("AssocMaxJobsLimit", "limit of the account"),
        ("QOSMaxJobsPerUserLimit", "quality of service"),
        ("MaxMemPerAccount", "limit of the account, user or partition"),
        ("RaisedSignal:53(Real-time_signal_19)", "a signal ended it"),
        ("DependencyNeverSatisfied", "never start"),
    ],
)
def test_reasons_in_plain_words(reason, part):
    assert part in explain_reason(reason)


@pytest.mark.parametrize("reason", ["", "None", "SomethingNew"])
def test_an_unknown_reason_is_left_as_it_is(reason):
    assert explain_reason(reason) == ""


def test_options_lead_to_canonical_long_ones():
    for name, target in ALIASES.items():
        assert re.fullmatch(r"-[A-Za-z]|--[a-z-]+", name)
        assert re.fullmatch(r"--[a-z-]+", target)
        assert target not in ALIASES
    assert not set(RESERVED) & set(ALIASES)
    assert set(KEPT_DEFAULTS) <= set(ALIASES.values()) | {"--reservation"}


def test_failures_are_patterns_whose_options_are_canonical():
    for pattern, transient, option, _ in FAILURES:
        assert re.compile(pattern).groups <= 1
        assert option not in ALIASES
        assert not (transient and option), "what a line of the script causes does not pass by waiting"
