"""The lane of each endpoint of a run: where it sends, what it may use, and what is noticed on its answers.

Knows no rows and no scores; when a lane is given requests is the engine's responsibility.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from batchroute.job.tiers import STANDARD
from batchroute.run.outage import OutageNotice
from batchroute.run.substitutes import Substitutes
from batchroute.send.body import at_standard_tier
from batchroute.send.classify import Answer
from batchroute.send.lane import Lane
from batchroute.send.open import most_open, open_endpoints, retry_policy
from batchroute.send.request import billed_in
from batchroute.send.tokens import estimate_tokens
from batchroute.types import LaneState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from batchroute.job.prices import Target
    from batchroute.job.secrets import Scrubber
    from batchroute.job.spec import Job
    from batchroute.run.progress import Progress
    from batchroute.run.stop import Stopper
    from batchroute.run.unconfirmed import Unconfirmed
    from batchroute.send.allowance import Allowance
    from batchroute.send.endpoint import Endpoint
    from batchroute.send.request import Request

_UNSENT = Answer(verdict="transient", error_type="lease", error="not sent, as the lease was over", unsent=True)


@dataclass(frozen=True, slots=True)
class LaneOpener:
    """What the lanes of a run have in common.

    `raw`: whole answers are kept; `answered` says of an endpoint whether it has answered a row of the run before.
    `allowance` is what a lane may use; without a budget (`has_budget`) lost attempts are counted in `unconfirmed`.
    """

    job: Job
    targets: Mapping[str, Target]
    raw: bool
    answered: Callable[[str], bool]
    environ: Mapping[str, str]
    scrub: Scrubber
    allowance: Callable[[str], Allowance]
    has_budget: bool
    unconfirmed: Unconfirmed
    progress: Progress
    stopper: Stopper
    notify: Callable[[str], None]

    async def open(self, name: str, stack: AsyncExitStack) -> Lane[Request]:
        """The lane of the endpoint `name` of `Job.asked`, until `stack` ends; `progress` has what it does."""
        spec, limits, target = self.job.asked[name], self.job.limits, self.targets[name]
        answered, allowance = self.answered(name), self.allowance(name)
        endpoints = await open_endpoints(
            spec,
            limits,
            self.environ,
            stack,
            self.scrub,
            keep_bodies=self.raw,
            had_success=lambda: answered or allowance.answered,
        )
        substitutes, progress = Substitutes(target, self.notify), self.progress.lanes[name]

        async def send(endpoint: Endpoint, request: Request) -> Answer:
            if not await allowance.sendable():
                return _UNSENT
            answer = await endpoint.send(request.body, tokens=estimate_tokens(request.chars))
            substitutes.see(answer)
            if answer.error is not None:
                progress.last_error = answer.error
            return billed_in(request.service_tier, answer)

        def watched(endpoint: Endpoint) -> Callable[[Request], Awaitable[Answer]]:
            asked = partial(send, endpoint)
            return asked if self.has_budget else self.unconfirmed.watching(asked, target.pricing)

        lane = Lane(
            {where: watched(endpoint) for where, endpoint in endpoints.items()},
            retry_policy(spec, limits),
            allowance,
            lambda reason: self.notify(f"the {name} lane stopped: {reason}"),
            most_open=most_open(spec),
            at_standard=_at_standard if spec.on_busy == "standard" else None,
            per_address=spec.per_address,
            watch=OutageNotice(name, self.notify).changed,
        )
        progress.in_flight, progress.sent = lambda: lane.in_flight, lambda: lane.sent
        progress.state = partial(_state, lane, self.stopper)
        return lane


def _state(lane: Lane[Request], stopper: Stopper) -> LaneState:
    """What the lane does; where the run is stopped, that is the reason."""
    state = lane.state()
    return replace(state, reason=stopper.cause) if state == LaneState("stopped") else state


def _at_standard(request: Request) -> Request:
    return msgspec.structs.replace(request, body=at_standard_tier(request.body), service_tier=STANDARD)
