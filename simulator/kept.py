"""What follows from one object alone, worked out once and forgotten with it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


def once_per_object(function: Callable[[KeyT], ValueT]) -> Callable[[KeyT], ValueT]:
    """A function of one object whose results are kept as long as that object is.

    Objects are told apart by identity, so that one that holds arrays needs no hash of them (``eq=False`` of a data
    class). A result must not refer to the object, or neither is ever freed.
    """
    kept: WeakKeyDictionary[KeyT, ValueT] = WeakKeyDictionary()

    @wraps(function)
    def recalled(one: KeyT) -> ValueT:
        try:
            return kept[one]
        except KeyError:
            return kept.setdefault(one, function(one))

    return recalled
