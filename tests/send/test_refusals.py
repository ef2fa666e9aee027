"""The same refusal again and again: whose fault that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.refusals import SameRefusal


def test_the_same_refusal_is_too_many_at_its_twentieth() -> None:
    watch = SameRefusal[str](20)
    ids = [f"req_{number * 7919:x}f-a{number}" for number in range(20)]
    said = [watch.refused(f"HTTP 400: max_tokens of {each} is too large") for each in ids]
    assert said == [None] * 19 + ["the same refusal 20 times"]


def test_refusals_of_other_kinds_between_change_nothing() -> None:
    watch = SameRefusal[str](3)
    kinds = ["no tools", "no images"] * 2
    assert [watch.refused(kind) for kind in kinds] == [None] * 4
    assert watch.refused("no audio") is None
    assert watch.refused("no images") == "the same refusal 3 times"


def test_a_server_that_never_says_the_same_twice_is_too_many_as_well() -> None:
    watch = SameRefusal[str](3)
    words = ["".join(chr(97 + (number >> bit & 1)) for bit in range(6)) for number in range(30)]
    assert [watch.refused(word) for word in words] == [None] * 29 + ["30 refusals"]


def test_a_success_begins_the_count_again() -> None:
    watch = SameRefusal[str](3)
    for _ in range(10):
        assert (watch.refused("no"), watch.refused("no")) == (None, None)
        watch.succeeded()


def test_what_comes_after_one_too_many_is_too_much_as_well() -> None:
    """Requests that were in flight are refused, too, and whatever is said of them."""
    watch = SameRefusal[str](2)
    assert [watch.refused(text) for text in ("no", "no", "no", "never")] == [
        None,
        *["the same refusal 2 times"] * 3,
    ]
    watch.succeeded()
    assert watch.refused("no") is None


def test_zero_switches_it_off() -> None:
    watch = SameRefusal[str](0)
    assert not watch.watching
    assert not any(watch.refused("no") for _ in range(100))


def test_what_is_held_is_released_once_and_in_order() -> None:
    watch = SameRefusal[str](3)
    for refusal in "abc":
        watch.hold(refusal)
        watch.refused(refusal)
    assert watch.release() == ["a", "b", "c"]
    assert watch.release() == []


@given(stop_after=st.integers(1, 5), words=st.lists(st.sampled_from("abcdefghijklmnopqrstuvw"), max_size=80))
def test_no_more_are_held_than_its_bound(stop_after: int, words: list[str]) -> None:
    watch = SameRefusal[str](stop_after)
    for number, word in enumerate(words, 1):
        watch.hold(word)
        too_many = watch.refused(word) is not None
        same = words[:number].count(word) >= stop_after
        assert too_many == (same or number >= 10 * stop_after)
        if too_many:
            assert len(watch.release()) <= 10 * stop_after
            return


@pytest.mark.parametrize("text", ["HTTP 400: row 17 is bad", "HTTP 400: row 4711 is bad"])
def test_numbers_make_no_difference(text: str) -> None:
    watch = SameRefusal[str](2)
    watch.refused("HTTP 400: row 1 is bad")
    assert watch.refused(text)
