from __future__ import annotations

from distributed.scheduler import states


def test_every_state_has_its_name_at_its_number() -> None:
    for number, name in enumerate(states.STATE_NAMES):
        assert getattr(states, name.upper()) == number


def test_active_are_those_on_their_way_to_a_result() -> None:
    active = [name for number, name in enumerate(states.STATE_NAMES) if states.is_active(number)]
    assert active == ["waiting", "queued", "suspect", "ahead", "processing"]
