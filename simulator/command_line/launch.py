"""How a training program is started: on how many servers and chips, by torchrun, srun, mpirun and their like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .answer import Notebook, shown_value

#: Words of launchers that say how many; the first column is what they say.
_COUNTS: Final[Mapping[str, tuple[str, ...]]] = {
    "nodes": ("--nnodes", "--nodes", "-N", "--num-nodes", "--num-machines"),
    "per_node": ("--nproc-per-node", "--ntasks-per-node", "--gpus-per-node", "--num-gpus", "--gpus-per-task"),
    "chips": ("--ntasks", "-n", "-np", "--np", "--num-processes"),
    "gres": ("--gres",),
}
_NAMES: Final = {word: key for key, words in _COUNTS.items() for word in words}
#: Launchers that start one process a chip on every server, where a task of srun is a whole server.
_SPAWNERS: Final = ("torchrun", "torch.distributed.launch", "torch.distributed.run", "deepspeed", "accelerate")
_LAUNCHERS: Final = (
    *_SPAWNERS, "srun", "mpirun", "mpiexec", "python", "python3", "env", "nohup", "exec", "sudo", "bash", "sh",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Servers, chips of each, chips in all; 0 where it is not said."""

    nodes: int = 0
    per_node: int = 0
    chips: int = 0


def read_launch(words: Sequence[str], directives: Sequence[str], notes: Notebook) -> Launch:
    """How many chips the words before a program ask for, then the ``#SBATCH`` lines for what they leave open."""
    spawns = any(word.rsplit("/", 1)[-1] in _SPAWNERS for word in words)
    spawner = next((i for i, word in enumerate(words) if word.rsplit("/", 1)[-1] in _SPAWNERS), 0)
    outer, inner = (words[:spawner], words[spawner:]) if spawns else (words, [])
    found: dict[str, int] = {}
    # The innermost launcher knows best; what it leaves open the one around it says.
    for part, is_spawner in ((inner, True), (outer, False), (directives, False)):
        for key, number, what in _counts(part, notes):
            if spawns and not is_spawner and key in ("chips", "per_node") and what not in ("--gpus-per-node", "--gres"):
                notes.note(
                    "ignored", what, number, "tasks of the outer launcher; the inner one starts a process a chip"
                )
            elif key in found:
                if found[key] != number:
                    notes.note("ignored", what, number, f"{found[key]} is said closer to the program")
            else:
                found[key] = number
                notes.note(
                    "given", what, number, {"nodes": "servers", "per_node": "chips of a server"}.get(key, "chips")
                )
    if spawns and any(w.rsplit("/", 1)[-1].startswith("torch") for w in words):
        if "nodes" not in found:
            notes.note("assumed", "--nnodes", 1, "one server; default of torchrun")
        if "per_node" not in found and not any(_NAMES.get(_plain(w)) == "per_node" for w in inner):
            notes.note("assumed", "--nproc-per-node", 1, "one chip; default of torchrun")
            found["per_node"] = 1
        found.setdefault("nodes", 1)
    return Launch(nodes=found.get("nodes", 0), per_node=found.get("per_node", 0), chips=found.get("chips", 0))


def _plain(word: str) -> str:
    name = word.partition("=")[0]
    return name.replace("_", "-") if name.startswith("--") else name


def _counts(words: Sequence[str], notes: Notebook) -> list[tuple[str, int, str]]:
    found: list[tuple[str, int, str]] = []
    skip = False
    for place, word in enumerate(words):
        if skip:
            skip = False
            continue
        name, sign, value = word.partition("=")
        name = _plain(name)
        key = _NAMES.get(name)
        if name.startswith("-") and key is None:
            after = words[place + 1] if place + 1 < len(words) else ""
            takes = not sign and after and not after.startswith("-") and after.rsplit("/", 1)[-1] not in _LAUNCHERS
            notes.note("ignored", name, value if sign else after if takes else "", "of the launcher")
            skip = bool(takes) and name not in ("-m", "-u")
            continue
        if key is None:
            continue
        if not sign:
            value = words[place + 1] if place + 1 < len(words) else ""
            skip = True
        number = _number(name, value, notes)
        if number:
            found.append(("per_node" if key == "gres" else key, number, name))
    return found


def _number(name: str, value: str, notes: Notebook) -> int:
    """The number a launcher's word says; 0 where it says none that can be read."""
    text = value.rsplit(":", 1)[-1] if name in ("--nnodes", "--gres", "--nodes") else value
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) and int(text):
        if name == "--nnodes" and ":" in value:
            notes.note("assumed", name, text, f"the most of {shown_value(value)}")
        return int(text)
    if text in ("gpu", "auto"):
        notes.note("given", name, text, "all chips of a server")
    elif "$" in value or "`" in value:
        notes.note("unknown", name, value, "the text does not define it; --chips says how many")
    else:
        notes.problems.append(f"{name}: is {shown_value(value)!a}; legal: a whole number from 1.")
    return 0
