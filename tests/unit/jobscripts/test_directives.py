from __future__ import annotations

import pytest

from jobscripts.directives import canonical_option, canonical_options, drop_overridden, find_option, normalise
from launchers.slurm_words import ALIASES

PREFIX = "#SBATCH"
OURS = """\
#!/bin/bash
#SBATCH --job-name=x
#SBATCH --mem=1024M
#SBATCH --partition=main
#SBATCH --time=10

exec worker --mem 3
"""


@pytest.mark.parametrize("line", ["-C gpu", "  -C gpu  ", "#SBATCH -C gpu", "#SBATCH   -C gpu"])
def test_the_prefix_may_be_given(line):
    assert normalise(line, PREFIX) == "-C gpu"


def test_a_system_may_have_no_prefix():
    assert normalise("--x=1", "") == "--x=1"


@pytest.mark.parametrize("line", ["", "gpu", "#SBATCH", "# comment", "--", "-", "=3", "#PBS -q x"])
def test_what_is_no_option_is_refused(line):
    with pytest.raises(ValueError, match="directive"):
        normalise(line, PREFIX)


@pytest.mark.parametrize("line", ["--a\n#SBATCH --uid=0", "--a\r", "--a\0", "--a=\x1b"])
def test_a_directive_is_one_line(line):
    with pytest.raises(ValueError, match="one line"):
        normalise(line, PREFIX)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("--partition=main", "--partition"),
        ("--partition main", "--partition"),
        ("-p main", "--partition"),
        ("-pmain", "--partition"),
        ("-p=main", "--partition"),
        ("-N1", "--nodes"),
        ("--mem-per-cpu=2G", "--mem"),
        ("--mem=2G", "--mem"),
        ("--exclusive", "--exclusive"),
        ("-l nodes=1", "-l"),
        ("no option", ""),
        ("", ""),
    ],
)
def test_every_spelling_leads_to_one_option(text, option):
    assert canonical_option(text, ALIASES) == option


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("-l time=60", ("-l time",)),
        ("-l time=60,vmem=1G, soft=2", ("-l time", "-l memory", "-l soft")),
        ("-ltime=60", ("-l time",)),
        ("-l", ("-l *",)),
        ("-q fast", ("-q",)),
    ],
)
def test_a_resource_is_an_option_of_its_own(text, options):
    assert canonical_options(text, {"-l": "-l *", "-l vmem": "-l memory"}) == options


def test_only_the_resources_that_the_user_asks_for_are_dropped():
    script = "#$ -l time=60\n#$ -l vmem=1G\n#$ -l ssd=1,time=99\n"
    left = drop_overridden(script, "#$", ["-l ssd=1,time=99"], {"-l": "-l *"})
    assert left == "#$ -l vmem=1G\n#$ -l ssd=1,time=99\n"


def test_a_short_option_that_only_looks_like_a_value_of_another_stays():
    assert canonical_option("-pe smp 4", {"-pe": "-pe", "-p": "-p"}) == "-pe"


def dropped(*user: str) -> list[str]:
    script = OURS.replace("\nexec", "".join(f"#SBATCH {line}\n" for line in user) + "\nexec")
    kept = drop_overridden(script, PREFIX, user, ALIASES).splitlines()
    return [line for line in script.splitlines() if line not in kept]


@pytest.mark.parametrize(
    ("user", "gone"),
    [
        ((), []),
        (("--gres=gpu:1",), []),
        (("-p gpu",), ["#SBATCH --partition=main"]),
        (("--mem-per-cpu=1G", "-t5"), ["#SBATCH --mem=1024M", "#SBATCH --time=10"]),
    ],
)
def test_the_users_line_wins_over_ours(user, gone):
    assert dropped(*user) == gone


def test_a_line_that_repeats_ours_stays():
    assert "#SBATCH --mem=1024M" in drop_overridden(OURS, PREFIX, ["--mem=1024M"], ALIASES)


def test_several_lines_of_the_user_stay():
    script = f"{OURS}#SBATCH --gres=a\n#SBATCH --gres=b\n"
    assert drop_overridden(script, PREFIX, ["--gres=a", "--gres=b"], ALIASES) == script


def test_only_directives_are_dropped():
    script = f"{OURS}#SBATCHx --mem=1\n# --mem=1\necho '\u2028#SBATCH --mem=1'\x85#SBATCH --mem=2\n"
    assert dropped("--mem=1G") == ["#SBATCH --mem=1024M"]
    assert drop_overridden(script, PREFIX, ["--mem=1G"], ALIASES) == script.replace("#SBATCH --mem=1024M\n", "")


def test_a_system_without_directives_loses_nothing():
    assert drop_overridden(OURS, "", ["--mem=1"], {}) == OURS


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("--mem", (3, "#SBATCH --mem=1024M")),
        ("-p", (4, "#SBATCH --partition=main")),
        ("--partition", (4, "#SBATCH --partition=main")),
        ("--qos", (0, "")),
        ("", (0, "")),
    ],
)
def test_the_line_of_an_option(option, found):
    assert find_option(OURS, PREFIX, option, ALIASES) == found


def test_the_last_line_counts_as_it_does_for_the_batch_system():
    script = f"#!\u2028x\n{OURS}#SBATCH -p gpu\n"
    assert find_option(script, PREFIX, "--partition", ALIASES) == (9, "#SBATCH -p gpu")
