# SPDX-License-Identifier: Apache-2.0
"""Series as short text: whole numbers of a decimal unit, differences, byte planes, deflate, base64.

Neighbouring values of averages and signals differ little, so most bytes of the differences are zero and few are left
after deflate. `unpack` in data.js is the other direction.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from warpquant._prices import Times

#: Stands for a missing value; sums and differences are modulo 2**32, so it needs no care.
MISSING = -(2**31)
_MOST = 2**31 - 1


class Packed(TypedDict):
    """Series of one length: value = code / 10**decimals."""

    bars: int
    decimals: list[int]
    codes: str


def _text(codes: npt.NDArray[np.int32]) -> str:
    """Codes of shape (series, bars)."""
    numbers = codes.astype("<i4").view("<u4")
    differences = np.diff(numbers, axis=1, prepend=numbers.dtype.type(0))
    planes = np.ascontiguousarray(differences).view(np.uint8).reshape(*codes.shape, 4).transpose(2, 0, 1)
    return base64.b64encode(zlib.compress(planes.tobytes(), 7)).decode("ascii")


def pack(series: Sequence[npt.ArrayLike], decimals: Sequence[int]) -> Packed:
    """Series rounded to so many decimals each; what is not finite or out of range is missing."""
    values = np.array(series, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * 10.0 ** np.array(decimals, dtype=np.float64)[:, None])
        fits = abs(scaled) <= _MOST
    codes = np.where(fits, scaled, MISSING).astype(np.int32)
    return {"bars": values.shape[1], "decimals": list(decimals), "codes": _text(codes)}


def price_decimals(prices: npt.NDArray[np.float64], others: Sequence[npt.NDArray[np.float64]] = ()) -> int:
    """Decimals that leave the smallest price five significant digits, as far as the largest of all values allows."""
    sizes = abs(prices[np.isfinite(prices) & (prices != 0)])
    if not sizes.size:
        return 2
    wanted = 4 - math.floor(math.log10(sizes.min()))
    largest = max(float(np.max(abs(x), where=np.isfinite(x), initial=0.0)) for x in (prices, *others))
    return max(-300, min(wanted, 8 - math.floor(math.log10(largest)), 300))


def pack_times(times: Times | None) -> dict[str, Any] | None:
    """Times as whole steps from the first: of milliseconds, or of one for whole numbers; None if they are not known."""
    if times is None or not len(times):
        return None
    dates = times.dtype.kind == "M"
    numbers = (times.astype("datetime64[ms]") if dates else times).astype(np.int64)
    known = numbers != np.iinfo(np.int64).min
    if not known.any():
        return None
    start = int(numbers[known][0])
    units = (86_400_000, 60_000, 1_000, 1) if dates else (1,)
    step = next(unit for unit in units if not np.any(numbers[known] % unit))
    while int(abs(numbers[known] - start).max()) // step >= _MOST:
        step *= 10
    codes = np.where(known, (numbers - start) // step, MISSING).astype(np.int32)
    return {"start": start, "step": step, "dates": dates, "codes": _text(codes[None])}
