"""What a job will cost, before it is run: `plan_job` reckons, `render_plan` and `plan_json` show."""

from batchroute.planning.build import plan_job
from batchroute.planning.figures import FrontierPoint, LanePlan, Plan, plan_json
from batchroute.planning.terminal import render_plan, unpriced_words

__all__ = ["FrontierPoint", "LanePlan", "Plan", "plan_job", "plan_json", "render_plan", "unpriced_words"]
