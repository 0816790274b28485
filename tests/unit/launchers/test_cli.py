from __future__ import annotations

import logging
import resource
import signal
import subprocess
import sys

import pytest

from launchers import config
from launchers.cli import main
from launchers.registry import launcher_names, load_launcher


@pytest.fixture(autouse=True)
def no_site(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SITE_FOLDER", tmp_path / "etc")


@pytest.fixture(autouse=True)
def logging_as_before():
    """The command configures the logging of its process, which here is that of all tests."""
    root = logging.getLogger()
    names = ("", "asyncio", "tornado")
    level, handlers = {name: logging.getLogger(name).level for name in names}, root.handlers[:]
    # basicConfig(force=True) closes the handlers it finds.
    root.handlers = []
    yield
    root.handlers = handlers
    for name in names:
        logging.getLogger(name).setLevel(level[name])


@pytest.fixture(autouse=True)
def signals_as_before():
    """A command that has ended leaves its process, which here is that of all tests, deaf to them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_names_systems_and_verbs(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for word in ("slurm", "local", "config", "list", "stop", "dlaunch slurm -n 64"):
        assert word in out


def test_help_imports_nothing_heavy():
    heavy = "jinja2", "tornado", "msgspec", "asyncio", "cloudpickle", "psutil"
    code = (
        "import sys; from launchers.cli import main; main(['--help']);"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_help_imports_only_what_it_shows():
    code = (
        "import sys; from launchers.cli import main; main(['--help']);"
        "print(*(n for n in sys.modules if n.partition('.')[0] in ('launchers', 'distributed', 'jobscripts')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()[-1].split()) == [
        "distributed",
        "distributed.errors",
        "launchers",
        "launchers.cli",
        "launchers.errors",
        "launchers.names",
    ]


def test_help_is_quick():
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "launchers.cli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, the best of a few: other programs may be at work on this machine.
    assert min(once() for _ in range(5)) < 0.15


def test_help_of_a_system_has_every_option_and_the_exit_codes(capsys):
    code, out, _ = run(capsys, "slurm", "--help")
    assert code == 0
    for word in ("-n N", "--workers-per-job", "--walltime", "--directive", "--dry-run", "Exit codes", "[-- COMMAND"):
        assert word in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["slurm"], "say how many workers: -n 4"),
        (["slurm", "-n", "0"], "0 is not a number of workers from 1 to"),
        (["slurm", "-n", "-1"], "-1 is not a number of workers from 1 to"),
        (["slurm", "-n", "abc"], "'abc' is not a whole number of workers"),
        (["slurm", "-n", "4", "--walltime", "30"], "30 is ambiguous: write 30m or 30s"),
        (["slurm", "-n", "4", "--walltime", "soon"], "'soon' is not a duration"),
        (["slurm", "-n", "4", "--mem", "many"], "not a memory size"),
        (["slurm", "-n", "4", "--directive=--array=1"], "-n and --workers-per-job"),
        (["slurm", "-n", "4", "--"], "after -- comes a command"),
        (["slurm", "-n", "4", "python", "x.py"], "unexpected extra argument"),
        (["slurm", "-n", "4", "--frobnicate"], "No such option"),
        (["slurm", "-n", "4", "--log-level", "loud"], "not a log level"),
        (["slrum", "-n", "4"], "did you mean 'slurm'"),
        (["config", "slrum"], "there is no launcher 'slrum'"),
        (["stop"], "Missing argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(capsys, argv, said):
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert out == ""
    assert said in err.splitlines()[-1]


def test_a_dry_run_prints_the_script_and_needs_no_batch_system(capsys, monkeypatch, own_home):
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, err = run(capsys, "slurm", "-n", "8", "--queue", "main", "--dry-run")
    assert code == 0
    assert out.startswith("#!/bin/bash\n#SBATCH --job-name=default\n#SBATCH --array=1-8\n")
    assert "nothing was submitted" in err
    assert "'dlaunch head'" in err
    logs = own_home / ".dlaunch" / "default" / "logs"
    assert f"#SBATCH --output={logs}/default.%A_%a.log\n" in out
    assert logs.is_dir(), "or the jobs could not start"
    assert list(own_home.glob(".dlaunch/**/*.*")) == []


def test_a_missing_program_is_told_before_anything_starts(capsys, monkeypatch, own_home):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(capsys, "slurm", "-n", "1")
    assert code == 127
    assert err.splitlines()[-1].startswith(
        "dlaunch: sbatch is not in PATH: this host does not belong to a SLURM cluster"
    )
    assert list((own_home / ".dlaunch").iterdir()) == []


# drmaa has a library instead, and a sentence about that.
@pytest.mark.parametrize("system", sorted(set(launcher_names()) - {"drmaa"}))
def test_whatever_program_is_missing_it_says_what_to_do(system, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(capsys, system, *(["--hosts", "n1"] if system == "ssh" else ["-n", "1"]))
    assert code == 127
    said = err.splitlines()[-1]
    assert said.startswith(f"dlaunch: {load_launcher(system).programs[0]} is not in PATH: ")
    expected = {"sge": "submit host", "local": "install it", "ssh": "openssh-client"}
    assert expected.get(system, "login node") in said


def test_a_template_with_an_undefined_variable(capsys, tmp_path):
    template = tmp_path / "t.j2"
    template.write_text("#!/bin/sh\n{{ nothing_like_it }}\n")
    code, _, err = run(capsys, "slurm", "-n", "1", "--template", str(template))
    assert code == 1
    assert "t.j2, line 2: the variable 'nothing_like_it' is not defined" in err


def test_a_wrong_configuration_file_is_no_wrong_usage(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "dlaunch").mkdir()
    (tmp_path / "dlaunch" / "config.toml").write_text("[slurm]\nnthreds = 2\n")
    code, _, err = run(capsys, "slurm", "-n", "1")
    assert code == 1
    assert "did you mean 'nthreads'" in err
    assert run(capsys, "config")[0] == 1


def test_config_prints_values_with_their_origin(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "dlaunch").mkdir()
    path = tmp_path / "dlaunch" / "config.toml"
    path.write_text('[defaults]\nmem = "2GB"\n[slurm]\nqueue = "main"\n')
    code, out, _ = run(capsys, "config", "slurm")
    assert code == 0
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines()}
    assert rows["mem"] == ["2GB", f"{path} [defaults]"]
    assert rows["queue"] == ["main", f"{path} [slurm]"]
    assert rows["nthreads"] == ["1", "default"]
    assert "main" not in run(capsys, "config", "local")[1]


def test_no_cluster_to_list_or_to_stop(capsys):
    assert run(capsys, "list") == (0, "", "dlaunch: no cluster of yours runs here\n")
    code, _, err = run(capsys, "stop", "nope")
    assert code == 1
    assert "there is no cluster 'nope'" in err


def test_a_home_that_cannot_be_used(capsys, monkeypatch):
    monkeypatch.setenv("DLAUNCH_HOME", "/proc/nowhere")
    for argv in (["list"], ["slurm", "-n", "1"]):
        code, _, err = run(capsys, *argv)
        assert code in (1, 2)
        assert "name another one in the variable DLAUNCH_HOME" in err
