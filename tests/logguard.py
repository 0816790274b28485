"""A guard that sees every record of WARNING and above which our loggers emit."""

from __future__ import annotations

import logging
import re
from types import TracebackType

LOGGERS = ("distributed", "launchers")


class LogGuard(logging.Handler):
    """Collects records between ``with`` and its end, and compares them with what was expected."""

    def __init__(self, loggers: tuple[str, ...] = LOGGERS) -> None:
        super().__init__(level=logging.WARNING)
        self._loggers = [logging.getLogger(name) for name in loggers]
        self._expected: list[tuple[re.Pattern[str], bool]] = []
        self._seen: list[logging.LogRecord] = []

    def __enter__(self) -> LogGuard:
        for logger in self._loggers:
            logger.addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for logger in self._loggers:
            logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._seen.append(record)

    def expect(self, pattern: str, required: bool = True) -> re.Pattern[str]:
        """Announce records whose text contains ``pattern``; if ``required``, at least one."""
        compiled = re.compile(pattern)
        self._expected.append((compiled, required))
        return compiled

    def complaint(self) -> str:
        """Say which records came unannounced and which announced ones never came; "" if none."""
        texts = [record.getMessage() for record in self._seen]
        lines = [
            f"unexpected log: {record.levelname} {record.name}: {text}{_cause(record)}"
            for record, text in zip(self._seen, texts, strict=True)
            if not any(pattern.search(text) for pattern, _ in self._expected)
        ]
        lines += [
            f"expected log never came: {pattern.pattern!r}"
            for pattern, required in self._expected
            if required and not any(pattern.search(text) for text in texts)
        ]
        return "\n".join(lines)


def _cause(record: logging.LogRecord) -> str:
    if record.exc_info is None:
        return ""
    return "\n" + logging.Formatter().formatException(record.exc_info)
