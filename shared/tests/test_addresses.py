"""Secrets in addresses are not shown, and are sent to their own server only."""

import pytest

from taxi_shared.addresses import (
    is_below,
    is_confidential,
    without_proxy_for_loopback,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@host/a", "https://host/a"),
        ("https://me@host:8443/a@b", "https://host:8443/a@b"),
        ("https://me:p@ss@host/a", "https://host/a"),
        ("https://me:pa/ss@host/a", "https://host/a"),
        ("https://host:8443/a/v1@b", "https://host:8443/a/v1@b"),
        ("https://host/a?v=1&token=hunter2&w=2", "https://host/a?v=1&token=***&w=2"),
        ("https://b.s3/z.csv?X-Amz-Signature=ab12", "https://b.s3/z.csv?X-Amz-Signature=***"),
        (
            "exceeded with url: /a?api_key=hunter2 (Caused by http://me:pass@proxy:3128 refused)",
            "exceeded with url: /a?api_key=*** (Caused by http://proxy:3128 refused)",
        ),
        ("data/me:pass@here", "data/me:pass@here"),
        (
            "abfss://trips@account.dfs.core.windows.net/a",
            "abfss://trips@account.dfs.core.windows.net/a",
        ),
    ],
)
def test_secrets_in_addresses_are_removed(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


@pytest.mark.parametrize(
    ("address", "below"),
    [
        ("https://mirror.example.org/tlc", True),
        ("https://mirror.example.org/tlc/trip-data/x.parquet", True),
        ("https://MIRROR.example.org:443/tlc/x", True),
        ("https://me:pass@mirror.example.org/tlc/x", True),
        ("https://mirror.example.org/tlc-other/x", False),
        ("https://mirror.example.org/tlc/../other", False),
        ("https://mirror.example.org/tlc/%2e%2e/other", False),
        ("https://mirror.example.org/", False),
        ("http://mirror.example.org/tlc/x", False),
        ("https://mirror.example.org:8443/tlc/x", False),
        ("https://mirror.example.org.evil/tlc/x", False),
        ("https://mirror.example.org@evil/tlc/x", False),
        ("https://mirror.example.org:pa/tlc/x", False),
        ("/srv/tlc/x", False),
    ],
)
def test_address_is_below_by_origin_and_path_segment(address: str, below: bool) -> None:
    assert is_below(address, "https://mirror.example.org/tlc/") == below


@pytest.mark.parametrize(
    ("address", "confidential"),
    [
        ("https://mirror.example.org", True),
        ("http://localhost:8080", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:8080", True),
        ("http://mirror.example.org", False),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.evil", False),
        ("http://localhost@evil", False),
    ],
)
def test_only_https_and_loopback_are_confidential(address: str, confidential: bool) -> None:
    assert is_confidential(address) == confidential


@pytest.mark.parametrize(
    ("environment", "hosts"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "b, ::1", "NO_PROXY": "a"}, "b,::1,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_added_to_no_proxy(environment: dict[str, str], hosts: str) -> None:
    assert without_proxy_for_loopback(environment) == {"no_proxy": hosts, "NO_PROXY": hosts}
