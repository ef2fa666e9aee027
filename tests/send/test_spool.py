from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import files_of_at_most
from batchroute.send.classify import Answer
from batchroute.send.spool import Spool
from batchroute.types import Completion, Usage

ANSWERS = st.builds(
    lambda text, tokens, body: Answer(
        verdict="ok", completion=Completion("m", text, usage=Usage(tokens, None, tokens)), body=body
    ),
    st.none() | st.text(max_size=20),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.text(max_size=20),
)


@given(groups=st.lists(st.lists(ANSWERS, max_size=8), max_size=4), data=st.data())
def test_answers_come_back_in_whatever_order_they_are_asked_for(
    groups: list[list[Answer]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Spool(Path(folder))) as spool:
        for number, group in enumerate(groups):
            assert number not in spool
            spool.add(number, group)
            assert number in spool
            asked = data.draw(st.lists(st.sampled_from(range(len(group))), max_size=8)) if group else []
            assert list(spool.fetch(number, asked)) == [group[place] for place in asked]
        assert [list(spool.fetch(n, range(len(group)))) for n, group in enumerate(groups)] == groups
        assert list(Path(folder).iterdir()) == []


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool, files_of_at_most(1000), pytest.raises(OSError, match="File too large"):
        spool.add(0, [Answer(verdict="ok", body="x" * 5000)])
