"""Where a live request goes."""

from __future__ import annotations

import pytest

from batchroute.input.row import Refusal
from batchroute.job.spec import Endpoints
from batchroute.serve.chat import decide_route

SMALL = {"model": "m", "base_url": "http://127.0.0.1:9/v1", "max_input_tokens": 10}


def test_a_request_that_is_too_long_is_told_so_with_a_number_above_the_limit() -> None:
    endpoints = Endpoints.model_validate({"strong": SMALL, "weak": SMALL})
    assert decide_route(0.5, 0.7, 40, endpoints).endpoint == "strong"
    with pytest.raises(Refusal, match=r"about 11 input tokens, more than endpoints.strong.max_input_tokens"):
        decide_route(0.5, 0.7, 41, endpoints)
