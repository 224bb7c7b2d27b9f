"""The hosts of a setting."""

import pytest

from taxi_shared.web import LOOPBACK_HOSTS, allowed_hosts, origins


def test_setting_has_names_and_origins() -> None:
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
def test_default_port_of_an_origin_is_removed(entry: str, origin: str) -> None:
    assert origins(allowed_hosts(entry)) == (origin,)


@pytest.mark.parametrize(
    "entry",
    ["https://a.example/taxi", "ftp://a.example", "https://", "a/b", "https://me@a.example"],
)
def test_entry_that_is_no_server_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=f"'{entry}' is not a server's address"):
        allowed_hosts(entry)


@pytest.mark.parametrize(
    "entry", ["*", "https://*.example.com", "https://x y", "https://x:99999", "https://[::1", "x:0"]
)
def test_entry_no_browser_sends_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="expected a name such as"):
        allowed_hosts(entry)
