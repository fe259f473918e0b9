"""``simulator/data/records.toml``: records of training ImageNet, what ran where and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean, read_toml

from ..outcome import OutcomeError
from ..outcome.convergence.phases import Phase
from ..outcome.data import IMAGENET_IMAGES
from .setup import EXCHANGES, Setup

FILE: Final = "records.toml"
#: How the length of a run is known.
LENGTHS: Final = ("stated", "assumed", "derived", "target")
_NEEDED: Final = (
    "id", "group", "when", "what", "model", "system", "chips", "stack", "precision", "phases", "length", "clock",
    "source", "locator", "marks",
)  # fmt: skip
_PHASE: Final = ("epochs", "batch", "image_size")


class RecordError(DataFileError):
    """The file of records cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of a run: epochs at one batch and one size of image, 0 the model's own."""

    epochs: float
    batch: int
    image_size: int = 0

    def phase(self, epochs: float = 0.0) -> Phase:
        """The stretch in samples of ImageNet, of its own or of other epochs."""
        return Phase(samples=(epochs or self.epochs) * IMAGENET_IMAGES, batch=self.batch, image_size=self.image_size)


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """One printed step of the same software on the same or a like chip, outside of the run.

    ``setup`` has what the step was taken on; ``step_s`` is what it took.
    """

    setup: Setup
    batch: int
    step_s: float
    source: str
    image_size: int = 0


@dataclass(frozen=True, kw_only=True)
class RecordRun:
    """One published run.

    ``setups`` has several entries where something that decides was not published: the answer is their geometric mean.
    ``length`` is one of `LENGTHS`; of a "target" the epochs are those that were measured. ``time_s`` 0: only steps were
    measured; ``rate_per_s`` 0: only the time. ``rows``: rows of the open corpus that measure a step of it, ``rate_row``
    the one whose held-out prediction is shown (0: none). ``anchor``: a step that says how fast one machine is.
    ``list_usd_per_h``, ``spot_usd``: what was paid, 0: unknown.
    """

    id: str
    group: str
    when: str
    what: str
    setups: tuple[Setup, ...]
    phases: tuple[Stretch, ...]
    length: str
    clock: str
    source: str
    locator: str
    marks: str
    time_s: float = 0.0
    rate_per_s: float = 0.0
    target: str = ""
    rows: tuple[int, ...] = ()
    rate_row: int = 0
    anchor: Anchor | None = None
    explains: str = ""
    list_usd_per_h: float = 0.0
    spot_usd: float = 0.0

    @property
    def epochs(self) -> float:
        """Passes over the data as they were run."""
        return sum(stretch.epochs for stretch in self.phases)

    @property
    def chips(self) -> int:
        """Chips of the run."""
        return self.setups[0].chips


@cache
def published_runs() -> tuple[RecordRun, ...]:
    """Every run of the file, in its order."""
    with as_file(files("simulator") / "data" / FILE) as path:
        return read_runs(read_toml(str(path)))


def read_runs(file: TomlFile) -> tuple[RecordRun, ...]:
    """Runs of a file; raises `RecordError` with all its problems."""
    problems: list[str] = []
    found = []
    for i, entry in enumerate(file.data.get("runs", ())):
        before = len(problems)
        problems += _problems(file, i, entry)
        if len(problems) == before:
            try:
                found.append(_run(entry))
            except (OutcomeError, TypeError, ValueError) as error:
                problems.append(file.problem(("runs", i), str(error)))
    if problems:
        raise RecordError(*problems)
    return tuple(found)


def _setup_keys() -> tuple[str, ...]:
    return tuple(f.name for f in fields(Setup))


def _problems(file: TomlFile, i: int, entry: Mapping[str, Any]) -> list[str]:
    known = (*(f.name for f in fields(RecordRun) if f.name != "setups"), *_setup_keys())
    found = [
        file.problem(("runs", i, key), f"unknown key.{did_you_mean(key, known)}") for key in entry if key not in known
    ]
    found += [file.problem(("runs", i), f"{key} is missing.") for key in _NEEDED if key not in entry]
    for key, legal in (("length", LENGTHS), ("exchange", EXCHANGES)):
        if entry.get(key, legal[0]) not in legal:
            found.append(file.problem(("runs", i, key), f"is {entry[key]!r}; legal: {', '.join(legal)}."))
    if not entry.get("time_s") and not entry.get("rate_per_s"):
        found.append(file.problem(("runs", i), "neither time_s nor rate_per_s; legal: one of them or both."))
    if (entry.get("length") == "target") != bool(entry.get("target")):
        found.append(file.problem(("runs", i), 'target goes with length = "target".'))
    return found


def _run(entry: Mapping[str, Any]) -> RecordRun:
    of_setup = {key: entry[key] for key in _setup_keys() if key in entry and key != "network_times"}
    times = entry.get("network_times", [1.0])
    apart = ("phases", "rows", "anchor")
    own = {f.name: entry[f.name] for f in fields(RecordRun) if f.name in entry and f.name not in apart}
    return RecordRun(
        **own, anchor=_anchor(entry["anchor"], of_setup) if "anchor" in entry else None,
        setups=tuple(Setup(**of_setup, network_times=float(x)) for x in times),
        phases=tuple(Stretch(**phase) for phase in entry["phases"]), rows=tuple(entry.get("rows", ())),
    )  # fmt: skip


def _anchor(entry: Mapping[str, Any], of_run: Mapping[str, Any]) -> Anchor:
    """A step of the run's own model and software unless it says otherwise, exchanged as its library does."""
    like = {key: of_run[key] for key in ("model", "system", "stack", "precision", "optimizer") if key in of_run}
    changed = {key: entry[key] for key in _setup_keys() if key in entry}
    own = {key: entry[key] for key in ("batch", "step_s", "source", "image_size") if key in entry}
    return Anchor(setup=Setup(**{**like, **changed}), **own)
