import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.units import format_duration, format_memory, parse_duration, parse_memory


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("30s", 30),
        ("90 s", 90),
        ("500ms", 0.5),
        ("2h30m", 9000),
        ("2h 30min", 9000),
        ("2H30M", 9000),
        ("1.5h", 5400),
        ("1d", 86400),
        ("1w", 604800),
        ("01:00", 60),
        ("90:00", 5400),
        ("01:30:00", 5400),
        ("100:00:00", 360000),
        ("1-02:03:04", 93784),
        ("1-02:03", 93780),
        ("1-02", 93600),
        ("0-00:00:01", 1),
        (" 5m ", 300),
        (90, 90),
        (0.25, 0.25),
    ],
)
def test_durations_as_people_write_them(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "0",
        "0s",
        "-5",
        "-1h",
        "1h1h",
        "5m1m2",
        "1 h x",
        "h",
        "1:60",
        "1:60:00",
        "1:00:60",
        "1-24:00:00",
        "1-24",
        "1-2-3",
        "1:2:3:4",
        "nan",
        "inf",
        "1e400",
        "٣s",
        "1e3",
        "0x10",
        "1,5h",
        "9" * 400,
        0,
        -1,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        b"5",
    ],
)
def test_what_is_no_duration_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="is not a duration; write it like") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_batch_systems_clock_is_days_hours_minutes_seconds(days, hours, minutes, seconds):
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total:
        assert parse_duration(f"{days}-{hours:02d}:{minutes:02d}:{seconds:02d}") == total
        assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == total


@given(st.one_of(st.text(max_size=12), st.text("0123456789:-.dhms ", max_size=12)))
def test_any_text_is_a_finite_positive_duration_or_a_value_error(text):
    try:
        value = parse_duration(text)
    except ValueError:
        return
    assert math.isfinite(value)
    assert value > 0


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24 * 10**9),
        ("24GiB", 24 * 2**30),
        ("24G", 24 * 10**9),
        ("24gi", 24 * 2**30),
        ("512M", 512 * 10**6),
        ("1.5 kB", 1500),
        ("1e9", 10**9),
        ("1.5e3", 1500),
        ("100B", 100),
        ("2 PiB", 2 * 2**50),
        ("9007199254740993", 9007199254740993),
        (4096, 4096),
    ],
)
def test_memory_sizes_as_people_write_them(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "0",
        "0GB",
        "-1",
        "-1GB",
        "iB",
        "1iB",
        "1 GB x",
        "GB",
        "1GBB",
        "1EB",
        "nan",
        "inf",
        "1e999999999",
        "9" * 400,
        "٣GB",
        "1,5GB",
        "0.0001",
        0,
        -5,
        None,
        True,
    ],
)
def test_what_is_no_memory_size_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="is not a memory size; write it like") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


@given(st.one_of(st.text(max_size=10), st.text("0123456789.ekmgtpib ", max_size=10)))
def test_any_text_is_a_positive_size_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_memory(text) > 0


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1500, "1.50 kB"),
        (999999, "1.00 MB"),
        (10**9, "1.00 GB"),
        (10**12, "1.00 TB"),
        (10**16, "10000.00 TB"),
    ],
)
def test_sizes_are_shown_with_a_unit(size, text):
    assert format_memory(size) == text


@given(st.integers(1, 10**18))
def test_a_size_shown_can_be_read_again_to_within_a_hundredth(size):
    assert parse_memory(format_memory(size)) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (1.23, "1.2s"),
        (59.94, "59.9s"),
        (59.97, "1m00s"),
        (245, "4m05s"),
        (3599.6, "1h00m"),
        (7380, "2h03m"),
        (360000, "100h00m"),
    ],
)
def test_durations_are_shown_in_two_units(seconds, text):
    assert format_duration(seconds) == text
