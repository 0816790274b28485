from __future__ import annotations

import json

from tests.recorded import cases, recorded


def test_a_recorded_output_is_read():
    output = recorded("slurm", "cancel-range")
    assert output.argv == ("scancel", "20_[4-5]")
    assert (output.exit_code, output.stdout, output.stderr) == (0, "", "")
    output = recorded("slurm", "error-unknown-partition")
    assert output.exit_code == 1
    assert output.stderr.count("\n") == 2
    assert output.stdout == ""


def test_a_script_on_stdin_is_no_argument():
    assert recorded("slurm", "submit-stdin.parsable").argv == ("sbatch", "--parsable", "-J", "demo", "-t", "1")


def test_long_outputs_are_whole():
    text = recorded("slurm", "status-unknown.squeue-json").stdout
    assert json.loads(text.partition("\n\\ no newline")[0])["jobs"]


def test_every_case_can_be_read():
    programs = {recorded("slurm", name).argv[0] for name in cases("slurm")}
    assert programs == {"sbatch", "squeue", "scancel", "scontrol", "sacct"}
