"""The checks must see what is wrong: each case breaks one thing in a sound state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from distributed.messages import DataScattered
from distributed.scheduler.events import ReplicateWanted
from distributed.scheduler.invariants import validate
from distributed.scheduler.states import ERRED, MEMORY, PROCESSING, QUEUED, RELEASED
from tests.unit.scheduler.desk import Desk, spec


def sound() -> Desk:
    """Something of everything: m in memory, p and p2 processing, w waits, q queued, e erred, d scattered and copied."""
    desk = Desk("a:1", "b:1")
    desk.submit(spec("m", workers=["a:1"]), spec("e", workers=["a:1"]))
    desk.finish("m")
    desk.err("e")
    desk.client(DataScattered({"d": (8, ["a:1"])}))
    desk.handle(ReplicateWanted(1, ["d"]))
    desk.submit("p", "p2", "p3", "p4", spec("w", "p"), "q", spec("s", resources={"GPU": 1.0}))
    return desk


BREAKS: dict[str, Callable[[Desk], object]] = {
    "a count of missing dependencies": lambda d: setattr(d.task("w").inputs, "missing", 2),
    "a count of active tasks": lambda d: setattr(d.task("w").inputs, "active", 0),
    "inputs of nobody": lambda d: setattr(d.task("w").inputs, "users", ()),
    "a dependency without its dependents": lambda d: d.task("p").dependents.clear(),  # type: ignore[union-attr]
    "a count of needs": lambda d: setattr(d.task("p").dependents, "active", 0),
    "a place without processing": lambda d: setattr(d.task("q"), "place", d.worker("a:1")),
    "processing without a place": lambda d: setattr(d.task("q"), "state", PROCESSING),
    "memory without holders": lambda d: setattr(d.task("q"), "state", MEMORY),
    "failed without an error": lambda d: setattr(d.task("q"), "state", ERRED),
    "needed but released": lambda d: setattr(d.task("q"), "state", RELEASED),
    "in no queue": lambda d: d.state.anything.queue.discard(),
    "a queue that is not served": lambda d: d.state.open.update({d.worker("a:1"): None}),
    "a holder that does not know": lambda d: d.worker("a:1").data.entries.clear(),
    "a count of results": lambda d: setattr(d.worker("a:1").data, "number", 7),
    "a holder twice": lambda d: setattr(d.task("m"), "holders", d.task("m").holders * 2),
    "data of nobody": lambda d: d.worker("b:1").data.shared.update({d.task("m"): None}),
    "bytes": lambda d: setattr(d.worker("a:1"), "nbytes", 7),
    "busy seconds": lambda d: setattr(d.worker("a:1"), "busy_s", 7.0),
    "a run of nobody": lambda d: setattr(d.task("p"), "run", 0),
    "a stranger's task": lambda d: d.state.tasks.pop("w"),
    "wants": lambda d: setattr(d.state.clients["c"], "wants", 1),
    "function references": lambda d: setattr(d.state.functions["f"], "references", 1),
    "a function that was not sent": lambda d: d.worker("a:1").functions.clear(),
    "a message not sent": lambda d: d.worker("a:1").outbox.append(None),  # type: ignore[arg-type]
    "a drop not sent": lambda d: d.worker("a:1").drops.append("x"),
    "leftovers": lambda d: d.state.unneeded.append(d.task("m")),
    "lists of workers": lambda d: d.state.vacant.update({d.worker("a:1"): None}),
    "demands": lambda d: setattr(next(iter(d.state.demands.values())), "tasks", 9),
    "eligible": lambda d: d.state.anything.eligible.clear(),
    "stolen": lambda d: d.state.stealing.update({d.task("p"): None}),
    "alone": lambda d: setattr(d.worker("a:1"), "alone", d.task("p")),
    "a mission": lambda d: d.state.fetching.clear(),
    "a mission that is over": lambda d: d.state.missions.clear(),
    "queued twice over": lambda d: setattr(d.task("w"), "state", QUEUED),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_state_is_seen(what: str) -> None:
    desk = sound()
    BREAKS[what](desk)
    with pytest.raises((AssertionError, KeyError)):
        validate(desk.state)
