"""Tables of embeddings that the hosts hold and look up, beside chips that compute the rest."""

from __future__ import annotations

from typing import Final

from simulator.errors import InputError

#: One look-up with its sparse update by one process of a host [s]: random reads and writes of a row and of its
#: optimizer state. From Wide & Deep on Ascend 910, 1 and 8 processes (MindSpore 0.6, its benchmark page); runs of 16
#: and 32 processes, not used for it, then come out within 2 %. Plausible: 1e-7 to 1e-6.
HOST_ROW_S: Final = 3.4e-7
#: Rate at which a process sums what all processes looked up [B/s]; from the same runs. Plausible: 2e9 to 2e10.
HOST_SUM_BYTE_PER_S: Final = 6.7e9


def host_table_s(*, own_rows: float, all_rows: float, row_byte: float) -> float:
    """Seconds that a step's look-ups and updates take where every process holds a slice of the table on its host.

    .. math:: t = r_{own}\\, t_{row} + r_{all}\\, w / B

    Parameters
    ----------
    own_rows
        Rows that one process looks up and updates in a step: those of its slice, on average those of its own samples.
    all_rows
        Rows of all processes' samples: each process makes a table of them, zeros where a row is not in its slice, and
        the processes sum these.
    row_byte
        Bytes of a row.

    Leaves out: rows that samples share, and any overlap with the chips: they wait for the rows and hosts wait for the
    gradients.
    """
    if min(own_rows, all_rows, row_byte) < 0:
        raise InputError(f"host tables: rows and bytes are 0 or more, not {own_rows!r}, {all_rows!r}, {row_byte!r}.")
    return own_rows * HOST_ROW_S + all_rows * row_byte / HOST_SUM_BYTE_PER_S
