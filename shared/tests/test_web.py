"""The hosts that servers answer to."""

import pytest

from taxi_shared.web import LOOPBACK_HOSTS, allowed_hosts, origins


def test_names_and_origins_are_taken_from_a_setting():
    hosts = allowed_hosts(" Reports.example.com:8443, https://Intranet.example.com/ ,")
    assert hosts == ("reports.example.com", "https://intranet.example.com", *LOOPBACK_HOSTS)
    assert origins(hosts) == ("https://intranet.example.com",)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80/", "http://a.example"),
        ("https://a.example:8443", "https://a.example:8443"),
    ],
)
def test_usual_port_of_an_origin_is_left_out_as_browsers_do(entry, origin):
    assert origins(allowed_hosts(entry)) == (origin,)


@pytest.mark.parametrize(
    "entry",
    ["https://a.example/taxi", "ftp://a.example", "https://", "a/b", "https://me@a.example"],
)
def test_entry_that_is_no_server_is_named(entry):
    with pytest.raises(ValueError, match=f"'{entry}' is not a server's address"):
        allowed_hosts(entry)


@pytest.mark.parametrize(
    "entry", ["*", "https://*.example.com", "https://x y", "https://x:99999", "https://[::1", "x:0"]
)
def test_entry_that_no_browser_sends_is_refused(entry):
    with pytest.raises(ValueError, match="expected a name such as"):
        allowed_hosts(entry)
