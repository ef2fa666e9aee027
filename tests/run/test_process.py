"""What a command asks of its own process: as many open files as its connections need."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from batchroute.errors import UsageFault
from batchroute.run.process import SPARE_FILES, raise_file_limit

# In a process of its own: only its parent could lower a hard limit again.
LIMITED = 'ulimit -Sn 256; ulimit -Hn 512; exec "$@"'
ASK = """
import resource, sys
from batchroute.errors import UsageFault
from batchroute.run.process import raise_file_limit
try:
    raise_file_limit(None if sys.argv[1] == "all" else int(sys.argv[1]))
except UsageFault as fault:
    print(fault)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def limited(connections: int | str) -> list[str]:
    """What the process says, whose soft limit is 256 and whose hard limit is 512; last its new soft limit."""
    command = ["sh", "-c", LIMITED, "sh", sys.executable, "-c", ASK, str(connections)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.parametrize(
    ("connections", "soft"),
    [(1, 256), (256 - SPARE_FILES, 256), (256, 256 + SPARE_FILES), (512 - SPARE_FILES, 512), ("all", 512)],
)
def test_the_soft_limit_is_raised_as_far_as_it_must_be(connections: int | str, soft: int) -> None:
    assert limited(connections) == [str(soft)]


def test_more_connections_than_the_hard_limit_are_refused_and_nothing_is_changed() -> None:
    said, soft = limited(512)
    assert said.startswith("max_concurrency adds up to 512, but this system allows 512 open files; lower it")
    assert soft == "256"


def test_no_limit_is_lowered() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit(0)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    if before[1] != resource.RLIM_INFINITY:
        with pytest.raises(UsageFault, match="ulimit -Hn"):
            raise_file_limit(before[1] + 1)
