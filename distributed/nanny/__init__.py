"""The nanny: runs a worker in a process of its own, and starts it again when it dies."""

from distributed.nanny.daemon import Nanny
from distributed.nanny.processes import ForkServer, WorkerProcess

__all__ = ["ForkServer", "Nanny", "WorkerProcess"]
