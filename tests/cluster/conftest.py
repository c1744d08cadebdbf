"""Engines that the tests start from the command line: a Ray Client server, and a Dask cluster that accepts only TLS."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from prefect_anyrunner import RunnerSpec
from prefect_anyrunner._provisioning.server import free_port, guarded
from prefect_anyrunner.conformance import Case
from prefect_anyrunner.conformance._harness.case_runner import CaseRunner
from tests.cluster import hosts

SAMPLE = "test_remote_rules.py"
"""A sample of the rules that `make test` runs. All else here needs minutes, or network namespaces."""

START_WITHIN = 120.0
# The server starts a process for each client. Without the first variable that process may die at once
# (ray-project/ray#63202). Without the second it has half a minute to start, which is too little on a busy machine.
RAY_CLIENT_SERVER = {"GRPC_ENABLE_FORK_SUPPORT": "false", "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of this folder as slow, all but the sample."""
    if item.path.name != SAMPLE:
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hosts.Network]:
    """A network without hosts, for one module."""
    if (why := hosts.unavailable()) is not None:
        pytest.skip(why)
    with hosts.network(tmp_path_factory.mktemp("hosts")) as made:
        yield made


def until_open(port: int, log: Path) -> None:
    """Wait until a process listens on a port of loopback."""
    end = time.monotonic() + START_WITHIN
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nobody listens on port {port}:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="module")
def ray_client(ray_head: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray Client server beside the Ray of the other tests; gives its spec."""
    port, log = free_port(), tmp_path_factory.mktemp("ray-client") / "server.log"
    command = ["-m", "ray.util.client.server", "--address", ray_head, "--host", "127.0.0.1", "--port", str(port)]
    variables = [f"{name}={value}" for name, value in RAY_CLIENT_SERVER.items()]
    with guarded(["env", *variables, sys.executable, *command, "--mode", "proxy"], log):
        until_open(port, log)
        yield f"ray://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def dask_tls(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Dask scheduler with two workers that refuse clients without a certificate; gives its spec."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask-tls")
    certify(folder, ["127.0.0.1"])
    port = free_port()
    tls = ["--tls-ca-file", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--no-dashboard"]
    scheduler = ["scheduler", "--host", "tls://127.0.0.1", "--port", str(port), *tls]
    worker = ["worker", f"tls://127.0.0.1:{port}", "--host", "127.0.0.1", "--nworkers", "2", "--nthreads", "1", *tls]
    with ExitStack() as stack:
        for name, words in {"scheduler": scheduler, "worker": worker}.items():
            command = ["env", "-C", str(folder), str(Path(sys.executable).with_name("dask")), *words]
            stack.enter_context(guarded(command, folder / f"{name}.log"))
            until_open(port, folder / f"{name}.log")
        yield f"dask+tls://127.0.0.1:{port}?ca_file={folder}/ca.pem&cert={folder}/cert.pem&key={folder}/key.pem"


def certify(folder: Path, addresses: list[str]) -> None:
    """Write the certificate of an authority (`ca.pem`) and one that it signed (`cert.pem`, `key.pem`) into `folder`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    hosts = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    for file, key in (("ca.pem", authority), ("cert.pem", own)):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(issuer if key is authority else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=key is authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .sign(authority, hashes.SHA256())
        )
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(own.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


class Benches:
    """A process for each engine that runs cases on it, for as long as a module's tests need it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._runners: dict[str, CaseRunner] = {}

    def run(self, text: str, case: Case) -> None:
        """Run a case on the runner of a spec."""
        if text not in self._runners:
            runner = CaseRunner(RunnerSpec.parse(text), environment=dict(os.environ))
            self._runners[text] = self._stack.enter_context(runner)
        result = self._runners[text].run(case)
        if result.verdict == "skip":
            pytest.skip(result.detail)
        assert result.verdict == "pass", f"{case.sentence}\n{result.detail}\n{result.traceback}"


@pytest.fixture(scope="module")
def benches() -> Iterator[Benches]:
    with ExitStack() as stack:
        yield Benches(stack)
