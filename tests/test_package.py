"""The package's public face."""

from __future__ import annotations

import subprocess
import sys
from inspect import isfunction

import batchroute


def test_every_public_name_is_there() -> None:
    assert all(getattr(batchroute, name) is not None for name in batchroute.__all__)


def test_a_name_that_is_none_is_no_attribute() -> None:
    assert not hasattr(batchroute, "no_such_name")


def test_what_a_plan_is_called_is_a_function() -> None:
    import batchroute.run.plan  # noqa: PLC0415 - the rooms must not hide the functions of their names

    assert callable(batchroute.plan)
    assert isfunction(batchroute.run)


def test_the_package_runs_as_the_command_does() -> None:
    command = [sys.executable, "-m", "batchroute", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"batchroute, version {batchroute.__version__}\n"
