from __future__ import annotations

import io

import pytest

from launchers.progress import ProgressPrinter, describe
from launchers.slots import Progress

SOME = Progress(wanted=8, jobs=8, pending=3, running=5, registered=4, reason="Resources: waits for free nodes")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_says_all():
    assert describe(SOME) == (
        "8 jobs submitted, 3 pending (Resources: waits for free nodes), 5 running, 4 of 8 workers registered"
    )
    assert describe(Progress(wanted=1)) == "0 of 1 workers registered"
    assert describe(Progress(wanted=1, jobs=1, problem="down\nmore")).endswith(", down")
    assert describe(Progress(wanted=1, jobs=1)).startswith("1 job submitted")
    assert describe(Progress(wanted=1, adopted=2)) == "0 of 1 workers registered, 2 adopted"
    assert describe(Progress(adopted=2)) == "2 workers adopted"
    assert describe(Progress(adopted=1)) == "1 worker adopted"


def test_elsewhere_a_line_per_change():
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    for progress in (Progress(wanted=2), Progress(wanted=2), SOME):
        printer.progress(progress)
    printer.tell("look", True)
    printer.finish()
    lines = stream.getvalue().splitlines()
    assert lines == ["dlaunch: 0 of 2 workers registered", f"dlaunch: {describe(SOME)}", "dlaunch: warning: look"]


def test_on_a_terminal_one_line_is_rewritten():
    stream = Terminal()
    printer = ProgressPrinter(stream)
    printer.progress(Progress(wanted=2))
    printer.progress(SOME)
    printer.tell("look", False)
    printer.finish()
    text = stream.getvalue()
    assert text.count("\r\x1b[2K") == 3
    assert text.count("\n") == 2
    assert text.endswith(f"dlaunch: look\n{describe(SOME)}\n")


def test_results_on_stdout_do_not_run_into_the_rewritten_line(capsys):
    stream = Terminal()
    printer = ProgressPrinter(stream)
    printer.progress(SOME)
    printer.say("done")
    assert capsys.readouterr().out == "done\n"
    assert stream.getvalue().endswith(f"\r\x1b[2K{describe(SOME)}")


def test_quiet_keeps_the_numbers_back_and_not_the_messages():
    stream = Terminal()
    printer = ProgressPrinter(stream)
    printer.quiet = True
    printer.progress(SOME)
    printer.tell("look", True)
    assert stream.getvalue() == "dlaunch: warning: look\n"


@pytest.mark.parametrize("error", [OSError(5, "gone"), ValueError("closed")])
def test_a_terminal_that_is_gone_is_no_end(error):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    ProgressPrinter(Gone()).progress(SOME)
