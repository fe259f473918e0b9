"""What the scoreboard's page says above each of its tables."""

from __future__ import annotations

from typing import Final

ERRORS: Final = (
    "*error* is the mean over groups, *mean*, *median* and *p90* (what nine of ten do not exceed) are over runs; "
    "*bias* is the mean of ln(predicted / measured) of step times, above 0 where the prediction is too slow. "
    "*utilisation* is the error of one utilisation of the peak for each kind of run, chip family and precision, "
    "*roofline* that of one efficiency of the bare roofline (arithmetic or memory of each operation, whichever takes "
    "longer) for the same, both fitted on the same folds; *skill* is 1 - error / the smaller of the two. *constants* "
    "is how many of the fitted constants touch any of the runs. A run that is cut in several ways counts under each."
)
INTERVALS: Final = (
    "Made from the errors of the other folds alone, so that no run widens or narrows its own. *score* is Winkler's "
    "interval score of the logarithm (width, and ten times the miss where the run lies outside; the smaller the "
    "better), beside that of constant utilisation with a conformal interval from the same folds. Parts of 30 runs or "
    "more."
)
ORDERS: Final = (
    "Sweeps of four settings or more of one source, model, chip, number of chips and software, which differ in layout "
    "or batch; compared is the time of a sample. *rank* is the mean correlation of ranks, *regret* how much slower "
    "than the best measured the setting is that we would choose."
)
SCALING: Final = (
    "Runs that are alike but for the number of replicas, efficiency from the smallest number of chips of each curve. "
    "*error* is the mean over curves of |predicted - measured| efficiency, in points of a hundred; *linear scaling* "
    "predicts 100. Curves of more than 150 somewhere are left out: something else slowed their first point."
)
TRAININGS: Final = (
    "Times to a target, epochs and speed-ups, from held-out rates and from how long other measured runs of a recipe "
    "train."
)
WORST: Final = (
    "Of every group at most one run; *ratio* is predicted over measured step time (of a group the geometric mean). "
    "Sentences are kept in `simulator/data/explanations.csv`, by source, model and chip."
)
CONVENTIONS: Final = (
    "Published TFLOP/s and utilisations count different FLOPs. A prediction is a step time; it becomes a rate by what "
    "its source counts: *model* 3 forward passes, attention whole; *causal* the same with causal attention halved; "
    "*hardware* 4 forward passes of blocks; *executed* hardware where it recomputes in full, else model."
)
