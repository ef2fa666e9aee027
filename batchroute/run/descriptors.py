"""Descriptors 0, 1 and 2: open, whatever started the process.

Daemons and crons start jobs with some of them closed. The next file that is opened gets the lowest free number: a
journal would be descriptor 1, and whatever prints would write into it; and uvloop aborts a process in which one of
its own files is among them.
"""

from __future__ import annotations

import os

_STANDARD = range(3)


def open_standard_descriptors() -> None:
    """Opens /dev/null as each of the three that is closed; to be called before anything else is opened."""
    for descriptor in _STANDARD:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # is given the lowest free number, which is this one
            os.set_inheritable(descriptor, True)
