"""Servers that are no engine, for tests of what a runner says when it is sent to one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def silent() -> Iterator[int]:
    """Accept connections on a port of loopback, which is yielded, and never say a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)  # the system accepts them, without anybody in this process
        yield server.getsockname()[1]


@contextmanager
def http() -> Iterator[int]:
    """Serve HTTP on a port of loopback, which is yielded."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()


@contextmanager
def talking() -> Iterator[int]:
    """Greet each client with a line of text, as mail servers do, on a port of loopback, which is yielded."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:  # the test is over
                    return
                with connection, suppress(OSError):  # a client may have gone already
                    connection.sendall(b"220 mail.invalid is ready\r\n")
                    connection.recv(1024)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.join()
