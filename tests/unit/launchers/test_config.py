from __future__ import annotations

import pytest

from distributed.errors import ConfigError
from launchers import config
from launchers.config import config_files, resolve_values, user_folder
from launchers.options import Option, build_settings

OWN = (Option("pe", str, "NAME", "Its own.", default="smp"), Option("room", int, "N", "Its own."))


@pytest.fixture
def files(monkeypatch, tmp_path):
    """``files(site=..., user=...)``: write the two files."""
    monkeypatch.setattr(config, "SITE_FOLDER", tmp_path / "etc")

    def write(**texts: str):
        for path, name in zip(config_files(), ("site", "user"), strict=True):
            if name in texts:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(texts[name])
        return [str(path) for path in config_files()]

    return write


def resolve(system="slurm", **given):
    return resolve_values(system, given, {"slurm": (), "local": (), "mine": OWN})


def test_without_files_there_are_only_defaults(files):
    values = resolve()
    assert values["nthreads"].parsed == 1
    assert values["nthreads"].origin == "default"
    assert "queue" not in values


def test_later_ones_win(files):
    site, user = files(
        site='[defaults]\nnthreads = 2\nmem = "1GB"\nqueue = "site"\n[slurm]\nqueue = "slow"\naccount = "a"\n',
        user='[defaults]\nmem = "2GB"\n[slurm]\nwalltime = "2h"\n[local]\nnthreads = 9\n',
    )
    values = resolve(walltime="3h", env=())
    shown = {key: (value.raw, value.origin) for key, value in values.items() if value.origin != "default"}
    assert shown == {
        "nthreads": (2, f"{site} [defaults]"),
        "mem": ("2GB", f"{user} [defaults]"),
        "queue": ("slow", f"{site} [slurm]"),
        "account": ("a", f"{site} [slurm]"),
        "walltime": ("3h", "option"),
    }
    assert values["walltime"].parsed == 10800.0
    assert resolve("local")["nthreads"].parsed == 9


def test_a_plugin_has_options_of_its_own(files):
    site, _ = files(site="[mine]\nroom = 3\n")
    values = resolve("mine")
    assert (values["room"].parsed, values["room"].origin) == (3, f"{site} [mine]")
    assert values["pe"].parsed == "smp"
    settings = build_settings({key: value.parsed for key, value in resolve("mine", n="2", pe="shm").items()})
    assert settings.own == {"pe": "shm", "room": 3}
    assert "room" not in resolve("slurm")


def test_they_are_nobody_elses(files):
    with pytest.raises(ConfigError, match="there is no option 'room'"):
        resolve("slurm", room="3")
    files(user="[slurm]\nroom = 3\n")
    with pytest.raises(ConfigError, match="there is no option 'room'"):
        resolve("mine")


def test_the_users_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "dlaunch"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(user_folder()) == "/home/me/.config/dlaunch"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[slurm]\nquue = "x"', r"no option 'quue' \(in .*config.toml \[slurm\]\); did you mean 'queue'"),
        ('[slrum]\nqueue = "x"', r"there is no block \[slrum\]; use \[defaults\], \[local\], \[mine\], \[slurm\]"),
        ("nthreads = 2", "nthreads is not a block|no block"),
        ("[slurm]\nnthreads = ", "not a TOML file"),
        ('[local]\nwalltime = "30"', "30 is ambiguous"),
        ("[slurm]\nnthreads = []", "not one value"),
        ('[defaults]\nname = "mine"', "belongs to one cluster"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(files, text, said):
    files(user=text)
    with pytest.raises(ConfigError, match=said):
        resolve()


def test_bytes_that_are_no_text(files, tmp_path):
    _, user = files(user="")
    with open(user, "wb") as file:
        file.write(b"\xff\xfe[x")
    with pytest.raises(ConfigError, match="not a TOML file"):
        resolve()
