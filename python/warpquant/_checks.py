# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments. Of single values each returns the value, or raises ParameterError by its name."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection
from typing import Any

import numpy as np

from .errors import ParameterError

__all__ = ["choice", "flag", "number", "overlaps_itself", "whole"]


def choice(name: str, value: Any, accepted: Collection[str]) -> str:
    """A word out of a list."""
    if not isinstance(value, str) or value not in accepted:
        raise ParameterError(f"{name}: {value!r} is unknown; accepted are {', '.join(map(repr, accepted))}")
    return value


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within bounds."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise ParameterError(f"{name}: {value!r} is not a number")
    found = float(value)
    if not math.isfinite(found) or not low <= found <= high:
        limited = math.isfinite(low) and math.isfinite(high)
        least = f" from {low:g}" if math.isfinite(low) else ""
        accepted = f"numbers between {low:g} and {high:g}" if limited else f"finite numbers{least}"
        raise ParameterError(f"{name}: {value!r} is out of range; accepted are {accepted}")
    return found


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """A whole number within bounds; below 2**62 if there is no upper one."""
    try:
        found = operator.index(value)
    except TypeError:
        found = low - 1
    if isinstance(value, (bool, np.bool_)) or found < low or (high is not None and found > high):
        bounds = f"from {low}" if high is None else f"from {low} to {high}"
        raise ParameterError(f"{name}: {value!r} is out of range; accepted are whole numbers {bounds}")
    if high is None and found >= 2**62:
        raise ParameterError(f"{name}: {value!r} is out of range; accepted are whole numbers below 2**62")
    return found


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name}: {value!r} is not True or False")
    return bool(value)


def overlaps_itself(array: np.ndarray[Any, Any]) -> bool:
    """Whether elements of an array share a place in memory."""
    if array.size == 0:
        return False
    extent = array.itemsize
    for step, size in sorted(
        (abs(step), size) for step, size in zip(array.strides, array.shape, strict=True) if size > 1
    ):
        if step < extent:
            return True
        extent = step * (size - 1) + extent
    return False
