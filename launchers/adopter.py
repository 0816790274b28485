"""The head of a cluster whose jobs others submit: it only watches which workers come and go."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, ClassVar

from distributed.daemon import Daemon, operation
from distributed.errors import CommError
from distributed.messages import WorkerAppeared, WorkerDisappeared
from launchers.folder import HEAD
from launchers.launcher import Listener
from launchers.slots import Progress
from launchers.watching import watch_workers

__all__ = ["Adopter"]

logger = logging.getLogger(__name__)


class Adopter(Daemon):
    """Tells ``listener`` of the workers that the scheduler at ``scheduler_address`` has.

    Closes with the exit code ``lost_code`` when the scheduler is gone.
    """

    kind: ClassVar[str] = "Head"

    def __init__(
        self, scheduler_address: str, *, secret: bytes, listener: Listener, lost_code: int, host: str | None = None
    ) -> None:
        super().__init__(host=host, secret=secret)
        self.scheduler_address = scheduler_address
        self.lost_code = lost_code
        self._listener = listener
        self._workers: set[str] = set()

    @property
    def progress(self) -> Progress:
        """How many workers there are."""
        return Progress(adopted=len(self._workers))

    async def _start(self) -> None:
        self.own(self._watch(), name="watch the workers")

    async def _watch(self) -> None:
        try:
            await watch_workers(self.scheduler_address, self._secret, self._on_worker)
        except CommError as error:
            if self.status in ("closing", "closed"):
                return
            self._listener.tell(f"the scheduler at {self.scheduler_address} is gone: {error}", True)
            self.exit_code = self.lost_code
            self._close_soon("the scheduler is gone")

    def _on_worker(self, message: WorkerAppeared | WorkerDisappeared) -> None:
        if isinstance(message, WorkerAppeared):
            logger.info("worker %s of the job %s came from %s", message.name, message.job_id, message.host)
            self._workers.add(message.address)
        else:
            self._workers.discard(message.address)
            if message.expected:
                logger.info("worker %s left: %s", message.name, message.reason)
            else:
                self._listener.tell(f"worker {message.name} is lost: {message.reason}", True)
        self._listener.progress(self.progress)

    @operation
    async def progress_report(self) -> dict[str, Any]:
        """Return how many workers there are: the fields of ``Progress``; no job is ours."""
        return {**dataclasses.asdict(self.progress), "arrays": [], "system": HEAD}
