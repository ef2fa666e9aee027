"""Whether a Ray cluster answers at an address is known within seconds; Ray itself would wait for minutes."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from batchroute.errors import UsageFault
from batchroute.run.workers.cluster import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import ThreadedSimulator

SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # an HTTP/2 frame of that type, empty


@contextmanager
def listener(says: bytes | None) -> Iterator[str]:
    """Takes one connection, says that much and ends it; None: says nothing, as a process that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> None:
            connection, _ = listening.accept()
            with connection, suppress(ConnectionError):
                for byte in says or b"":
                    connection.sendall(bytes([byte]))
                if says is not None:
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(1000):
                    pass

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        speaker.join(10)


def test_what_speaks_as_ray_does_is_joined() -> None:
    with listener(SETTINGS) as address:
        probe(address)


@pytest.mark.parametrize("says", [b"", b"\0\0\0", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.9\r\n"])
def test_what_speaks_otherwise_is_not_ray(says: bytes) -> None:
    with listener(says) as address, pytest.raises(UsageFault, match=f"{address}: something else than Ray"):
        probe(address)


def test_what_says_nothing_is_not_waited_for() -> None:
    with listener(None) as address, pytest.raises(UsageFault, match=f"{address}: timed out"):
        probe(address, patience_s=0.1)


def test_a_web_server_is_not_ray(server: ThreadedSimulator) -> None:
    with pytest.raises(UsageFault, match="no Ray cluster to join"):
        probe(f"127.0.0.1:{server.port}")


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(UsageFault, match=rf"no Ray cluster to join at {address}: .*refused"):
        probe(address)


@pytest.mark.parametrize("address", ["mill-3", "mill-3:", ":6379", "mill-3:zz", "ray://mill-3:10001", "h:99999"])
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(UsageFault, match=address):
        probe(address)
