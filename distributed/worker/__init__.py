"""The worker: runs tasks, keeps results, fetches what it needs from its peers."""

from distributed.worker.context import get_task_key, get_worker
from distributed.worker.daemon import Worker
from distributed.worker.stdio import StdioGuard

__all__ = ["StdioGuard", "Worker", "get_task_key", "get_worker"]
