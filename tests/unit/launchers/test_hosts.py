from __future__ import annotations

import pytest

from launchers.hosts import Host, parse_hostfile, parse_hosts, places, read_hostfile


def names(*words: str) -> list[str]:
    return [str(host) for host in parse_hosts(words)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n01", ["n01"]),
        ("n01,n02 ,", ["n01", "n02"]),
        ("n[01-04]", ["n01", "n02", "n03", "n04"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[01-02,7]", ["n01", "n02", "n7"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("ada@n[1-2].cluster:2222", ["ada@n1.cluster:2222", "ada@n2.cluster:2222"]),
        ("10.77.0.[1-2]", ["10.77.0.1", "10.77.0.2"]),
        ("::1", ["::1"]),
        ("ada@[fe80::1%eth0]:22", ["ada@[fe80::1%eth0]:22"]),
        ("lab\\ada@n1", ["lab\\ada@n1"]),
    ],
)
def test_what_a_word_names(text, expected):
    assert names(text) == expected
    assert names(*expected) == expected, "as it is shown it can be read again"


def test_the_parts_of_a_host():
    assert parse_hosts(["ada@n01:2222"]) == [Host("n01", "ada", 2222)]
    assert parse_hosts(["[::1]:2222"]) == [Host("::1", "", 2222)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-oProxyCommand=x", "is not a host"),
        ("n01;reboot", "is not a host"),
        ("n01 n02", "is not a host"),
        ("$(id)", "is not a host"),
        ("@n01", "'' is no name of a user"),
        ("-l@n01", "'-l' is no name of a user"),
        ("n01:", "'' is not a port from 1 to 65535"),
        ("n01:70000", "'70000' is not a port"),
        ("n01:ssh", "'ssh' is not a port"),
        ("n[4-1]", "runs backwards"),
        ("n[1-]", "'1-' is not a range like 01-04"),
        ("n[a-b]", "is not a host"),
        ("n[1-99999]", "more than 10000 hosts"),
        ("n[1-200][1-200]", "more than 10000 hosts"),
        ("é01", "is not a host"),
    ],
)
def test_what_is_no_host(text, problem):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_hosts([text])
    assert problem in str(caught.value)


def test_a_hostfile_as_people_write_them():
    text = (
        "\ufeff# the cluster\r\n"
        "\r\n"
        "n01   \r\n"
        "ada@n02:2222 slots=4\r\n"
        "n[03-04]\t# the new ones\r\n"
        "n01\r\n"
        "   \t\r\n"
        "n05 # slots=9\r\n"
        "n06#7"
    )
    with pytest.raises(ValueError, match="line 9: 'n06#7' is not a host"):
        parse_hostfile(text)
    assert parse_hostfile(text.removesuffix("#7")) == [
        Host("n01"),
        Host("n02", "ada", 2222, slots=4),
        Host("n03"),
        Host("n04"),
        Host("n05"),
        Host("n06"),
    ]


def test_slots_that_are_said_twice_add_up():
    assert parse_hostfile("n1 slots=2\nn1\nn2\nn1 slots=3\n") == [Host("n1", slots=5), Host("n2")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("n01 slots=0", "slots=0 is not a number"),
        ("n01 slots=many", "slots=many is not a number"),
        ("n01 slots", "'slots' is not understood"),
        ("n01 max_slots=4", "'max_slots=4' is not understood"),
        ("n01 n02", "'n02' is not understood"),
    ],
)
def test_a_line_that_is_not_understood_is_named(line, problem):
    with pytest.raises(ValueError, match=r"^line 3: ") as caught:
        parse_hostfile(f"# hosts\nn00\n{line}\n")
    assert problem in str(caught.value)


def test_the_bytes_of_a_hostfile():
    assert read_hostfile(b"\xef\xbb\xbfn01\r\n") == [Host("n01")]
    for data in (b"", b"# none\n\n", b"\xef\xbb\xbf\r\n"):
        with pytest.raises(ValueError, match="names no host"):
            read_hostfile(data)
    with pytest.raises(ValueError, match="not a text file: byte 2 is 0xff"):
        read_hostfile(b"n1\xff\xfe")


def test_each_host_has_as_many_places_as_slots_and_then_it_begins_again():
    a, b = Host("a", slots=2), Host("b")
    assert places([a, b]) == (a, a, b)
    assert places([a, b], 2) == (a, a)
    assert places([a, b], 5) == (a, a, b, a, a)
    assert places([], 3) == ()
