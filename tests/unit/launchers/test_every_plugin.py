"""What every plugin must do with hostile words, odd outputs and missing programs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import PurePosixPath

import pytest

from launchers.errors import StatusError, TemplateError, UnexpectedOutputError
from launchers.hosts import parse_hosts
from launchers.jobs import JobSpec, JobState, Variable
from launchers.jobscript import blame_line, render_jobscript
from launchers.protocol import Output
from launchers.registry import launcher_names, load_launcher

PLUGINS = {name: load_launcher(name) for name in launcher_names()}
# DRMAA is asked by a library, which has neither sentences nor words for queue and account: test_drmaa.py.
BATCH = sorted(set(PLUGINS) - {"local", "ssh", "drmaa"})
PLACE = "a 'b' $HOME `id` $(id) %j \\ ; & | < > # * é"


def spec(system: str, **changes) -> JobSpec:
    fields = {
        "name": "c",
        "job_name": "c-1",
        "command": ("/bin/true", "--name", ("c.", Variable.ARRAY_INDEX)),
        "log_dir": PurePosixPath("/logs"),
        "last": 3,
        "own": {"hosts": tuple(parse_hosts(["n[1-3]"]))} if system == "ssh" else {},
        **changes,
    }
    return JobSpec(**fields)


def directives(plugin, script: str) -> list[str]:
    return [line for line in script.split("\n") if plugin.directive_prefix and line.startswith(plugin.directive_prefix)]


@pytest.mark.parametrize("system", PLUGINS)
def test_hostile_words_stay_what_they_are(system):
    plugin = PLUGINS[system]
    plain = render_jobscript(plugin, spec(system), [])
    changes = {"command": (f"/opt/{PLACE}/python",), "log_dir": PurePosixPath(f"/logs/{PLACE}"), "env": {"A": PLACE}}
    script = render_jobscript(plugin, spec(system, **changes), [])
    assert len(directives(plugin, script)) == len(directives(plugin, plain))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    last = script.rstrip("\n").replace("\\\n", " ").split("\nexec ")[-1]
    assert shlex.split(last) == [f"/opt/{PLACE}/python"]


@pytest.mark.parametrize("system", BATCH)
@pytest.mark.parametrize("wish", ["queue", "account"])
def test_a_hostile_queue_or_account_is_one_word_of_one_directive_or_refused(system, wish):
    plugin = PLUGINS[system]
    for value in ("a b", "a$b", "q@h", "ünï", "a;b", "a#b", "$(id)"):
        script = render_jobscript(plugin, spec(system, **{wish: value}), [])
        plain = render_jobscript(plugin, spec(system, **{wish: "word"}), [])
        (line,) = set(directives(plugin, script)) - set(directives(plugin, plain))
        assert shlex.split(line)[-1].endswith(value)
    for value in ("a\nb", "a\n#SBATCH -x", "a\x1bb", "a\0b"):
        with pytest.raises(TemplateError, match="one line"):
            render_jobscript(plugin, spec(system, **{wish: value}), [])


def test_grid_engine_is_not_given_a_queue_that_it_reads_as_an_option():
    with pytest.raises(ValueError, match="--queue '-now': Grid Engine would read it as an option"):
        render_jobscript(PLUGINS["sge"], spec("sge", queue="-now"), [])


@pytest.mark.parametrize("system", BATCH)
@pytest.mark.parametrize("name", ["9lives", "a-name-of-more-than-fifteen-letters", "n" * 65])
def test_names_of_jobs_that_a_system_would_not_take_are_changed_the_same_way_everywhere(system, name):
    """The name in the script is the one by which jobs are looked for."""
    plugin = PLUGINS[system]
    script = render_jobscript(plugin, spec(system, job_name=name), [])
    looked_for = plugin.find_command(name)
    words = [word.rpartition("=")[2] for word in looked_for.argv]
    (given,) = re.findall(r"(?:--job-name=|-N )(\S+)", script)
    assert given in words
    assert given.endswith(name)
    if system != "slurm":
        assert not given[0].isdecimal()


@pytest.mark.parametrize("system", BATCH)
def test_commands_speak_english_whatever_the_users_language(system):
    plugin, element = PLUGINS[system], {"slurm": "1_1", "sge": "1.1"}.get(system, "1[1].s")
    commands = [plugin.submit_command("", spec(system)), plugin.status_command([element]), plugin.find_command("c")]
    commands += [plugin.cancel_command([element])]
    if hasattr(plugin, "history_commands"):
        commands += plugin.history_commands(element)
    assert {command.env["LC_ALL"] for command in commands} == {"C"}


@pytest.mark.parametrize("system", BATCH)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Request 1234.batch1 submitted to queue: normal.\n",
        "Willkommen!\nDer Auftrag wurde angenommen.\n",
        "Job <77> is submitted to queue <normal>.\n",
        "\ufffd\ufffd\ufffd\n",
    ],
)
def test_a_sentence_that_holds_no_id_of_this_system_is_shown_and_no_id_made_up(system, text):
    plugin = PLUGINS[system]
    argv = plugin.submit_command("", spec(system)).argv
    with pytest.raises(UnexpectedOutputError) as caught:
        plugin.parse_submit(Output(argv, 0, text), spec(system))
    assert repr(text.strip() or "nothing") in str(caught.value)
    assert caught.value.uncertain, "the job may be there: it must be looked for"


@pytest.mark.parametrize("text", ['Your job-array 7.1-3:1 ("c-1") has been submitted\n', "7.1-3:1\n", "\n7.1-3:1"])
def test_grid_engine_says_it_in_two_ways(text):
    array = PLUGINS["sge"].parse_submit(Output(("qsub", "-terse"), 0, text), spec("sge"))
    assert (array.id, array.elements) == ("7", {1: "7.1", 2: "7.2", 3: "7.3"})


@pytest.mark.parametrize(
    ("system", "text", "elements"),
    [
        ("torque", "12[].server.site\n", {1: "12[1].server.site", 2: "12[2].server.site", 3: "12[3].server.site"}),
        ("torque", "12[]\n", {1: "12[1]", 2: "12[2]", 3: "12[3]"}),
        ("pbs", "motd\n12[].server\n", {1: "12[1].server", 2: "12[2].server", 3: "12[3].server"}),
        ("pbs", "12[]\n", {1: "12[1]", 2: "12[2]", 3: "12[3]"}),
        ("slurm", "lua: ok\n12;east\n", {1: "12_1", 2: "12_2", 3: "12_3"}),
    ],
)
def test_ids_with_and_without_a_server(system, text, elements):
    plugin = PLUGINS[system]
    assert plugin.parse_submit(Output(("submit",), 0, text), spec(system)).elements == elements


@pytest.mark.parametrize("system", BATCH)
@pytest.mark.parametrize("text", ["Aufträge: keine\n", "\ufffd\ufffd\ufffd", "<html>502</html>", "try later\n"])
def test_text_that_is_not_about_jobs_has_lost_no_job(system, text):
    plugin, element = PLUGINS[system], {"slurm": "1_1", "sge": "1.1"}.get(system, "1[1].s")
    argv = plugin.status_command([element]).argv
    with pytest.raises(StatusError) as caught:
        plugin.parse_status(Output(argv, 0, text))
    assert caught.value.transient


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "sbatch: error: Batch job submission failed: Access/permission denied"),
        ("slurm", "sbatch: error: Submission is not allowed on compute nodes"),
        ("torque", "qsub: Bad UID for job execution MSG=ruserok failed validating ada/ada from n7"),
        ("pbs", "qsub: Unauthorized Request"),
        ("sge", 'Unable to run job: denied: host "n7" is no submit host.\nExiting.'),
    ],
)
def test_where_submitting_is_forbidden_it_says_where_to_go_and_does_not_try_again(system, text):
    failure = PLUGINS[system].explain_failure(Output(("qsub",), 1, "", text))
    assert not failure.transient
    assert failure.text.startswith(text)
    assert re.search("run dlaunch on a (login node|submit host)", failure.text)


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "slurm_load_jobs error: Socket timed out on send/recv operation"),
        ("slurm", "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"),
        ("slurm", "sbatch: error: cannot open lock file /run/site-wrapper.lock"),
        ("torque", "qsub: cannot open lock file"),
        ("torque", "qsub: cannot connect to server vm (errno=111) Connection refused"),
        ("pbs", "qsub: Resource temporarily unavailable"),
        ("sge", "error: commlib error: got select error (Connection refused)"),
        ("sge", "Unable to run job: cannot open lock file.\nExiting."),
    ],
)
def test_what_passes_is_tried_again(system, text):
    assert PLUGINS[system].explain_failure(Output(("qsub",), 1, "", text)).transient


@pytest.mark.parametrize(
    ("system", "text"),
    [
        ("slurm", "sbatch: error: Batch job submission failed: Invalid job array specification"),
        ("sge", "Unable to run job: job rejected: you tried to submit a job with more than 75000 tasks.\nExiting."),
        ("torque", "qsub: Bad Job Array Request MSG=Array size too large"),
        ("pbs", "qsub: Array job exceeds server or queue size limit"),
    ],
)
def test_an_array_that_is_too_large_says_what_to_do(system, text):
    """It is not split: indices of SLURM are limited, not only their number, and few jobs are kinder to all."""
    plugin = PLUGINS[system]
    failure = plugin.explain_failure(Output(("qsub",), 1, "", text))
    assert not failure.transient
    assert "put several workers into each job by --workers-per-job" in failure.text
    script = render_jobscript(plugin, spec(system), [])
    assert "1-3" in blame_line(plugin, failure, script)


@pytest.mark.parametrize(
    ("word", "state", "explained"),
    [
        ("46_1|PENDING|AssocGrpCPUMinutesLimit|", JobState.PENDING, "a limit of the account or user is reached"),
        ("46_1|PENDING|ReqNodeNotAvail, UnavailableNodes:n7|", JobState.PENDING, "reserved (maintenance?), down"),
        ("46_1|PENDING|DependencyNeverSatisfied|", JobState.PENDING, "it will never start"),
        ("46_1|PENDING|launch failed requeued held|", JobState.PENDING, "the node could not start it"),
        ("46_1|PENDING|QOSMaxJobsPerUserLimit|", JobState.PENDING, "a limit of the quality of service"),
        ("46_1|BOOT_FAIL|None|n7", JobState.NODE_FAIL, ""),
        ("46_1|OUT_OF_MEMORY|OutOfMemory|n7", JobState.OUT_OF_MEMORY, "more memory than it asked for"),
        ("46_1|QUANTUM_FLUX|Schrödinger|n7", JobState.UNKNOWN, ""),
    ],
)
def test_states_of_slurm_with_their_reasons(word, state, explained):
    status = PLUGINS["slurm"].parse_status(Output(("squeue",), 0, word + "\n"))["46_1"]
    assert status.state is state
    assert explained in status.explanation
