"""What peers may ask of a daemon: its methods that are marked as operations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

import msgspec

__all__ = ["Operation", "operation", "operations_of", "stream_operation"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def operation(method: _Method) -> _Method:
    """Make a coroutine method an operation that peers can request by its name.

    Keyword arguments are checked against its annotations (``Annotated[int, msgspec.Meta(ge=1)]``
    bounds a number); what it returns must be encodable (see
    ``messages.py``), or the peer gets an error.
    """
    method._dlaunch_operation = "request"  # type: ignore[attr-defined]
    return method


def stream_operation(method: _Method) -> _Method:
    """Make a coroutine method an operation that takes over the connection.

    It is called as ``method(connection, request_id, **kwargs)``, answers with
    ``Reply(request_id, ...)`` itself, and the connection is closed when it returns.
    """
    method._dlaunch_operation = "stream"  # type: ignore[attr-defined]
    return method


class Operation:
    """One operation of a daemon class: how to call it and how to check its arguments.

    ``function`` is the method; ``takes_stream`` whether it takes over the connection.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self.function = function
        self.takes_stream = function._dlaunch_operation == "stream"  # type: ignore[attr-defined]
        skipped = 3 if self.takes_stream else 1
        hints = get_type_hints(function, include_extras=True)
        fields: list[Any] = []
        for parameter in list(inspect.signature(function).parameters.values())[skipped:]:
            hint = hints.get(parameter.name, Any)
            if parameter.default is parameter.empty:
                fields.append((parameter.name, hint))
            else:
                fields.append((parameter.name, hint, _field(parameter.default)))
        self._arguments = msgspec.defstruct(f"{name}_arguments", fields, forbid_unknown_fields=True, kw_only=True)

    def check(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, complete and of the declared types.

        Raises TypeError that names the wrong one.
        """
        try:
            found = msgspec.convert(kwargs, self._arguments)
        except (msgspec.ValidationError, RecursionError) as error:
            raise TypeError(f"operation {self.name}: {error}") from None
        return msgspec.structs.asdict(found)


def _field(default: object) -> Any:
    return msgspec.field(default_factory=lambda: default)


def operations_of(cls: type[Any]) -> dict[str, Operation]:
    """Return the operations of a class by name."""
    return {
        name: Operation(name, member)
        for name, member in inspect.getmembers(cls, inspect.isfunction)
        if hasattr(member, "_dlaunch_operation")
    }
