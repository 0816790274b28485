"""The plugin that docs/plugins.md shows is one."""

from __future__ import annotations

import subprocess

import pytest

from launchers import testing
from launchers.errors import StatusError
from launchers.jobs import JobState
from launchers.protocol import Output
from tests.docs_pages import blocks


@pytest.fixture
def bed(tmp_path, monkeypatch):
    """A bed for the page's class and template; nothing can be submitted on it."""
    text = {
        language: block.text
        for language in ("jinja", "python")
        for block in reversed(blocks(language))
        if block.page.name == "plugins.md"
    }
    (tmp_path / "lsf.sh.j2").write_text(text["jinja"])
    names: dict[str, object] = {"__name__": "lsf"}
    exec(text["python"], names)
    monkeypatch.setattr(testing, "template_folder", lambda plugin: tmp_path)
    return testing.Bed(names["LsfPlugin"](), tmp_path)


@pytest.mark.parametrize(
    "question",
    [
        testing.says_what_it_is,
        testing.renders_its_script,
        testing.takes_or_refuses_every_wish,
        testing.refuses_broken_directives,
        testing.explains_silence,
    ],
    ids=lambda question: question.__name__,
)
def test_it_answers_what_can_be_asked_without_lsf(bed, question):
    question(bed)


def test_its_script_is_one(bed):
    script = bed.script(bed.spec(job_name="sweep", last=4, queue="short", walltime_s=90.0))
    assert script.startswith("#!/bin/bash\n#BSUB -J sweep[1-4]\n")
    assert "#BSUB -W 2\n#BSUB -q short\n" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_it_reads_what_lsf_prints(bed):
    spec = bed.spec(last=2)
    array = bed.plugin.parse_submit(Output(("bsub",), 0, "Job <77> is submitted to default queue <normal>.\n"), spec)
    assert array.elements == {1: "77[1]", 2: "77[2]"}
    states = bed.plugin.parse_status(Output(("bjobs",), 0, "77|1|RUN\n77|2|ZOMBI\n"))
    assert {key: status.state for key, status in states.items()} == {
        "77[1]": JobState.RUNNING,
        "77[2]": JobState.UNKNOWN,
    }
    assert bed.plugin.parse_status(Output(("bjobs",), 255, "", "Job <77> is not found\n")) == {}
    with pytest.raises(StatusError) as caught:
        bed.plugin.parse_status(Output(("bjobs",), 255, "", "LSF is down. Please wait ...\n"))
    assert caught.value.transient
