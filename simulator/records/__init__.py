"""How training ImageNet became fast, 2015 to 2019: published records, predicted from hardware, network and software."""

from .changes import Change, Waterfall, waterfall
from .predicted import SYSTEMS, Steps, Timeline, TimelineRow, timeline
from .published import Anchor, RecordError, RecordRun, Stretch, published_runs
from .setup import RecordStep, Setup, SetupError, record_step

__all__ = [
    "SYSTEMS", "Anchor", "Change", "RecordError", "RecordRun", "RecordStep", "Setup", "SetupError", "Steps", "Stretch",
    "Timeline", "TimelineRow", "Waterfall", "published_runs", "record_step", "timeline", "waterfall",
]  # fmt: skip
