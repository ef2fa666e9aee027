"""What every test may use: the command line as a function, and property tests that no slow machine turns red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from batchroute.cli import main
from batchroute.simulate.behaviour import Behaviour
from command import Said
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import ThreadedSimulator

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


@pytest.fixture
def behaviour() -> Behaviour:
    """That of the providers below; a module or a class may have its own."""
    return Behaviour(count_prompts=True, keep_requests=1000)


@pytest.fixture
def server(behaviour: Behaviour) -> Iterator[ThreadedSimulator]:
    """A provider that counts who asks what."""
    with threaded_simulator(behaviour) as server:
        yield server


@pytest.fixture
def servers(behaviour: Behaviour) -> Iterator[tuple[ThreadedSimulator, ThreadedSimulator]]:
    """A strong and a weak one."""
    with threaded_simulator(behaviour) as strong, threaded_simulator(behaviour) as weak:
        yield strong, weak
