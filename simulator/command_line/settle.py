"""What became of a command's words once system and software stack are known."""

from __future__ import annotations

from dataclasses import replace

from ..lowering import Context
from ..stack import Stack, stack_ids
from ..stack import stack as stack_of
from .answer import Said, TrainingCommand


def settle(command: TrainingCommand, context: Context) -> tuple[Said, ...]:
    """Every word with what became of it: switches are compared with the stack's, servers with the system's."""
    said = list(command.said)
    stack = context.stack
    agreeing = _agreeing(command, stack)
    other = f"; --stack {agreeing} agrees with all of the command" if agreeing else ""
    for switch in command.switches:
        has = getattr(stack, switch.field)
        if has in switch.wanted:
            said.append(replace(switch.said, note=f"{switch.said.note}; so has stack {stack.id}"))
        else:
            word = str(has).lower() if isinstance(has, bool) else has
            note = f"{switch.said.note}; stack {stack.id} has {switch.field} = {word}{other}"
            said.append(replace(switch.said, kind="not honoured", note=note))
    whole = context.cluster.chips_per_server
    if command.per_node and command.per_node != whole:
        note = f"servers of {context.cluster.id} have {whole} chips and are filled"
        said.append(Said(kind="not honoured", what="chips of a server", value=str(command.per_node), note=note))
    return tuple(said)


def _agreeing(command: TrainingCommand, taken: Stack) -> str:
    """The stack of the same family, nearest in time, that has every switch as the command has it; "" for none."""
    family = taken.family.split("-")[0]
    found = [
        other
        for other in map(stack_of, stack_ids())
        if other.family.split("-")[0] == family
        and all(getattr(other, switch.field) in switch.wanted for switch in command.switches)
    ]
    return min(found, key=lambda other: (abs(other.year - taken.year), other.id)).id if found else ""
