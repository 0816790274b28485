"""Text that comes from users, made safe for the two places of a jobscript: directives and shell commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ShellVariable", "directive_value", "shell_word", "single_line"]

_PLAIN = re.compile(r"[A-Za-z0-9@%_+=:,./\[\]~^*-]+")


@dataclass(frozen=True)
class ShellVariable:
    """A variable of the running script: the one thing in a word that the shell shall expand."""

    name: str


def shell_word(parts: Sequence[str | ShellVariable]) -> str:
    r"""Return one word for the shell, in which only the given variables are expanded.

    >>> shell_word(["sweep $1.", ShellVariable("INDEX")])
    '"sweep \\\\$1.${INDEX}"'
    """
    if all(isinstance(part, str) for part in parts):
        return shlex.quote("".join(str(part) for part in parts))
    texts = [
        f"${{{part.name}}}" if isinstance(part, ShellVariable) else re.sub(r'([\\"$`])', r"\\\1", part)
        for part in parts
    ]
    return f'"{"".join(texts)}"'


def single_line(text: str, what: str = "value") -> str:
    """Return ``text`` if it is one line without control characters.  Raises ValueError."""
    if not text.strip() or any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError(f"{what} {text!r} must be one line of text without control characters")
    return text


def directive_value(value: object) -> str:
    """Return the text of a value in a directive line, in double quotes if a blank or another special is in it.

    Raises ValueError for line breaks and other control characters: they would begin a line of their own.
    """
    text = single_line(str(value), "the directive value")
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
