"""How commands end: exit codes, signals, one line for what went wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.pool import rpc
from tests.aio import until_sync
from tests.daemons.linkbed import SECRET

ROOT = Path(__file__).parents[2]
PREAMBLE = """
import asyncio, logging, signal, sys, subprocess
from distributed import logs
from distributed.cli.run import run_command, serve_until
from distributed.errors import ConfigError
from tests.daemons.linkbed import Answerer
logs.configure()
"""
SERVE = """
async def main(stop):
    daemon = Answerer()
    await daemon.start(0)
    print(daemon.address, flush=True)
    return await serve_until(stop, daemon)
sys.exit(run_command("prog", main))
"""


def program(text):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + text],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )


def ended(process, timeout_s=10):
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_it_clean(number):
    process = program(SERVE)
    assert process.stdout.readline().startswith("127.0.0.1:")
    process.send_signal(number)
    code, out, err = ended(process)
    assert (code, out) == (0, "")
    assert f"{number.name}: closing" in err
    assert "Traceback" not in err


def test_terminate_ends_the_process_with_0():
    process = program(SERVE)
    address = process.stdout.readline().strip()
    assert rpc(address, secret=SECRET).terminate() == "OK"
    code, _, err = ended(process)
    assert code == 0
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2], ids=lambda n: n.name)
def test_a_logout_or_a_batch_systems_warning_is_survived(number):
    process = program(SERVE)
    address = process.stdout.readline().strip()
    process.send_signal(number)
    assert rpc(address, secret=SECRET).ping() == "pong"
    process.terminate()
    code, _, err = ended(process)
    assert code == 0
    assert f"{number.name}: ignored" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_second_signal_ends_it_at_once(number):
    process = program("""
async def main(stop):
    print("up", flush=True)
    await stop.wait()
    print("closing", flush=True)
    await asyncio.sleep(3600)
sys.exit(run_command("prog", main))
""")
    assert process.stdout.readline().strip() == "up"
    process.send_signal(number)
    assert process.stdout.readline().strip() == "closing"

    def ended_by_another() -> bool:
        process.send_signal(number)  # at first they are still the same order
        return process.poll() is not None

    until_sync(ended_by_another, 10)
    code, _, err = ended(process)
    assert code == 128 + number
    assert "Traceback" not in err


def test_one_order_that_arrives_twice_leaves_the_time_to_end_well():
    process = program("""
import os
async def main(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10):
        await asyncio.sleep(0)
    print("closed", flush=True)
    return 0
sys.exit(run_command("prog", main))
""")
    code, out, _ = ended(process)
    assert (code, out) == (0, "closed\n")


def test_children_do_not_inherit_ignored_signals():
    process = program("""
async def main(stop):
    child = "import signal; print([signal.getsignal(s) is signal.SIG_DFL for s in (signal.SIGHUP, signal.SIGUSR1)])"
    return (await asyncio.create_subprocess_exec(sys.executable, "-c", child)).returncode or 0
sys.exit(run_command("prog", main))
""")
    assert ended(process)[1] == "[True, True]\n"


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        ('ConfigError("port 1 is in use on this host")', "prog: port 1 is in use on this host"),
        ('OSError(28, "No space left on device")', "prog: [Errno 28] No space left on device"),
        ('ValueError("bad value")', "prog: bad value"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(raised, line):
    process = program(f"""
async def main(stop):
    raise {raised}
sys.exit(run_command("prog", main))
""")
    assert ended(process) == (1, "", line + "\n")


def test_a_bug_is_a_traceback_and_exit_code_70():
    process = program("""
async def main(stop):
    raise ZeroDivisionError("oops")
sys.exit(run_command("prog", main))
""")
    code, _, err = ended(process)
    assert code == 70
    assert "prog: bug" in err
    assert "ZeroDivisionError: oops" in err


def test_a_port_in_use_is_one_line_and_exit_code_1():
    first = program(SERVE)
    port = first.stdout.readline().strip().rpartition(":")[2]
    second = program(SERVE.replace("start(0)", f"start({port})"))
    code, out, err = ended(second)
    assert (code, out) == (1, "")
    assert err.startswith(f"prog: port {port} is in use on this host")
    assert err.count("\n") == 1
    first.terminate()
    assert ended(first)[0] == 0


def test_the_end_of_one_daemon_ends_its_siblings_and_the_worst_exit_code_counts():
    process = program("""
async def main(stop):
    daemons = [Answerer(), Answerer()]
    for daemon in daemons:
        await daemon.start(0)
    async def crash():
        raise ZeroDivisionError("oops")
    daemons[1].own(crash(), name="loop")
    code = await serve_until(stop, *daemons)
    print([daemon.status for daemon in daemons])
    return code
sys.exit(run_command("prog", main))
""")
    code, out, _ = ended(process)
    assert (code, out) == (70, "['closed', 'closed']\n")


def test_it_takes_as_many_file_descriptors_as_it_may():
    process = program("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
async def main(stop):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(soft != hard)
sys.exit(run_command("prog", main))
""")
    assert ended(process)[0] == 0


def test_a_full_table_of_file_descriptors_costs_no_cpu():
    process = program("""
import resource, time
async def main(stop):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, hard))
    daemon = Answerer()
    await daemon.start(0)
    strangers = subprocess.Popen([sys.executable, "-c",
        "import resource, socket, sys; r = resource.RLIMIT_NOFILE;"
        "resource.setrlimit(r, resource.getrlimit(r)[1:] * 2);"
        "s = [socket.create_connection(('127.0.0.1', int(sys.argv[1]))) for _ in range(100)];"
        "print('there', flush=True); sys.stdin.read()", str(daemon.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    await asyncio.get_running_loop().run_in_executor(None, strangers.stdout.readline)
    await asyncio.sleep(0.2)
    start = time.process_time()
    await asyncio.sleep(1.0)
    print("busy" if time.process_time() - start > 0.2 else "idle")
    strangers.communicate()
    await daemon.close()
    return 0
sys.exit(run_command("prog", main))
""")
    code, out, err = ended(process)
    assert (code, out) == (0, "idle\n")
    assert err.count("cannot take more connections for now: Too many open files") == 1
    assert "Traceback" not in err
