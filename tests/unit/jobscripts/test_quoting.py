from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobscripts.quoting import ShellVariable, directive_value, shell_word, single_line

VARIABLE = ShellVariable("INDEX")
# All that bash can hold: no zero byte; half characters do not occur in text that came from UTF-8.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)
AWKWARD = st.text(st.sampled_from("ab \t\n\r'\"\\$`!#%*?[]{}()<>|&;~=-é\u2028\x85\x7f"), max_size=20)
PARTS = st.lists(TEXT | AWKWARD | st.just(VARIABLE), max_size=5)


def expanded(words: list[str], index: str) -> list[str]:
    """Return what bash makes of these words of a script."""
    script = f"printf '%s\\0' {' '.join(words)}\n"
    done = subprocess.run(["bash"], input=script.encode(), env={"INDEX": index}, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=12), TEXT)
def test_bash_gets_every_word_as_it_was(words, index):
    expected = ["".join(index if part is VARIABLE else part for part in word) for word in words]
    assert expanded([shell_word(word) for word in words], index) == expected


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["plain"], "plain"),
        (["two words"], "'two words'"),
        ([], "''"),
        ([VARIABLE], '"${INDEX}"'),
        (["sweep.", VARIABLE], '"sweep.${INDEX}"'),
        (['$1`"\\', VARIABLE, "!"], '"\\$1\\`\\"\\\\${INDEX}!"'),
    ],
)
def test_words_stay_readable(parts, text):
    assert shell_word(parts) == text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=("Cs",)), min_size=1))
def test_a_directive_value_is_one_word_on_one_line(text):
    if not text.strip():
        return
    written = directive_value(text)
    assert "\n" not in written
    assert shlex.split(f"--account={written}") == [f"--account={text}"]


@pytest.mark.parametrize("text", ["main", "a,b", "/logs/x.%a.log", "n[1-4]", "24:00:00", "a_b-c", "x@y", "*"])
def test_usual_values_are_not_quoted(text):
    assert directive_value(text) == text


@pytest.mark.parametrize(("value", "text"), [(7, "7"), ("a b", '"a b"'), ('a"b\\', '"a\\"b\\\\"'), ("a#b", '"a#b"')])
def test_other_values_are_quoted(value, text):
    assert directive_value(value) == text


@pytest.mark.parametrize("text", ["a\nb", "a\r", "\n#SBATCH --wrap=x", "", "  ", "a\0", "a\x1b[1m", "a\x7f"])
def test_what_cannot_be_one_line_is_refused(text):
    with pytest.raises(ValueError, match="one line of text"):
        directive_value(text)
    with pytest.raises(ValueError, match="the queue"):
        single_line(text, "the queue")


def test_a_line_is_returned_as_it_is():
    assert single_line(" é \u00a0x") == " é \u00a0x"
