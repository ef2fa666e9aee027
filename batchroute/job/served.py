"""Whether the model that answered is the one that was asked for, by their names.

Knows how providers write names; knows no prices and no models.
"""

from __future__ import annotations

import re

# A version by date or number, or the word for the newest: claude-x-20260301, gpt-x-2026-03-01, gpt-x-0301,
# gemini-x-001, command-x-08-2026, llama-x:latest.
_VERSION = re.compile(r"[-@:](\d{4}-\d{2}-\d{2}|\d{2}-\d{4}|\d{2}-\d{2}|\d{3,4}|\d{6}|\d{8}|latest)$")

# What a host puts around a name: us.anthropic.claude-x-v1:0.
_HOSTED = re.compile(r"^(?:[a-z-]+\.)+(?=[a-z])|-v\d+:\d+$")


def is_asked_model(asked: str, served: str) -> bool:
    """Whether a name means the model asked for: another prefix makes no other model, nor does a version.

    `openai/gpt-x`, `models/gpt-x` and `gpt-x-2026-03-01` all answer for `gpt-x`, as `us.anthropic.claude-x-v1:0`
    does for `claude-x`; of two versions one does not answer for the other.
    """
    if asked == served:
        return True
    (asked_name, asked_version), (served_name, served_version) = _parts(asked), _parts(served)
    is_one_version = asked_version == served_version or not (asked_version and served_version)
    return asked_name == served_name and is_one_version


def _parts(model: str) -> tuple[str, str]:
    """A model's own name and its version, "" where it names none in particular."""
    name = _HOSTED.sub("", model.rpartition("/")[2].lower())
    found = _VERSION.search(name)
    if found is None or not found.start():
        return name, ""
    version = found[1].replace("-", "")
    return name[: found.start()], "" if version == "latest" else version
