"""Directive lines, like ``#SBATCH --mem=4G``: reading them, and letting a user's line win over ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jobscripts.quoting import single_line

__all__ = ["canonical_option", "canonical_options", "drop_overridden", "find_option", "normalise"]

_OPTION = re.compile(r"(--[A-Za-z][\w-]*|-[A-Za-z]\w*)")
_RESOURCE = re.compile(r"[A-Za-z_][\w.]*")


def normalise(line: str, prefix: str) -> str:
    """Return a user's directive without its prefix: ``#SBATCH -C gpu`` and ``-C gpu`` are the same.

    Raises ValueError for what is not one line that begins with an option.
    """
    text = single_line(line, "the directive").strip()
    if prefix and text.startswith(prefix):
        text = text[len(prefix) :].strip()
    if not _OPTION.match(text):
        raise ValueError(f"the directive {line!r} does not begin with an option, like --constraint=gpu")
    return text


def canonical_option(text: str, aliases: Mapping[str, str]) -> str:
    """Return the canonical option of a directive without prefix; ``""`` if it has none.

    A short option may be followed by its value at once: ``-pmain``.
    """
    found = canonical_options(text, aliases)
    return found[0] if found else ""


def canonical_options(text: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    """Return all canonical options of a directive without prefix: usually one.

    Where the alias of an option ends in `` *``, each resource that it asks for is an option of its own:
    ``-l mem=1G,time=60`` is ``-l mem`` and ``-l time``, which may be aliases again.
    """
    match = _OPTION.match(text.strip())
    if match is None:
        return ()
    option = match[1]
    rest = text.strip()[match.end() :]
    if not option.startswith("--") and option not in aliases and option[:2] in aliases:
        option, rest = option[:2], option[2:] + rest
    option = aliases.get(option, option)
    if not option.endswith(" *"):
        return (option,)
    names = [_RESOURCE.match(part.strip()) for part in rest.split(",")]
    several = [f"{option[:-1]}{name[0]}" for name in names if name]
    return tuple(aliases.get(one, one) for one in several) or (option,)


def drop_overridden(script: str, prefix: str, user: Sequence[str], aliases: Mapping[str, str]) -> str:
    """Return the script without those of our directive lines whose option a user's line has as well.

    The user's lines themselves (compared as whole lines) stay.
    """
    if not prefix or not user:
        return script
    theirs = {f"{prefix} {line}" for line in user}
    taken = {option for line in user for option in canonical_options(line, aliases)}
    # Not splitlines(): for batch systems a line ends at the newline only, not at U+2028 and the like.
    kept = [line for line in script.split("\n") if line in theirs or not taken & {*_options_of(line, prefix, aliases)}]
    return "\n".join(kept)


def find_option(script: str, prefix: str, option: str, aliases: Mapping[str, str]) -> tuple[int, str]:
    """Return number (from 1) and text of the last directive line with this option; ``(0, "")`` if none has."""
    found = (0, "")
    for number, line in enumerate(script.split("\n"), 1):
        if option and aliases.get(option, option) in _options_of(line, prefix, aliases):
            found = (number, line)
    return found


def _options_of(line: str, prefix: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    if not prefix or not line.startswith(f"{prefix} "):
        return ()
    return canonical_options(line[len(prefix) :], aliases)
