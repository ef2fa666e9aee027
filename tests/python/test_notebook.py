"""A notebook in a kernel of its own: what its cells show, and what an interrupt of one does.

For whoever has `ipykernel`; the other tests of this package do without.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.simulate.behaviour import Behaviour
from servers import threaded_simulator
from serving import wait_for

pytest.importorskip("ipykernel")


jupyter_client = pytest.importorskip("jupyter_client")

if TYPE_CHECKING:
    from pathlib import Path

CALL = """
import batchroute as br
prompts = [f"prompt {row}" for row in range(60)]
keywords = dict(strong="<b>b</b>", weak="a", threshold=0.5, base_url=%r, output=%r)
"""


def kernel_spec() -> list[str]:
    """The kernel of this Python, whatever is installed beside it."""
    return [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.fixture
def kernel() -> Any:
    manager = jupyter_client.KernelManager()
    manager.kernel_spec.argv[:] = kernel_spec()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def outputs(client: Any, message: str) -> list[Any]:
    """The messages of a cell, until it is idle."""
    found, deadline = [], time.monotonic() + 60
    while time.monotonic() < deadline:
        said = client.get_iopub_msg(timeout=60)
        if said["parent_header"].get("msg_id") != message:
            continue
        if said["msg_type"] == "status" and said["content"]["execution_state"] == "idle":
            break
        found.append(said)
    return found


@pytest.mark.parametrize("call", ["br.run(prompts, **keywords)", "await br.arun(prompts, **keywords)"])
def test_a_cell_shows_the_run_at_work_and_then_what_came_of_it(call: str, tmp_path: Path, kernel: Any) -> None:
    _, client = kernel
    with threaded_simulator(Behaviour(latency_s=1.5)) as provider:
        outputs(client, client.execute(CALL % (provider.url, str(tmp_path / "run"))))
        said = outputs(client, client.execute(call))
    drawn = [one["content"]["data"]["text/html"] for one in said if one["msg_type"] == "update_display_data"]
    assert any("sending" in page for page in drawn)
    assert drawn[-1] == "", "nothing is left of it"
    [result] = [one["content"]["data"] for one in said if one["msg_type"] == "execute_result"]
    assert "60 answered, 0 refused, 0 failed" in result["text/html"]
    assert "&lt;b&gt;b&lt;/b&gt;" in result["text/html"]
    assert "'complete'" in result["text/plain"]


def test_an_interrupted_cell_keeps_what_is_in_flight(tmp_path: Path, kernel: Any) -> None:
    manager, client = kernel
    with threaded_simulator(Behaviour(latency_s=0.5)) as provider:
        outputs(client, client.execute(CALL % (provider.url, str(tmp_path / "run"))))
        cell = client.execute("br.run(prompts, settings={'endpoints.strong.max_concurrency': 5}, **keywords)")
        wait_for(lambda: provider.stats().requests)
        manager.interrupt_kernel()
        said = outputs(client, cell)
        assert [one["content"]["ename"] for one in said if one["msg_type"] == "error"] == ["KeyboardInterrupt"]
        kept = outputs(client, client.execute(f"br.open_run({str(tmp_path / 'run')!r}).report.ok"))
        [result] = [one["content"]["data"]["text/plain"] for one in kept if one["msg_type"] == "execute_result"]
        assert int(result) == provider.stats().requests > 0
