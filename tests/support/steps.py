"""Work that dies, or whose disk fails, at each step it makes in a directory's file system.

A scenario is a generator function of a directory, `module:function`: what it does before its `yield` prepares the
directory, what it does after is hit. Every step is tried in a directory and a process of its own; the audit events
of the interpreter are the steps.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

STEPS = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"})
KILLED = 9

Mishap = Literal["kill", "full"]


@dataclass(frozen=True)
class Hit:
    """What became of the work that was hit: `end` is "killed", "done", or the name of what it raised."""

    directory: Path
    step: str
    end: str


def hit_at_every_step(scenario: str, mishap: Mishap, under: Path, every: int = 1) -> list[Hit]:
    """One hit for each step (or each n-th), in order; the last entry is the work that nothing hit."""
    command = [sys.executable, __file__, scenario, mishap, str(under), str(every)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Hit(Path(directory), step, end) for directory, step, end in json.loads(done.stdout)]


def main(scenario: str, mishap: Mishap, under: str, every: str) -> None:
    module, _, function = scenario.partition(":")
    work = getattr(importlib.import_module(module), function)
    hits: list[tuple[str, str, str]] = []
    step = 0
    while not hits or hits[-1][1]:
        directory = Path(under) / f"step-{step:04d}"
        directory.mkdir()
        child = os.fork()
        if not child:
            _work(work, directory, mishap, step)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, KILLED}, f"{scenario} at step {step}: the child ended with {status}"
        hit, end = _read_hit(directory)
        hits.append((str(directory), hit, "killed" if status == KILLED else end))
        step += int(every)
    sys.stdout.write(json.dumps(hits))


def _work(work: Any, directory: Path, mishap: Mishap, step: int) -> None:
    """In the child: never returns."""
    phases = work(directory)
    next(phases)
    seen = 0

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in STEPS or not _inside(arguments, directory) or (event == "open" and not _writes(arguments)):
            return
        seen += 1
        if seen != step + 1:
            return
        _write_hit(directory, f"{event} {arguments[0]}", "")
        if mishap == "kill":
            os._exit(KILLED)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    sys.addaudithook(on_event)
    end = "done"
    try:
        next(phases, None)
    except Exception as error:
        end = type(error).__name__
    _write_hit(directory, _read_hit(directory)[0], end)
    os._exit(0)


def _inside(arguments: tuple[Any, ...], directory: Path) -> bool:
    """What is named by an open file, or from an open directory, belongs to it: nothing else is written."""
    place = arguments[0]
    return isinstance(place, int) or f"{place}".startswith(f"{directory}/") or not f"{place}".startswith("/")


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, _, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _write_hit(directory: Path, step: str, end: str) -> None:
    directory.with_suffix(".hit").write_text(json.dumps([step, end]))


def _read_hit(directory: Path) -> tuple[str, str]:
    hit = directory.with_suffix(".hit")
    if not hit.exists():
        return "", ""
    step, end = json.loads(hit.read_text())
    return step, end


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # the test passes what it is made of
