"""Keys of a question that change its network for fine-tuning: adapters, frozen layers, lengths of documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from workloads.finetuning import LORA_TARGETS, frozen, lora, packed
from workloads.op import WorkloadError
from workloads.workload import Workload

#: Keys of a question's [job] that are read here.
KEYS: Final = ("lora_rank", "lora_targets", "frozen", "mean_length", "length_variation")


def fine_tuned(
    workload: Workload, given: Mapping[str, Any], place: Callable[[str], str]
) -> tuple[Workload, list[str], list[str]]:
    """The network as the keys change it, what they are in words, and what is wrong with them.

    ``place`` is how a key is called in messages. Lengths come first: adapters change nothing of attention.
    """
    problems: list[str] = []
    words: list[str] = []

    def changed(key: str, text: str, change: Callable[[Workload], Workload]) -> None:
        nonlocal workload
        try:
            workload = change(workload)
            words.append(text)
        except WorkloadError as error:
            problems.append(f"{place(key)}: {error}")

    rank = _number(given, "lora_rank", 10**5, whole=True, place=place, problems=problems)
    mean = _number(given, "mean_length", 1e7, whole=False, place=place, problems=problems)
    variation = _number(given, "length_variation", 100.0, whole=False, place=place, problems=problems) or 0.0
    targets, held = _names(given, "lora_targets", place, problems), _names(given, "frozen", place, problems)
    if "length_variation" in given and "mean_length" not in given:
        problems.append(f"{place('length_variation')}: is given without mean_length; legal: with it.")
    if targets and "lora_rank" not in given:
        problems.append(f"{place('lora_targets')}: is given without lora_rank; legal: with it.")
    if held and "lora_rank" in given:
        problems.append(
            f"{place('frozen')}: is given with lora_rank, which freezes all but adapters; legal: one of them."
        )
    if problems:
        return workload, words, problems
    if mean is not None:
        spread = f", variation {variation:g}" if variation else ""
        changed(
            "mean_length", f"mean length {mean:g}{spread}", lambda w: packed(w, mean_length=mean, variation=variation)
        )
    if rank is not None:
        chosen = targets or LORA_TARGETS
        key = "lora_targets" if targets else "lora_rank"
        changed(key, f"lora {int(rank)} on {', '.join(chosen)}", lambda w: lora(w, rank=int(rank), targets=chosen))
    if held:
        changed("frozen", f"{', '.join(held)} frozen", lambda w: _freeze(w, held))
    return workload, words, problems


def _freeze(workload: Workload, held: tuple[str, ...]) -> Workload:
    """All layers whose name or kind stands in ``held`` frozen, the others trained."""
    known = list(dict.fromkeys(word for layer in workload.layers for word in (layer.name, layer.kind)))
    for word in held:
        if word not in known:
            raise WorkloadError(f"'{workload.name}' has no layer '{word[:60]}'. Legal: {', '.join(known)}.")
    trained = [layer.name for layer in workload.layers if layer.name not in held and layer.kind not in held]
    if not trained:
        raise WorkloadError(f"'{workload.name}': nothing is left to train. Legal: some of {', '.join(known)}.")
    return frozen(workload, trained=trained)


def _number(
    given: Mapping[str, Any], key: str, most: float, *, whole: bool, place: Callable[[str], str], problems: list[str]
) -> float | None:
    if key not in given:
        return None
    legal = f"a whole number from 1 to {most:.0f}" if whole else f"a number from 0 to {most:g}"
    value = given[key]
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    text = isinstance(value, str) and not (value.isascii() and len(value) < 30 and "_" not in value)
    if text or not (1 if whole else 0) <= number <= most or (whole and number != int(number)):
        problems.append(f"{place(key)}: is {ascii(value)[:60]}; legal: {legal}.")
        return None
    return number


def _names(given: Mapping[str, Any], key: str, place: Callable[[str], str], problems: list[str]) -> tuple[str, ...]:
    """A list of names, or a text with commas."""
    if key not in given:
        return ()
    value = given[key]
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(name, str) and name.strip() for name in found):
        problems.append(
            f"{place(key)}: is {ascii(value)[:60]}; legal: names with commas between them, as qkv,projection."
        )
        return ()
    return tuple(dict.fromkeys(name.strip() for name in found))
