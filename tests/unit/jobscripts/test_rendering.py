from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from jobscripts.rendering import FOLDER, RenderError, render, template_path


def write(folder: Path, text: str, name: str = "my.sh.j2") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def failure(folder: Path, text: str, **context: object) -> RenderError:
    with pytest.raises(RenderError) as caught:
        render("my.sh.j2", [write(folder, text)], context)
    return caught.value


def test_values_are_written(tmp_path):
    text = "#!/bin/sh\n#SBATCH -A {{ account | directive }}\necho {{ word | sh }}\n# {{ note | line }}\n"
    script = render("my.sh.j2", [write(tmp_path, text)], {"account": "a b", "word": "$x y", "note": "n"})
    assert script == "#!/bin/sh\n#SBATCH -A \"a b\"\necho '$x y'\n# n\n"


def test_the_text_is_not_escaped_as_html_and_keeps_its_last_newline(tmp_path):
    assert render("my.sh.j2", [write(tmp_path, "#!/bin/sh\n{{ x }}\n")], {"x": "<&>"}) == "#!/bin/sh\n<&>\n"


def test_the_first_folder_wins(tmp_path):
    first, second = write(tmp_path / "a", "#!a\n"), write(tmp_path / "b", "#!b\n")
    assert render("my.sh.j2", [first, second], {}) == "#!a\n"
    assert template_path("my.sh.j2", [tmp_path / "none", second, first]) == second / "my.sh.j2"
    assert template_path("my.sh.j2", [tmp_path]) is None


def test_a_users_template_may_extend_ours(tmp_path):
    text = '{% extends "local.sh.j2" %}\n{% block element %}{{ super() }}echo mine\n{% endblock %}\n'
    context = {"directives": [], "prologue": [], "env": {}, "by_hand": False, "workers_per_job": 1}
    with pytest.raises(RenderError) as caught:
        render("my.sh.j2", [write(tmp_path, text)], context)
    # The template of ours that the user never wrote is named.
    assert (caught.value.template, caught.value.variable) == ("base.sh.j2", "name")
    script = render("my.sh.j2", [tmp_path], {**context, "name": "n", "first": 1, "last": 2, "command": ["worker"]})
    assert "echo mine\n" in script
    assert script.endswith("exec worker\n")


def test_an_undefined_variable_is_named_with_template_and_line(tmp_path):
    error = failure(tmp_path, "#!/bin/sh\n\n#SBATCH --mem={{ memori }}\n", memory=3)
    assert (error.template, error.variable, error.line) == ("my.sh.j2", "memori", 3)
    assert isinstance(error.__cause__, jinja2.UndefinedError)


@pytest.mark.parametrize("text", ["{% if x %}{% endif %}", "{{ x | sh }}", "{% for a in x %}{% endfor %}", "{{ x.y }}"])
def test_an_undefined_variable_is_found_wherever_it_stands(tmp_path, text):
    assert failure(tmp_path, f"#!/bin/sh\n{text}\n").variable == "x"


def test_wrong_syntax_is_named_with_its_line(tmp_path):
    error = failure(tmp_path, "#!/bin/sh\n{% if %}\n")
    assert (error.template, error.line, error.variable) == ("my.sh.j2", 2, "")
    assert "expression" in error.problem


def test_a_missing_template_is_named(tmp_path):
    with pytest.raises(RenderError, match=r"there is no template 'none\.sh\.j2'"):
        render("none.sh.j2", [tmp_path], {})
    error = failure(tmp_path, '{% extends "none.sh.j2" %}')
    assert error.problem == f"there is no template 'none.sh.j2' in {tmp_path}, {FOLDER}"


@pytest.mark.parametrize("value", ["a\nb", "", "\x07"])
def test_a_value_that_cannot_stand_in_a_directive_is_refused(tmp_path, value):
    error = failure(tmp_path, "#!/bin/sh\n#SBATCH -A {{ account | directive }}\n", account=value)
    assert (error.template, error.line) == ("my.sh.j2", 2)
    assert "one line of text" in error.problem


def test_a_script_needs_its_first_line(tmp_path):
    error = failure(tmp_path, "\n#!/bin/sh\n")
    assert (error.line, error.problem) == (1, "its first line must begin with '#!', like #!/bin/bash")


def test_a_template_in_another_encoding_is_an_error_with_a_name(tmp_path):
    write(tmp_path, "").joinpath("my.sh.j2").write_bytes(b"#!/bin/sh\n# caf\xe9\n")
    with pytest.raises(RenderError) as caught:
        render("my.sh.j2", [tmp_path], {})
    assert caught.value.template == "my.sh.j2"


def test_our_templates_are_where_we_say():
    assert {path.name for path in FOLDER.glob("*.sh.j2")} >= {"base.sh.j2", "local.sh.j2", "slurm.sh.j2"}
