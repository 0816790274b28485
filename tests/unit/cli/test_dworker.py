"""The options of ``dworker``: what becomes of them, and how mistakes are told."""

from __future__ import annotations

import logging
import re

import pytest

from distributed import capacity
from distributed.cli import dworker
from distributed.cli.options import run_click
from distributed.clusterfile import ClusterFile, default_secret, path_of
from distributed.nanny.orders import WorkerSettings


@pytest.fixture(autouse=True)
def own_logging():
    """A command configures the root logger: put it back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ran(monkeypatch):
    """Run a command line; return what would be run: (settings, nprocs, nanny port), 0 processes without nanny."""
    found = []

    def run(*argv: str) -> tuple[WorkerSettings, int, int]:
        monkeypatch.setattr(dworker, "_run_nannies", lambda *args: found.append(args) or 0)
        monkeypatch.setattr(dworker, "_run_alone", lambda s: found.append((s, 0, 0)) or 0)
        with pytest.raises(SystemExit) as end:
            run_click(dworker.command, list(argv))
        assert end.value.code == 0
        return found.pop()

    return run


def test_an_address_is_enough(ran):
    settings, nprocs, port = ran("127.0.0.1:8786")
    assert settings.scheduler == "127.0.0.1:8786"
    assert settings.secret == default_secret()
    assert settings.nthreads == capacity.usable_cores()
    assert settings.memory_limit == capacity.memory_share(settings.nthreads, 1)
    assert settings.death_timeout_s == 60.0
    assert settings.name is None
    assert settings.host is None
    assert (nprocs, port) == (1, 0)


def test_all_options(ran):
    settings, nprocs, port = ran(
        *["127.0.0.1:8786", "--name", "w", "--nthreads", "3", "--host", "127.0.0.1"],
        *["--worker-port", "1234", "--nanny-port", "1235", "--memory-limit", "4GiB"],
        *["--death-timeout", "2m", "--local-directory", "/scratch", "--job-id", "12_3"],
        *["--resources", "GPU=2, licence=0.5", "--log-level", "DEBUG", "--shared-memory", "writable"],
    )
    assert settings == WorkerSettings(
        scheduler="127.0.0.1:8786",
        secret=default_secret(),
        host="127.0.0.1",
        port=1234,
        name="w",
        nthreads=3,
        memory_limit=4 * 2**30,
        resources={"GPU": 2.0, "licence": 0.5},
        job_id="12_3",
        death_timeout_s=120.0,
        local_directory="/scratch",
        log_level="DEBUG",
        shared_memory="writable",
    )
    assert (nprocs, port) == (1, 1235)


def test_the_founding_name_of_the_nanny_port(ran):
    assert ran("127.0.0.1:8786", "--port", "1235")[2] == 1235


def test_threads_are_shared_among_processes(ran, monkeypatch):
    monkeypatch.setattr(dworker, "usable_cores", lambda: 8)
    assert ran("127.0.0.1:8786", "--nprocs", "3")[0].nthreads == 2
    assert ran("127.0.0.1:8786", "--nprocs", "64")[0].nthreads == 1


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("none", 0), ("1e9", 10**9)])
def test_memory_limits(ran, text, limit):
    assert ran("127.0.0.1:8786", "--memory-limit", text)[0].memory_limit == limit


@pytest.mark.parametrize("text", ["never", "none", "0"])
def test_no_death_timeout(ran, text):
    assert ran("127.0.0.1:8786", "--death-timeout", text)[0].death_timeout_s is None


def test_no_nanny(ran):
    assert ran("127.0.0.1:8786", "--no-nanny")[1] == 0


def test_a_named_cluster_is_read_by_the_workers_themselves_each_time(ran):
    secret = b"c" * 32
    ClusterFile.new("mine", ["10.9.9.9:1"], secret).write(path_of("mine"))
    settings, *_ = ran("--cluster", "mine")
    assert settings.scheduler == "10.9.9.9:1"
    assert settings.cluster_file == str(path_of("mine"))
    assert settings.secret == secret


def test_an_address_with_a_clusters_secret(ran):
    secret = b"c" * 32
    ClusterFile.new("mine", ["10.9.9.9:1"], secret).write(path_of("mine"))
    settings, *_ = ran("127.0.0.1:8786", "--cluster", "mine")
    assert (settings.scheduler, settings.cluster_file) == ("127.0.0.1:8786", None)
    assert settings.secret == secret


def test_the_environment_names_the_cluster(ran, monkeypatch):
    ClusterFile.new("mine", ["10.9.9.9:1"]).write(path_of("mine"))
    monkeypatch.setenv("DLAUNCH_CLUSTER", "mine")
    assert ran()[0].cluster_file == str(path_of("mine"))


def test_in_a_job_the_cluster_file_may_come_late(ran, monkeypatch):
    slept = []

    def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        if len(slept) == 3:
            ClusterFile.new("mine", ["10.9.9.9:1"]).write(path_of("mine"))

    monkeypatch.setattr(dworker.time, "sleep", sleep)
    assert ran("--cluster", "mine", "--job-id", "7")[0].cluster_file == str(path_of("mine"))
    assert len(slept) == 3


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["somewhere"], 2, "'somewhere' is not an address: write HOST:PORT"),
        (["10.0.0.1:99999"], 2, "with a port from 1 to 65535"),
        (["10.0.0.1:"], 2, "HOST:PORT"),
        ([], 1, "which scheduler\\?"),
        (["10.0.0.1:1", "--memory-limit", "12XB"], 2, "'12XB' is not a memory size"),
        (["10.0.0.1:1", "--death-timeout", "soon"], 2, "'soon' is not a duration"),
        (["10.0.0.1:1", "--resources", "GPU"], 2, "'GPU' is not NAME=AMOUNT"),
        (["10.0.0.1:1", "--resources", "GPU=-1"], 2, "'GPU=-1' is not NAME=AMOUNT"),
        (["10.0.0.1:1", "--resources", "GPU=inf"], 2, "'GPU=inf' is not NAME=AMOUNT"),
        (["10.0.0.1:1", "--nprocs", "0"], 2, "--nprocs"),
        (["10.0.0.1:1", "--nthreads", "abc"], 2, "--nthreads"),
        (["10.0.0.1:1", "--nanny-port", "70000"], 2, "--nanny-port"),
        (["10.0.0.1:1", "--nosuch"], 2, "--nosuch"),
        (["10.0.0.1:1", "--log-level", "LOUD"], 2, "'LOUD' is not a log level"),
        (["10.0.0.1:1", "--interface", "nope0"], 1, "no interface 'nope0'.* it has: .*lo"),
        (["10.0.0.1:1", "--nprocs", "2", "--worker-port", "9"], 1, "names one port for 2 workers"),
        (["10.0.0.1:1", "--nprocs", "2", "--no-nanny"], 2, "--no-nanny"),
        (["10.0.0.1:1", "--host", "h", "--interface", "i"], 2, "exclude each other"),
        (["--cluster", "a", "--cluster-file", "b"], 2, "exclude each other"),
        (["--cluster", "nowhere"], 1, "there is no cluster file"),
        (["--cluster", "../x"], 1, "cannot be a cluster's name"),
        (["--cluster-file", "/nowhere/cluster.json"], 1, "there is no cluster file"),
    ],
)
def test_bad_input_is_one_sentence_and_a_documented_exit_code(options, code, words, capsys):
    with pytest.raises(SystemExit) as end:
        run_click(dworker.command, options)
    assert end.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dworker: ")
    assert re.search(words, line)


def test_help_is_exit_code_0_and_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as end:
        run_click(dworker.command, ["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "3 the scheduler" in " ".join(out.split())
    assert "--death-timeout" in out


def test_the_printed_lines_are_those_of_the_founding_document(capsys):
    dworker._print_listening("192.168.0.2:12345")
    dworker._print_registered("192.168.0.1:8786")
    assert capsys.readouterr().out == (
        "Start worker at:            192.168.0.2:12345\nRegistered with center at:  192.168.0.1:8786\n"
    )
