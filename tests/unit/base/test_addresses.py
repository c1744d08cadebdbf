"""Host and port are read alike from the addresses of Dask, Ray and the Prefect API."""

from __future__ import annotations

import pytest

from prefect_anyrunner._base.addresses import host_and_port


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("host:8786", ("host", 8786)),
        ("tcp://10.0.0.2:8786", ("10.0.0.2", 8786)),
        ("ray://head:10001", ("head", 10001)),
        ("http://127.0.0.1:4200/api", ("127.0.0.1", 4200)),
        ("tls://[::1]:8786", ("::1", 8786)),
        ("[fe80::1]:6379", ("fe80::1", 6379)),
        ("ray://user:pass/w@rd@head:10001", ("head", 10001)),
        ("https://user:password@api.example.com:444/api", ("api.example.com", 444)),
    ],
)
def test_host_and_port_are_those_of_the_address(address: str, expected: tuple[str, int]) -> None:
    assert host_and_port(address, 1) == expected


@pytest.mark.parametrize("address", ["host", "tcp://host", "https://host/api", "user:password@host"])
def test_an_address_without_a_port_gets_the_default(address: str) -> None:
    assert host_and_port(address, 443) == ("host", 443)


def test_port_zero_is_a_port() -> None:
    assert host_and_port("tcp://127.0.0.1:0", 8786) == ("127.0.0.1", 0)


@pytest.mark.parametrize("port", ["x", "70000"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match=r"[Pp]ort"):
        host_and_port(f"host:{port}", 1)
