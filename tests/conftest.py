"""What every test may use: the command line as a function, and property tests that no slow machine turns red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from batchroute.cli import main
from command import Said

if TYPE_CHECKING:
    from collections.abc import Callable

# A machine that does something else meanwhile says nothing of the code under test.
settings.register_profile("batchroute", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("batchroute")


@pytest.fixture
def batchroute(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs one command in this process, through the same door as the shell's."""

    def command(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int), f"exited with {code!r}"
        return Said(code, captured.out, captured.err)

    return command
