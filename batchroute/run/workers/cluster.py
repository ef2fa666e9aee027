"""A Ray cluster that runs already: where it is, whether it answers, its machines. Never starts one.

Ray waits two minutes for an address behind which nobody is, or somebody else; so it is asked there first, over a
plain socket. The only module that imports Ray, which is an extra. Knows no job, and not what machines are asked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Value = TypeVar("Value")

ASK_S = 60.0  # a machine starts a process for it, which imports what it needs

# To connect to each address of a name, and again for its first words: together less than ten seconds.
PROBE_S = 3.0
# Whoever speaks HTTP/2, which Ray's gRPC does, opens with its settings (RFC 9113, 3.4), without being asked.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_HEADER_BYTES, _TYPE_AT, _SETTINGS = 9, 3, 4  # of a frame: its length, where its type stands, that of settings


@dataclass(frozen=True, slots=True)
class Machine:
    """One of the cluster; `name` as a user knows it."""

    id: str
    name: str
    cpus: float


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """The module `ray`, joined to the cluster at `address`, and left again at the end; `auto`: see job/engine.

    A program that has joined a cluster itself goes on with that one. UsageFault where none can be joined.
    """
    ray = _imported()
    if ray.is_initialized():
        yield ray
        return
    found = _found(address)
    probe(found)
    try:
        ray.init(address=found, log_to_driver=False, logging_level=logging.CRITICAL)
    except (OSError, RuntimeError, ValueError) as error:
        raise _not_joined(found, str(error).strip() or type(error).__name__) from error
    try:
        _silence(ray)
        yield ray
    finally:
        ray.shutdown()


def machines_with(ray: Any, cpus: float) -> list[Machine]:
    """Those that are there by now and have so many CPUs."""
    return [
        Machine(
            node["NodeID"],
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            node["Resources"]["CPU"],
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0.0) >= cpus
    ]


def on_each(ray: Any, machines: Sequence[Machine], look: Callable[[], Value]) -> list[Value]:
    """What a function finds on each machine, whatever else is at work there; UsageFault names one that fails."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - the same

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    found = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(machine.id, soft=False)).remote()
        for machine in machines
    ]
    return [_found_on(ray, machine, ref) for machine, ref in zip(machines, found, strict=True)]


def _found_on(ray: Any, machine: Machine, ref: Any) -> Any:
    try:
        return ray.get(ref, timeout=ASK_S)
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise UsageFault(f"{machine.name}: cannot be asked whether it can work: {why}") from error


def _silence(ray: Any) -> None:
    """Ray would print each death of a worker to stdout, which is the report's where `--json` asks for it."""
    worker = ray._private.worker.global_worker  # noqa: SLF001 - Ray has no setting for it
    worker.threads_stopped.set()
    worker.gcs_error_subscriber.close()
    worker.listener_thread.join()


def _imported() -> Any:
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise UsageFault("Ray is not installed here: pip install 'batchroute[ray]'") from None
    return ray


def _found(address: str) -> str:
    """What Ray would take for it: RAY_ADDRESS, else the cluster of this machine, if there is one."""
    from ray._private.services import get_ray_address_from_environment  # noqa: PLC0415 - the same

    if address != "auto":
        return address
    try:
        found: str = get_ray_address_from_environment(address, None)
    except OSError:
        raise UsageFault(
            "no Ray cluster runs on this machine, and RAY_ADDRESS is not set; batchroute starts none: set it, or "
            "engine.address, or start one with `ray start --head`"
        ) from None
    return found


def probe(address: str, patience_s: float = PROBE_S) -> None:
    """UsageFault where no Ray cluster answers at an address."""
    host, _, port = address.rpartition(":")
    if "://" in address or not (host and port.isdigit()):
        raise UsageFault(f'engine.address: {address}: must be host:port of the cluster\'s head, or "auto"')
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience_s) as connection:
            connection.settimeout(patience_s)
            answers = _is_encrypted() or _speaks_http2(connection)
    except (OSError, OverflowError) as error:
        raise _not_joined(address, str(error)) from None
    if not answers:
        raise _not_joined(address, "something else than Ray answers there")


def _is_encrypted() -> bool:
    return os.environ.get("RAY_USE_TLS", "0").lower() in {"1", "true"}


def _speaks_http2(connection: socket.socket) -> bool:
    connection.sendall(_PREFACE)
    header = b""
    while len(header) < _HEADER_BYTES and (more := connection.recv(_HEADER_BYTES - len(header))):
        header += more
    return len(header) == _HEADER_BYTES and header[_TYPE_AT] == _SETTINGS


def _not_joined(address: str, why: str) -> UsageFault:
    return UsageFault(f"no Ray cluster to join at {address}: {why}; batchroute starts none")
