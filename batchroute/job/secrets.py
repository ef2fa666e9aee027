"""Keys: from the environment, a file named in it or a command, to values that mask themselves; out of text again.

Knows which settings name a key. Nothing here puts a key's text into a message, and what a provider says goes
through a `Scrubber` before it is stored or shown.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchroute.errors import JobFault
from batchroute.job.rules import VARIABLE_NAME, at, endpoint_places, items_of
from batchroute.job.spec import Endpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.rules import Fault
    from batchroute.job.spec import EmbedderSpec
    from batchroute.job.toml import Loc


LEAK_CHARS = 8  # so many consecutive characters of a secret count as a leak: providers echo keys half masked
REDACTED = "[secret]"
COMMAND_S = 60.0  # for a command that prints a key


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A key; only `reveal` gives its text."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"


@dataclass(frozen=True, slots=True)
class EndpointSecrets:
    """The secrets of an endpoint: its key, and the headers whose values came from the environment."""

    api_key: Secret | None
    headers: dict[str, Secret]

    @property
    def every(self) -> list[Secret]:
        """All of them: what must not be written anywhere."""
        return [*([] if self.api_key is None else [self.api_key]), *self.headers.values()]


def resolve_key(name: str, environ: Mapping[str, str]) -> Secret | None:
    """The key in the variable `name`, else in the file that `name`_FILE names; None where neither is set.

    Raises JobFault when the file cannot be read or the key is nothing a header can carry.
    """
    text = environ.get(name, "").strip()
    path = environ.get(f"{name}_FILE", "")
    if not text and path:
        text = _key_file(name, path)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise JobFault([f"the key in {_shown(name)} stands in quotes; remove them"])
    if not (text.isascii() and text.isprintable()):
        raise JobFault([f"the key in {_shown(name)} holds characters that no header can carry; copy it again"])
    return Secret(text) if text else None


def _key_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise JobFault([f"{_file_words(name, path)} cannot be read ({why}); fix the path"]) from None


def _file_words(name: str, path: str) -> str:
    """With the path where it is surely one: a key pasted in its place must not be printed."""
    file = f"the key file {path}" if path.startswith(("/", "./", "../")) else "the key file"
    return f"{file} of {_shown(name)}{'_FILE' if _shown(name) == name else ' and _FILE'}"


def endpoint_secrets(
    spec: EndpointSpec | EmbedderSpec, environ: Mapping[str, str], *, again: bool = False
) -> EndpointSecrets:
    """The secrets that `spec` names; `again`: as they are now. Raises JobFault when a variable is unset."""
    found: dict[Loc, Secret] = {}
    for loc, name in _named_variables(spec):
        key = resolve_key(name, environ)
        if key is None:
            raise JobFault([_unset(name, environ)])
        found[loc] = key
    headers = {str(loc[1]): key for loc, key in found.items() if loc[0] == "headers"}
    command = _command(spec)
    read = printed_key.__wrapped__ if again else printed_key
    printed = None if command is None else read(command)
    return EndpointSecrets(found.get(("api_key_env",), printed), headers)


def _command(spec: Any) -> str | None:
    """What prints the key; a simulated endpoint gets none."""
    command = at(spec, "api_key_command")
    return command if at(spec, "simulate") is None and isinstance(command, str) else None


@cache
def printed_key(command: str) -> Secret:
    """The key that a command prints: run once in a process, as it may be slow. JobFault where it prints none.

    Its arguments stand in the process list, so they must hold no secret; no shell reads them.
    """
    try:
        argv = shlex.split(command)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603 - the job's own
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = "took too long" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
        raise JobFault([f"api_key_command {why}; try it by hand"]) from None
    if done.returncode:
        raise JobFault([f"api_key_command ended with status {done.returncode}; try it by hand"])
    text = done.stdout.decode("utf-8", "replace").strip()
    if not (text and text.isascii() and text.isprintable()):
        raise JobFault(["api_key_command printed no key that a header can carry; it must print the key alone"])
    return Secret(text)


def key_faults(settings: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Fault]:
    """What is wrong with the keys that a job's settings, checked or not, name."""
    for table in (*endpoint_places(Endpoints.model_fields), ("router", "embedder")):
        spec = at(settings, *map(str, table))
        for loc, name in _named_variables(spec):
            try:
                if resolve_key(name, environ) is None:
                    yield (*table, *loc), _unset(name, environ)
            except JobFault as fault:
                yield (*table, *loc), str(fault)
        command = _command(spec)
        if command is not None:
            try:
                printed_key(command)
            except JobFault as fault:
                yield (*table, "api_key_command"), str(fault).removeprefix("api_key_command ")


def _named_variables(spec: Any) -> Iterator[tuple[Loc, str]]:
    """(place below `spec`, variable) of every secret; a simulated endpoint gets none."""
    if at(spec, "simulate") is not None:
        return
    named = [
        (("api_key_env",), at(spec, "api_key_env")),
        *((("headers", header), at(value, "env")) for header, value in items_of(at(spec, "headers"))),
    ]
    for loc, name in named:
        if isinstance(name, str) and re.fullmatch(VARIABLE_NAME, name):
            yield loc, name


def key_variables(specs: Iterable[EndpointSpec | EmbedderSpec]) -> set[str]:
    """The environment variables that hold the keys of these, or the paths of files that do."""
    names = {name for spec in specs for _, name in _named_variables(spec)}
    return names | {f"{name}_FILE" for name in names}


def _unset(name: str, environ: Mapping[str, str]) -> str:
    if path := environ.get(f"{name}_FILE"):
        return f"{_file_words(name, path)} is empty; write the key into it"
    return f"{_shown(name)} is not set; set it, or set that name with _FILE to the path of a file that holds it"


def _shown(name: str) -> str:
    """The name where it looks like one: a key pasted in its place must not be printed."""
    return name if name == name.upper() else "the variable named here"


class Scrubber:
    """Replaces every run of `LEAK_CHARS` or more characters of a secret."""

    __slots__ = ("_grams", "_probes")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._grams: frozenset[str] = frozenset()
        self._probes: tuple[str, ...] = ()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Knows these, too, from now on; in one step, as other threads may ask meanwhile."""
        # Placeholders for local servers ("x", "EMPTY") are no secrets, and masking them would spoil answers.
        known = [secret for secret in secrets if len(secret) >= LEAK_CHARS]
        self._grams |= {
            secret[i : i + LEAK_CHARS] for secret in known for i in range(len(secret) - LEAK_CHARS + 1)
        }
        # Any run of 8 characters holds a whole 4-gram that starts at a multiple of 4, so these few substrings
        # decide for nearly every text, at a quarter of the cost, that it holds no secret. Of "abcdefghijkl" they
        # are abcd, efgh and ijkl: the run "cdefghij" holds efgh, and so does every other one hold one of the
        # three.
        half = LEAK_CHARS // 2
        probes = {secret[i : i + half] for secret in known for i in range(0, len(secret), half)}
        self._probes = tuple({*self._probes, *probes})

    def __bool__(self) -> bool:
        """Whether there is anything to take out."""
        return bool(self._probes)

    def __call__(self, text: str) -> str:
        """The text itself where it holds no part of a secret."""
        for probe in self._probes:  # a generator would double what this costs
            if probe in text:
                break
        else:
            return text
        # A lookahead, as leaks overlap: of twelve characters of a secret, five runs of eight.
        found = (re.finditer(f"(?={re.escape(gram)})", text) for gram in self._grams)
        return _masked(text, sorted(leak.start() for leaks in found for leak in leaks))


def _masked(text: str, leaks: Iterable[int]) -> str:
    """The text without the LEAK_CHARS characters from each of these places on."""
    pieces: list[str] = []
    end = 0
    for start in leaks:
        if start >= end:
            pieces += (text[end:start], REDACTED)
        end = start + LEAK_CHARS
    return "".join(pieces) + text[end:]
