"""How rows travel to their experts and back: copies on the wire, passes over memory, launches, by a stack's dispatcher.

A plain all-to-all sends a row once for each expert that it chose. Dispatchers built for the purpose (DeepEP, HybridEP)
send it once to each rank that holds one of them, and over the network once to each domain, whose links pass it on.
"""

from __future__ import annotations

import numpy as np

from .kernels.optable import Floats


def distinct_groups(groups: Floats, experts: Floats, chosen: Floats) -> Floats:
    """Groups of experts that a row visits, on average over even routing; shapes broadcast.

    .. math:: g \\left(1 - \\prod_{i<k} \\frac{E - E/g - i}{E - i}\\right)

    with E experts held evenly by g groups and k different ones chosen: the chance that none of a group's is among
    them, drawn without replacement. At least 1 and at most min(g, k).
    """
    groups, experts, chosen = np.broadcast_arrays(groups, experts, chosen)
    missed = np.ones(groups.shape)
    others = experts - experts / groups
    for i in range(int(np.max(chosen, initial=0.0))):
        step = np.divide(others - i, experts - i, out=np.zeros(groups.shape), where=experts > i)
        missed = missed * np.where(i < chosen, np.maximum(step, 0.0), 1.0)
    return np.asarray(np.where(chosen > 0, groups * (1.0 - missed), 0.0))


def sent_share(groups: Floats, experts: Floats, chosen: Floats) -> Floats:
    """Copies of a row that are sent where it goes once to each group, against one for each chosen expert; 0 to 1."""
    return np.asarray(distinct_groups(groups, experts, chosen) / np.maximum(chosen, 1.0))
