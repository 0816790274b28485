"""The scheduler's decisions: events in, actions out.  Pure: no clock, socket, thread or log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.errors import RemoteProtocolError
from distributed.messages import (
    CancelKeys,
    DataScattered,
    Message,
    ReleaseKeys,
    RetryKeys,
    SubmitBlock,
    SubmitTasks,
    WantKeys,
)
from distributed.scheduler import comings, copies, events, graph, reports, wishes
from distributed.scheduler.actions import Action, Answer, ToClient, ToWorker
from distributed.scheduler.dispatch import dispatch
from distributed.scheduler.state import Client, State, Worker
from distributed.scheduler.transitions import flush_drops, recover, settle
from distributed.tables import shrink

__all__ = ["SchedulerMachine"]

_WISHES: dict[type, Callable[[State, Client, Any], None]] = {
    SubmitTasks: graph.submit,
    SubmitBlock: graph.submit_block,
    WantKeys: wishes.want_keys,
    ReleaseKeys: wishes.release,
    CancelKeys: wishes.cancel,
    RetryKeys: wishes.retry,
    DataScattered: wishes.take_data,
}


def _check(sender: str, messages: list[Message], allowed: frozenset[type]) -> None:
    """Raise RemoteProtocolError if one of the messages is not the sender's to send."""
    if not allowed.issuperset(map(type, messages)):
        wrong = next(type(message) for message in messages if type(message) not in allowed)
        raise RemoteProtocolError(f"a {sender} does not send {wrong.__name__} to a scheduler")


class SchedulerMachine:
    """All decisions of one scheduler; ``state`` is for questions (``queries.py``) and checks only.

    ``allowed_failures``: how many workers may die under a task before it fails.  ``prefetch_s``: a worker is given
    work ahead for about so long per thread, in at most ``prefetch_tasks`` tasks.
    """

    def __init__(self, allowed_failures: int = 3, *, prefetch_s: float = 0.02, prefetch_tasks: int = 2000) -> None:
        self.state = State(allowed_failures, prefetch_s, prefetch_tasks)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.ClientMessages: self._client_messages,
            events.WorkerMessages: self._worker_messages,
            events.ClientJoined: self._client_joined,
            events.ClientLeft: self._client_left,
            events.WorkerJoined: lambda event: comings.join(self.state, event),
            events.WorkerLeft: lambda event: comings.leave(self.state, event),
            events.DataMissing: self._data_missing,
            events.ReplicateWanted: lambda event: copies.begin(self.state, event),
            events.RebalanceWanted: lambda event: copies.begin(self.state, event),
            events.RetireWanted: lambda event: copies.begin(self.state, event),
            events.RestartWanted: self._restart_wanted,
        }

    def handle(self, event: events.Event) -> list[Action]:
        """Take in what happened; return what to do, in order, at most one batch for each peer.

        Raises RemoteProtocolError, with nothing changed, for messages that this kind of peer must not send.
        """
        self.take(event)
        return self.decide()

    def take(self, event: events.Event) -> None:
        """Take in what happened and decide nothing yet: of what comes at once, that is done once for all.

        Only messages may wait for others so; raises the same as :meth:`handle`.
        """
        self._handlers[type(event)](event)
        settle(self.state)

    def decide(self) -> list[Action]:
        """Return what to do about all that was taken in."""
        state = self.state
        if state.missions:
            copies.tend(state)
        for worker in state.dropping:
            flush_drops(state, worker)
            worker.data.tidy()
        state.dropping.clear()
        shrink(state.tasks)
        dispatch(state)
        return self._collect()

    def _collect(self) -> list[Action]:
        state = self.state
        actions: list[Action] = []
        for peer in state.speaking:
            messages, peer.outbox = peer.outbox, []
            if not messages:
                continue
            if isinstance(peer, Worker):
                if state.workers.get(peer.address) is peer:
                    actions.append(ToWorker(peer.address, messages))
            elif state.clients.get(peer.id) is peer:
                actions.append(ToClient(peer.id, messages))
        state.speaking.clear()
        if state.answers:
            actions.extend(state.answers)
            state.answers.clear()
        return actions

    # -- clients ------------------------------------------------------------------------------------------------

    def _client_joined(self, event: events.ClientJoined) -> None:
        if event.client in self.state.clients:
            self._client_left(events.ClientLeft(event.client))
        self.state.clients[event.client] = Client(event.client)

    def _client_left(self, event: events.ClientLeft) -> None:
        client = self.state.clients.pop(event.client, None)
        if client is not None:
            wishes.depart(self.state, client)
            settle(self.state)

    def _client_messages(self, event: events.ClientMessages) -> None:
        _check("client", event.messages, frozenset(_WISHES))
        state = self.state
        client = state.clients.get(event.client)
        for message in event.messages:
            if client is not None:
                _WISHES[type(message)](state, client, message)
                # A key that was released or cancelled may come again at once, as another task.
                settle(state)
            elif isinstance(message, DataScattered):
                wishes.refuse_data(state, message)

    # -- workers ------------------------------------------------------------------------------------------------

    def _worker_messages(self, event: events.WorkerMessages) -> None:
        _check("worker", event.messages, reports.ALLOWED)
        worker = self.state.workers.get(event.address)
        if worker is not None:
            reports.take_reports(self.state, worker, event.messages)

    def _data_missing(self, event: events.DataMissing) -> None:
        recover(self.state, copies.accuse(self.state, event.missing))

    # -- control ------------------------------------------------------------------------------------------------

    def _restart_wanted(self, event: events.RestartWanted) -> None:
        count = wishes.cancel_everything(self.state, "restart")
        self.state.answers.append(Answer(event.token, count))
