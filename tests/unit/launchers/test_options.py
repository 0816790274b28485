from __future__ import annotations

from pathlib import Path

import pytest

from distributed.errors import ConfigError
from launchers.options import OPTIONS, Settings, build_settings, parse_value


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("n", "64", 64),
        ("n", 64, 64),
        ("mem", "24GB", 24 * 10**9),
        ("mem", "24GiB", 24 * 2**30),
        ("walltime", "1-02:03:04", 93784.0),
        ("walltime", "2h30m", 9000.0),
        ("walltime", "01:00", 60.0),
        ("wait", "all", "all"),
        ("wait", "0", 0),
        ("queue", "main", "main"),
        ("env", {"A": "1", "B": "x=y"}, (("A", "1"), ("B", "x=y"))),
        ("env", ["A"], (("A", None),)),
        ("env", "A=", (("A", ""),)),
        ("prologue", "module load x\ncd /", ("module load x\ncd /",)),
        ("directive", ["-C gpu"], ("-C gpu",)),
        ("log-dir", "/tmp/x", Path("/tmp/x")),
        ("port", 0, 0),
        ("via", "drmaa", "drmaa"),
    ],
)
def test_a_value_is_parsed_once(key, text, value):
    assert parse_value(key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("via", "a.b", "not the name of a way to a batch system"),
        ("n", "0", "from 1 to"),
        ("n", "-1", "from 1 to"),
        ("n", "abc", "not a whole number"),
        ("n", "1.5", "not a whole number"),
        ("n", True, "not one value"),
        ("n", "1e9", "not a whole number"),
        ("walltime", "30", "30 is ambiguous: write 30m or 30s"),
        ("walltime", 30, "ambiguous"),
        ("walltime", "soon", "not a duration"),
        ("walltime", "25:61:00", "not a duration"),
        ("mem", "lots", "not a memory size"),
        ("mem", "0", "not a memory size"),
        ("queue", "a\nb", "one line"),
        ("queue", " ", "one line"),
        ("queue", ["a"], "not one value"),
        ("name", "../x", "cannot be a cluster's name"),
        ("name", "a.b", "cannot be a cluster's name"),
        ("name", "-a", "cannot be a cluster's name"),
        ("env", "1A=2", "KEY=VALUE"),
        ("env", "A B=2", "KEY=VALUE"),
        ("env", ["A=\0"], "zero byte"),
        ("prologue", "", "no line"),
        ("wait", "some", "not a whole number of workers, or 'all'"),
        ("port", "65536", "from 0 to 65535"),
        ("wait-timeout", "-5s", "not a duration"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(key, text, said):
    with pytest.raises(ConfigError) as caught:
        parse_value(key, text, "/etc/x [slurm]")
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{key} (in /etc/x [slurm]): ")
    assert caught.value.key == key


def test_an_unknown_key_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'walltime'"):
        parse_value("waltime", "2h")


def test_every_option_has_a_field_or_a_short_name_and_help():
    fields = Settings.__dataclass_fields__
    for option in OPTIONS:
        assert option.field in fields
        assert option.help.endswith((".", "].", "]"))
    # What only one system knows is kept together, under its own names.
    assert set(fields) - {"own"} == {option.field for option in OPTIONS}


def test_settings_know_their_jobs():
    settings = build_settings({"n": 64, "workers-per-job": 8, "wait": "all"})
    assert settings.jobs == 8
    assert settings.wait == 64


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "say how many workers: -n 4"),
        ({"n": 10, "workers-per-job": 4}, "ask for 8 or 12"),
        ({"n": 3, "workers-per-job": 4}, "ask for 4"),
        ({"n": 2, "wait": 3}, "can never be reached"),
        ({"n": 2, "host": "h", "interface": "ib0"}, "exclude each other"),
    ],
)
def test_values_that_do_not_fit_together(values, said):
    with pytest.raises(ConfigError, match=said):
        build_settings(values)
