"""A client as the scheduler sees it, for random lives: it makes graphs, changes its mind, and remembers."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from distributed.messages import (
    CancelKeys,
    DataScattered,
    KeyCancelled,
    KeyErred,
    KeyInMemory,
    KeyLost,
    KeyPending,
    ReleaseKeys,
    RetryKeys,
    SubmitBlock,
    SubmitTasks,
    TaskOptions,
    TaskSpec,
    WantKeys,
)

__all__ = ["Definitions", "SimClient"]


@dataclass
class Definitions:
    """What the keys mean, in all clients: key -> specification; scattered keys -> value."""

    specs: dict[str, TaskSpec] = field(default_factory=dict)
    scattered: dict[str, Any] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    """Keys that others may use: they never change their meaning."""
    count: int = 0

    def new_key(self, kind: str) -> str:
        """A key that was never there."""
        self.count += 1
        return f"{kind}{self.count}"


class SimClient:
    """``heard``: the last word about each wanted key; what it says goes to ``says``."""

    def __init__(self, name: str, rng: random.Random, definitions: Definitions) -> None:
        self.name = name
        self.rng = rng
        self.definitions = definitions
        self.wants: set[str] = set()
        self.heard: dict[str, Any] = {}
        self.sent: set[str] = set()
        self.says: list[Any] = []

    def hear(self, message: Any) -> None:
        """Take a message from the scheduler."""
        assert isinstance(message, KeyInMemory | KeyErred | KeyLost | KeyCancelled | KeyPending)
        if message.key not in self.wants:
            return
        if isinstance(message, KeyPending):
            self.heard.pop(message.key, None)
        else:
            self.heard[message.key] = message

    def act(self) -> None:
        """Do one thing."""
        choices = [self._submit] * 6 + [self._want, self._release, self._release, self._retry]
        self.rng.choice([*choices, self._redefine, self._redefine, *[self._cancel] * (self.rng.random() < 0.3)])()

    # -- graphs -----------------------------------------------------------------------------------------------------

    def _behaviour(self) -> str:
        return self.rng.choices(("fine", "raise", "flaky", "poison"), (60, 2, 4, 2))[0]

    def _options(self) -> TaskOptions | None:
        rng = self.rng
        if rng.random() < 0.6:
            return None
        workers = rng.choice((None, None, ["w0"], ["w1", "host-a"]))
        resources = rng.choice((None, None, {"GPU": 1.0}, {"GPU": 2.0, "mem": 1.0}))
        return TaskOptions(
            priority=rng.choice((0, 0, 5, -5)),
            retries=rng.choice((0, 0, 1)),
            workers=workers,
            allow_other_workers=workers is not None and rng.random() < 0.3,
            resources=resources,
        )

    def _submit(self) -> None:
        rng, known = self.rng, self.definitions
        batch: list[TaskSpec] = []
        is_map = rng.random() < 0.4  # tasks of one function that depend on nothing, or on the same
        same = self._some(self._hopeful()) if rng.random() < 0.5 else []
        for _ in range(rng.choice((1, 3, 8))):
            candidates = self._some(self._hopeful()) if rng.random() < 0.7 and not is_map else []
            if is_map:
                candidates = same
            candidates += [spec.key for spec in batch if rng.random() < 0.3 and not is_map][-2:]
            if rng.random() < 0.02 and not is_map:
                candidates.append(rng.choice([*known.shared, "nobody-knows-this"]))
            args = f"v1 {self._behaviour()}".encode()
            key = known.new_key("t")
            options = None if is_map else self._options()
            spec = TaskSpec(key, "f" if is_map else rng.choice("fg"), args, list(dict.fromkeys(candidates)), options)
            batch.append(spec)
        for spec in batch:
            known.specs[spec.key] = spec
            known.shared.append(spec.key)
        if rng.random() < 0.2:
            rng.shuffle(batch)
        self._send_specs(batch)

    def _hopeful(self) -> list[str]:
        """Keys that one's own tasks may well depend on."""
        bad = KeyErred | KeyLost | KeyCancelled
        shared = self.wants.intersection(self.definitions.shared)
        return sorted(key for key in shared if not isinstance(self.heard.get(key), bad))

    def _send_specs(self, batch: list[TaskSpec]) -> None:
        functions = {spec.function: b"code" for spec in batch if spec.function not in self.sent}
        self.sent.update(functions)
        self._begin_to_want(*[spec.key for spec in batch])
        first = batch[0]
        alike = not any(spec.dependencies != first.dependencies or spec.options for spec in batch)
        if alike and len({spec.function for spec in batch}) == 1 and self.rng.random() < 0.7:
            columns = [spec.key for spec in batch], [spec.args for spec in batch]
            self.says.append(SubmitBlock(first.function, *columns, functions, first.dependencies))
        else:
            self.says.append(SubmitTasks(batch, functions))

    def speak(self) -> list[Any]:
        """What it says."""
        return self.says

    def _begin_to_want(self, *keys: str) -> None:
        for key in keys:
            if key not in self.wants:
                self.wants.add(key)
                self.heard.pop(key, None)

    def _redefine(self) -> None:
        """Cancel a key of one's own and submit it as another task, in one breath."""
        known = self.definitions
        key = f"own-{self.name}-{self.rng.randint(0, 1)}"
        old = known.specs.get(key)
        version = int(old.args.split()[0][1:]) + 1 if old is not None else 1
        spec = TaskSpec(key, "f", f"v{version} fine".encode())
        if old is not None:
            self.says.append(CancelKeys([key], force=True))
            self.heard.pop(key, None)
        known.specs[key] = spec
        self._send_specs([spec])

    def scattered(self, key: str, value: Any, addresses: list[str]) -> None:
        """Data was put on the workers at these addresses."""
        self.definitions.scattered[key] = value
        self.definitions.shared.append(key)
        self._begin_to_want(key)
        self.says.append(DataScattered({key: (8, addresses)}))

    # -- changes of mind --------------------------------------------------------------------------------------------

    def _some(self, keys: list[str]) -> list[str]:
        return self.rng.sample(keys, min(len(keys), self.rng.choice((1, 2, 5))))

    def _want(self) -> None:
        keys = self._some(self.definitions.shared)
        self._begin_to_want(*keys)
        self.says.append(WantKeys(keys))

    def _release(self) -> None:
        keys = self._some(sorted(self.wants))
        self._lose(keys)
        self.says.append(ReleaseKeys(keys))

    def _cancel(self) -> None:
        keys = self._some(sorted(self.wants))
        self.says.append(CancelKeys(keys, force=self.rng.random() < 0.3))

    def _retry(self) -> None:
        keys = [key for key, message in self.heard.items() if isinstance(message, KeyErred)]
        if keys:
            self.says.append(RetryKeys(self._some(sorted(keys))))

    def _lose(self, keys: list[str]) -> None:
        for key in keys:
            self.wants.discard(key)
            self.heard.pop(key, None)
