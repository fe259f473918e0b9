"""Why a step takes as long as it does, as text and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ..events import Overlap, PathNode, Saving
from ..step_explanation import StepExplanation
from ..stepspec import PICOSECONDS_PER_SECOND
from .quantities import percent, seconds
from .tables import table
from .text import PART_WORDS, WIDTH

#: Lines of the tree on one level before the rest is added up, and the share of the step that a line must have.
_MOST: Final = 6
_LEAST: Final = 0.01
#: Roles whose overlap is printed.
_ROLES: Final = 16
#: What a slice's category is on the path, where not all of that part of a step is meant.
_WORDS: Final = {**PART_WORDS, "data": "gradient exchange and gathers"}

#: Communication as a heading of the overlap.
_SHORT: Final = {"tensor": "in layers", "pipeline": "sends", "data": "gradients", "optimizer": "update"}


def explanation_text(found: StepExplanation) -> str:
    """The critical path, what each resource would save, and overlap, ending in a newline."""
    path = found.path
    slices = f"{len(path.slices):,} pieces" if len(path.slices) > 1 else "1 piece"
    lines = [f"CRITICAL PATH   {_s(path.duration_ps)} in {slices}, {path.crossings:,} times from stage to stage"]
    lines += [f"  {line}" for line in _tree_lines(path.tree, found.step_ps)]
    lines += ["", "WHAT EACH WOULD SAVE   the step simulated again"]
    rows = [
        [
            _resource(saving), f"{_s(saving.on_path_ps)} {_share(saving.on_path_ps, found)}",
            f"{_s(saving.free_saves_ps)} {_share(saving.free_saves_ps, found)}",
            f"{_s(saving.half_saves_ps)} {_share(saving.half_saves_ps, found)}",
        ]
        for saving in found.savings
    ]  # fmt: skip
    lines += table(["resource", "on the path", "saved if free", "saved if twice as fast"], rows, left=(0,), width=WIDTH)
    lines += ["", "OVERLAP   communication beside compute over all communication"]
    lines += _overlap_lines(found.overlaps)
    return "\n".join(lines) + "\n"


def _tree_lines(root: PathNode, step_ps: int) -> list[str]:
    rows = list(_branches(root, step_ps, 0))
    wide = max(len(label) for label, _ in rows)
    whole = max(step_ps, 1)
    return [f"{label:<{wide}}  {_s(spent):>9}  {percent(spent / whole):>7}" for label, spent in rows]


def _branches(node: PathNode, step_ps: int, depth: int) -> Iterator[tuple[str, int]]:
    parts = [part for part in node.parts[:_MOST] if part.duration_ps >= _LEAST * step_ps]
    # One line of "others" says no less than the one line it would stand for.
    parts = list(node.parts) if len(node.parts) - len(parts) == 1 else parts
    for part in parts:
        name = _WORDS.get(part.name, part.name) if depth == 1 else part.name
        times = f" x{part.slices:,}" if depth == 2 and part.slices > 1 else ""
        yield f"{'  ' * depth}{name}{times}", part.duration_ps
        if len(part.parts) > 1 or depth == 0:
            yield from _branches(part, step_ps, depth + 1)
    left = node.parts[len(parts) :]
    if left:
        yield f"{'  ' * depth}{len(left)} others", sum(part.duration_ps for part in left)


def _overlap_lines(overlaps: Sequence[Overlap]) -> list[str]:
    words = [word for word in _SHORT if any(word in found.busy_ps for found in overlaps)]
    header = ["role", "computing", "hidden", *(_SHORT[word] for word in words), "idle", "overlap"]
    rows = [
        [
            str(found.stage), _s(sum(found.computing_ps.values())), _s(found.overlapped_ps),
            *(_s(found.exposed_ps.get(word, 0)) for word in words), _s(found.idle_ps), percent(found.overlap),
        ]
        for found in overlaps[:_ROLES]
    ]  # fmt: skip
    lines = table(header, rows, left=(0,), width=WIDTH)
    lines.append(
        "  hidden: beside compute; by kind: while nothing computes; idle: neither. Each row is the whole step."
    )
    if len(overlaps) > _ROLES:
        lines.append(f"  and {len(overlaps) - _ROLES:,} more roles; --json has them all")
    return lines


def explanation_mapping(found: StepExplanation) -> dict[str, Any]:
    """The same values and all others, for JSON; whole picoseconds beside seconds where they add up exactly."""
    path = found.path
    return {
        "critical_path": {
            "begin_ps": path.begin_ps,
            "end_ps": path.end_ps,
            "duration_ps": path.duration_ps,
            "blocks": "every pass" if found.every_block else "first and last micro-batch",
            "crossings": path.crossings,
            "tree": _node(path.tree),
            "slices": [
                {"stage": part.stage, "category": part.category, "name": part.name, "duration_ps": part.duration_ps}
                for part in path.slices
            ],
        },
        "savings": [
            {
                "resource": saving.category,
                "stage": saving.stage,
                "on_path_s": saving.on_path_ps / PICOSECONDS_PER_SECOND,
                "free_saves_s": saving.free_saves_ps / PICOSECONDS_PER_SECOND,
                "half_saves_s": saving.half_saves_ps / PICOSECONDS_PER_SECOND,
            }
            for saving in found.savings
        ],
        "overlap": [
            {
                "role": one.stage,
                "name": name,
                "overlap": one.overlap,
                "span_ps": one.span_ps,
                "computing_ps": dict(one.computing_ps),
                "exposed_ps": dict(one.exposed_ps),
                "idle_ps": one.idle_ps,
                "hidden_ps": dict(one.hidden_ps),
                "behind_other_communication_ps": dict(one.behind_ps),
            }
            for one, name in zip(found.overlaps, found.role_names, strict=True)
        ],
    }


def _node(node: PathNode) -> dict[str, Any]:
    own = {"name": node.name, "duration_ps": node.duration_ps, "slices": node.slices}
    return {**own, "parts": [_node(part) for part in node.parts]} if node.parts else own


def _resource(saving: Saving) -> str:
    word = _WORDS[saving.category]
    return word if saving.stage is None else f"{word} of stage {saving.stage}"


def _s(duration_ps: int) -> str:
    return seconds(duration_ps / PICOSECONDS_PER_SECOND)


def _share(duration_ps: int, found: StepExplanation) -> str:
    return f"{100.0 * duration_ps / max(found.step_ps, 1):5.1f} %"
