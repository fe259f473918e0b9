"""``[[phases]]`` of a job file: batch, image size and length that change in training, one question for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..query import PlanQuery
    from .question import Place

_LENGTHS: Final = ("epochs", "samples")
#: Key of a phase -> key of ``[job]``.
KEYS: Final[Mapping[str, str]] = {
    "batch": "global_batch", "image_size": "image_size", "epochs": "epochs", "samples": "samples",
}  # fmt: skip
MOST_PHASES: Final = 32


def phase_queries(tables: Mapping[str, Any], listed: object, place: Place) -> tuple[tuple[PlanQuery, ...], list[str]]:
    """One question for every phase, and all their problems; the first has every table's own."""
    from hwmodels.datafile import did_you_mean
    from workloads.workload import Workload

    from ..query import QueryError, query_from_mapping

    job = tables.get("job", {})
    if not isinstance(job, Mapping):
        return (), [f"{place(('job',))}: legal: a table, [job]."]
    if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed) or not listed:
        return (), [f"{place(('phases',))}: legal: [[phases]], each with batch, epochs or samples, and image_size."]
    if len(listed) > MOST_PHASES:
        return (), [f"{place(('phases',))}: {len(listed)} phases; legal: 1 to {MOST_PHASES}."]
    problems = [
        f"{place(('job', key))}: is given beside [[phases]], which say how much; leave it out."
        for key in ("tokens", *_LENGTHS, "target", "global_batch") if key in job
    ]  # fmt: skip
    sized = [i for i, entry in enumerate(listed) if "image_size" in entry]
    if sized and "image_size" in job:
        problems.append(f"{place(('job', 'image_size'))}: is given beside phases with their own; leave it out.")
    if sized and isinstance(job.get("model"), Workload):
        where = place(("phases", sized[0], "image_size"))
        problems.append(f"{where}: a network of one's own has one size; legal: a name of `trainyard catalog models`.")
    queries: list[PlanQuery] = []
    for i, entry in enumerate(listed):
        problems += [
            f"{place(('phases', i, key))}: is not a known key; legal: {', '.join(KEYS)}.{did_you_mean(key, KEYS)}"
            for key in entry if key not in KEYS
        ]  # fmt: skip
        if "batch" not in entry or sum(key in entry for key in _LENGTHS) != 1:
            problems.append(f"{place(('phases', i))}: needs batch, and one of epochs, samples.")
        own = {KEYS[key]: value for key, value in entry.items() if key in KEYS}
        if problems:
            continue

        def called(key: Any, i: int = i, own: Mapping[str, Any] = own) -> str:
            back = {inner: outer for outer, inner in KEYS.items()}
            of_phase = len(key) == 2 and key[0] == "job" and key[1] in own
            return str(place(("phases", i, back[key[1]]) if of_phase else key))

        try:
            queries.append(query_from_mapping({**tables, "job": {**job, **own}}, where=called))
        except QueryError as error:
            problems += error.problems
    return tuple(queries), problems
