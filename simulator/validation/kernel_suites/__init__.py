"""The measured kernel suites, one file for each family of kernels."""

from collections.abc import Mapping
from typing import Final

from . import attention, conv, cpu, gemm, recurrent, sparse, systolic, vector
from .family import Family

#: Families by name. Where two read the same kernels, the kind of the chip decides.
FAMILIES: Final[Mapping[str, Family]] = {
    "gemm": gemm.FAMILY,
    "conv": conv.FAMILY,
    "recurrent": recurrent.FAMILY,
    "attention": attention.FAMILY,
    "vector": vector.FAMILY,
    "sparse": sparse.FAMILY,
    "cpu": cpu.FAMILY,
    "systolic": systolic.FAMILY,
}
