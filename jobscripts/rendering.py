"""From template and values to a jobscript."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from jobscripts.quoting import directive_value, single_line

__all__ = ["FOLDER", "RenderError", "render", "template_path"]

FOLDER = Path(__file__).parent
"""Where the built-in templates lie."""

_UNDEFINED = re.compile(r"'(\w+)' is undefined")


class RenderError(Exception):
    """A template that cannot be rendered.

    ``template`` is its file name, ``line`` where it went wrong (0: unknown), ``variable`` the undefined one or "".
    """

    def __init__(self, template: str, problem: str, line: int = 0, variable: str = "") -> None:
        super().__init__(problem)
        self.template = template
        self.problem = problem
        self.line = line
        self.variable = variable


def template_path(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of the first folder that has this template, or None."""
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def render(name: str, folders: Sequence[Path], context: Mapping[str, object]) -> str:
    """Render template ``name``, looked for in ``folders`` and then here; so are those that it extends.

    In templates ``{{ value | sh }}`` is quoted for the shell and ``{{ value | directive }}`` for a directive line.
    Raises RenderError for a missing template or variable, wrong syntax, and values that cannot be written.
    """
    try:
        text = _environment([*folders, FOLDER]).get_template(name).render(dict(context))
    except jinja2.UndefinedError as error:
        where = _place(error, name)
        match = _UNDEFINED.search(str(error))
        raise RenderError(where[0], str(error), where[1], match[1] if match else "") from error
    except jinja2.TemplateSyntaxError as error:
        place = Path(error.filename).name if error.filename else error.name or name
        raise RenderError(place, error.message or "wrong syntax", error.lineno) from error
    except jinja2.TemplateNotFound as error:
        places = ", ".join(str(folder) for folder in (*folders, FOLDER))
        raise RenderError(name, f"there is no template {error.name!r} in {places}") from error
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        where = _place(error, name)
        raise RenderError(where[0], str(error), where[1]) from error
    if not text.startswith("#!"):
        raise RenderError(name, "its first line must begin with '#!', like #!/bin/bash", 1)
    return text


def _environment(folders: Sequence[Path]) -> jinja2.Environment:
    # Shell scripts, not HTML: every value passes the filters sh or directive instead.
    environment = jinja2.Environment(  # noqa: S701
        loader=jinja2.FileSystemLoader([str(folder) for folder in folders]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    environment.filters["directive"] = directive_value
    environment.filters["line"] = single_line
    return environment


def _place(error: BaseException, name: str) -> tuple[str, int]:
    """The innermost template line of a traceback: Jinja puts templates into it like source files."""
    place, trace = (name, 0), error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.endswith(".j2"):
            place = (Path(file).name, trace.tb_lineno)
        trace = trace.tb_next
    return place
