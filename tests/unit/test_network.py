import socket
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed import network
from distributed.errors import ConfigError
from distributed.network import (
    interface_address,
    interfaces,
    join_address,
    own_address,
    own_addresses,
    parse_address,
    resolve_host,
)


class Host:
    """A host with interfaces, a name and perhaps a default route, in the place of this one."""

    def __init__(self, monkeypatch, addresses, down=(), named=(), default=""):
        self.monkeypatch = monkeypatch
        made = {
            name: [SimpleNamespace(family=socket.AF_INET6 if ":" in a else socket.AF_INET, address=a) for a in found]
            for name, found in addresses.items()
        }
        stats = {name: SimpleNamespace(isup=name not in down) for name in addresses}
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: made)
        monkeypatch.setattr(psutil, "net_if_stats", lambda: stats)
        monkeypatch.setattr(network.socket, "gethostname", lambda: "thishost")
        monkeypatch.setattr(network.socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(network, "_default_address", lambda: default)
        self.named = named

    def look_up(self, host, *args, **kwargs):
        if host != "thishost" or not self.named:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.named]


LO = {"lo": ["127.0.0.1", "::1"]}


@pytest.mark.parametrize(
    ("addresses", "options", "expected"),
    [
        ({}, {}, "127.0.0.1"),
        (LO, {}, "127.0.0.1"),
        (LO | {"eth0": ["10.0.0.5"]}, {}, "10.0.0.5"),
        (LO | {"eth0": ["10.0.0.5"]}, {"named": ["127.0.1.1"]}, "10.0.0.5"),
        (LO | {"eth0": ["10.0.0.5"], "eth1": ["10.1.0.5"]}, {"named": ["127.0.1.1"]}, "10.0.0.5"),
        (LO | {"eth0": ["10.0.0.5"], "eth1": ["10.1.0.5"]}, {"named": ["10.1.0.5"]}, "10.1.0.5"),
        (LO | {"docker0": ["172.17.0.1"], "eth0": ["10.0.0.5"]}, {"default": "10.0.0.5"}, "10.0.0.5"),
        (LO | {"a": ["10.0.0.5"], "b": ["10.1.0.5"]}, {"named": ["10.1.0.5"], "default": "10.0.0.5"}, "10.1.0.5"),
        (LO | {"a": ["10.0.0.5"], "b": ["10.1.0.5"]}, {"down": ["a"]}, "10.1.0.5"),
        (LO | {"a": ["10.0.0.5"]}, {"down": ["a"]}, "10.0.0.5"),
        (LO | {"a": ["10.0.0.5"], "b": ["10.1.0.5"]}, {"named": ["192.168.7.7"]}, "10.0.0.5"),
        (LO | {"eth0": ["fe80::1%eth0", "2001:db8::5"]}, {}, "2001:db8::5"),
        (LO | {"eth0": ["fe80::1%eth0"]}, {}, "127.0.0.1"),
        (LO | {"eth0": ["2001:db8::5"], "eth1": ["10.0.0.5"]}, {}, "10.0.0.5"),
    ],
)
def test_the_address_that_others_should_use(monkeypatch, addresses, options, expected):
    Host(monkeypatch, addresses, **options)
    assert own_address() == expected


def test_toward_a_peer_the_address_of_the_route_counts():
    assert own_address("127.0.0.1:9") == "127.0.0.1"


def test_without_a_route_to_the_peer_the_best_address_is_taken(monkeypatch):
    def unreachable(host, port):
        raise OSError(101, "Network is unreachable")

    Host(monkeypatch, LO | {"eth0": ["10.0.0.5"]})
    monkeypatch.setattr(network, "_address_on_route", unreachable)
    assert own_address("10.9.9.9:1") == "10.0.0.5"


@pytest.mark.parametrize("toward", ["nonsense", "10.0.0.1", "a:b:c"])
def test_toward_nonsense_is_an_error(toward):
    with pytest.raises(ConfigError):
        own_address(toward)


def test_loopback_addresses_come_last(monkeypatch):
    Host(monkeypatch, LO | {"eth0": ["2001:db8::5"], "eth1": ["10.0.0.5"]})
    assert own_addresses() == ["10.0.0.5", "2001:db8::5", "127.0.0.1"]


def test_interfaces_by_name(monkeypatch):
    Host(monkeypatch, LO | {"eth0": ["10.0.0.5", "2001:db8::5"], "ib0": ["fe80::2%ib0"], "tun": []})
    assert interfaces() == {"lo": ["127.0.0.1"], "eth0": ["10.0.0.5"]}
    assert interface_address("eth0") == "10.0.0.5"
    with pytest.raises(ConfigError, match=r"no interface 'ib9' with an address; it has: lo \(127.0.0.1\), eth0 \("):
        interface_address("ib9")


def test_this_very_host_has_an_address():
    assert own_address() in [*own_addresses(), "127.0.0.1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.0.1:8786", ("10.0.0.1", 8786)),
        (" node-1.example.org:1 ", ("node-1.example.org", 1)),
        ("[::1]:8786", ("::1", 8786)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_addresses(text, found):
    assert parse_address(text) == found
    assert parse_address(text, 99) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("node", ("node", 99)), ("10.0.0.1", ("10.0.0.1", 99)), ("::1", ("::1", 99)), ("[::1]", ("::1", 99))],
)
def test_a_default_port_fills_in(text, found):
    assert parse_address(text, 99) == found
    with pytest.raises(ConfigError):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        ":8786",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:abc",
        "host:8786x",
        "host:1e3",
        "a b:1",
        "tcp://host:1",
        "user@host:1",
        "[::1:1",
        "::1]:1",
        "[]:1",
        "[host]:1",
        "[::1]x:1",
        "host:٣",
        "host:" + "9" * 5000,
        "host:+1",
        "host:1 2",
    ],
)
def test_what_is_no_address_is_refused(text):
    for default in (None, 99):
        with pytest.raises(ConfigError, match="is not an address: write HOST:PORT"):
            parse_address(text, default)


@given(st.text(max_size=20))
def test_any_text_is_an_address_that_can_be_written_again_or_an_error(text):
    try:
        host, port = parse_address(text, 99)
    except ConfigError:
        return
    assert parse_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "x..y", "\udcff"])
def test_a_host_name_that_cannot_be_resolved_is_named(host):
    with pytest.raises(ConfigError, match="cannot be resolved"):
        resolve_host(host)


def test_a_number_resolves_to_itself():
    assert resolve_host("127.0.0.1") == "127.0.0.1"
    assert resolve_host("::1") == "::1"
