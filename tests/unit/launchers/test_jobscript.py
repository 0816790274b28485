from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import pytest

from launchers.errors import MissingVariableError, TemplateError
from launchers.jobs import JobSpec, Variable
from launchers.jobscript import blame_line, check_directives, render_jobscript
from launchers.local import LocalPlugin
from launchers.protocol import Failure
from launchers.slurm import SlurmPlugin

SLURM, LOCAL = SlurmPlugin(), LocalPlugin()
SPEC = JobSpec(
    name="sweep",
    job_name="dl-sweep-1",
    command=("/env/bin/python", "-m", "worker", "--name", ("sweep.", Variable.ARRAY_INDEX), "--flag", "--size", "3"),
    log_dir=PurePosixPath("/logs"),
)


def template(tmp_path: Path, text: str) -> list[Path]:
    (tmp_path / "my.sh.j2").write_text(text)
    return [tmp_path]


def test_the_command_stands_an_option_to_a_line():
    script = render_jobscript(LOCAL, SPEC, [])
    assert script.splitlines()[-4:] == [
        "exec /env/bin/python -m worker \\",
        '    --name "sweep.${DLAUNCH_ARRAY_INDEX}" \\',
        "    --flag \\",
        "    --size 3",
    ]


def test_a_command_without_options_stays_on_its_line():
    script = render_jobscript(LOCAL, dataclasses.replace(SPEC, command=("sh", "-c", "a  b", "c")), [])
    assert script.splitlines()[-1] == "exec sh -c 'a  b' c"


def test_a_template_of_the_user_is_taken(tmp_path):
    text = (
        "#!/bin/sh\n#SBATCH --mem=1\n#SBATCH --array={{ first }}-{{ last }}\n{{ walltime }} {{ cpus }} {{ command[0] }}"
    )
    folders = template(tmp_path, f"{text}\n")
    script = render_jobscript(SLURM, dataclasses.replace(SPEC, directives=("--mem=7",), last=4), folders, "my.sh.j2")
    assert script == "#!/bin/sh\n#SBATCH --array=1-4\nNone 1 /env/bin/python -m worker\n"


def test_every_variable_that_the_frame_promises_is_there(tmp_path):
    names = ["name", "first", "last", "workers_per_job", "nthreads", "cpus", "memory", "walltime_s", "queue", "account"]
    names += ["job_name", "log", "directives", "directive_prefix", "prologue", "env", "command"]
    folders = template(tmp_path, "#!/bin/sh\n" + "".join(f"# {name}={{{{ {name} }}}}\n" for name in names))
    for plugin in (SLURM, LOCAL):
        assert render_jobscript(plugin, SPEC, folders, "my.sh.j2").count("\n") == len(names) + 1


def test_an_undefined_variable_is_named(tmp_path):
    folders = template(tmp_path, "#!/bin/sh\n#SBATCH --mem={{ memmory }}\n")
    with pytest.raises(MissingVariableError) as caught:
        render_jobscript(SLURM, SPEC, folders, "my.sh.j2")
    error = caught.value
    assert (error.template, error.variable, error.line) == ("my.sh.j2", "memmory", 2)
    assert str(error).endswith("the variable 'memmory' is not defined; did you mean memory?")


@pytest.mark.parametrize("text", ["#!/bin/sh\n{% if %}\n", "no first line\n", '#!/bin/sh\n{% extends "none" %}\n'])
def test_a_broken_template_is_named(tmp_path, text):
    with pytest.raises(TemplateError, match=r"the jobscript template my\.sh\.j2") as caught:
        render_jobscript(SLURM, SPEC, template(tmp_path, text), "my.sh.j2")
    assert not isinstance(caught.value, MissingVariableError)


@pytest.mark.parametrize("value", ["a\nb", "a\n#SBATCH --uid=0", "\x1b"])
def test_a_value_with_a_line_break_is_refused(value):
    for field in ("queue", "account", "job_name"):
        with pytest.raises(TemplateError, match="one line of text"):
            render_jobscript(SLURM, dataclasses.replace(SPEC, **{field: value}), [])


def test_the_systems_own_refusals_pass_through():
    with pytest.raises(ValueError, match="--queue means nothing"):
        render_jobscript(LOCAL, dataclasses.replace(SPEC, queue="main"), [])


def test_directives_lose_their_prefix():
    assert check_directives(SLURM, ["#SBATCH -C gpu", "--x=1"]) == ("-C gpu", "--x=1")
    assert check_directives(SLURM, []) == ()
    assert check_directives(LOCAL, []) == ()


@pytest.mark.parametrize(
    "line", ["--array=1-5", "-a 1-5", "#SBATCH --array 1-5", "-a1-5", "-J mine", "--wrap=x", "-M other"]
)
def test_what_would_take_the_jobs_out_of_our_hands_is_refused(line):
    with pytest.raises(ValueError, match="out of our hands: ") as caught:
        check_directives(SLURM, [line])
    assert repr(line.removeprefix("#SBATCH ")) in str(caught.value)


def test_a_system_without_directives_takes_none():
    with pytest.raises(ValueError, match="'local' has no directives"):
        check_directives(LOCAL, ["--x=1"])


def test_a_failure_is_led_back_to_its_line():
    script = render_jobscript(SLURM, dataclasses.replace(SPEC, queue="nope", directives=("-C gpu",)), [])
    assert blame_line(SLURM, Failure("x", option="--partition"), script) == (
        "line 7 of the jobscript: #SBATCH --partition=nope"
    )
    assert blame_line(SLURM, Failure("x", option="C"), script).endswith("#SBATCH -C gpu")
    assert blame_line(SLURM, Failure("x", option="--qos"), script) == ""
    assert blame_line(SLURM, Failure("x"), script) == ""
    assert blame_line(LOCAL, Failure("x", option="--partition"), script) == ""
