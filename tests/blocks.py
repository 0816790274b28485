"""Messages of many tasks taken apart into messages of one each: what most tests want to look at."""

from __future__ import annotations

from typing import Any

from distributed.messages import (
    BlockFinished,
    KeyInMemory,
    KeysInMemory,
    RunBlock,
    RunTask,
    SubmitBlock,
    SubmitTasks,
    TaskFinished,
    TaskSpec,
)

__all__ = ["apart"]


def apart(message: Any) -> list[Any]:
    """Return the messages that say the same as ``message`` of one task each; itself if it is no block."""
    match message:
        case RunBlock(function, run, keys, args, ranks, needs):
            rows = enumerate(zip(keys, args, ranks, strict=True))
            tasks = [RunTask(key, run + i, function, arg, rank, needs) for i, (key, arg, rank) in rows]
            tasks[0].who_has, tasks[0].nbytes = message.who_has, message.nbytes  # told once
            return tasks
        case KeysInMemory(type_name, workers, keys, nbytes, results):
            rows = zip(keys, nbytes, results, strict=True)
            return [KeyInMemory(key, type_name, size, workers, result) for key, size, result in rows]
        case BlockFinished(type_name, duration_s, keys, runs, nbytes, results):
            each_s = duration_s / max(1, len(keys))
            rows = zip(keys, runs, nbytes, results, strict=True)
            return [TaskFinished(key, run, size, each_s, type_name, result) for key, run, size, result in rows]
        case SubmitBlock(function, keys, args, functions, needs):
            specs = [TaskSpec(key, function, arg, needs) for key, arg in zip(keys, args, strict=True)]
            return [SubmitTasks(specs, functions)]
    return [message]
