# SPDX-License-Identifier: Apache-2.0
"""Libraries with the averages as functions of one contiguous series."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np


class Library:
    """A library whose averages take a series and a length; panels are loops over rows, as its users write them."""

    def __init__(self, name: str, calls: dict[str, Callable[[Any, int], Any]]) -> None:
        self.name = name
        self._calls = calls

    def one(self, kind: str, x: Any, length: int) -> Callable[[], Any] | None:
        call = self._calls.get(kind)
        return call and (lambda: call(x, length))

    def panel(self, kind: str, x: Any, length: int, threads: int) -> Callable[[], Any] | None:
        call = self._calls.get(kind)
        if call is None or threads != 1:
            return None
        out = np.empty_like(x)

        def run() -> Any:
            for row, into in zip(x, out, strict=True):
                result = call(row, length)
                into[len(into) - len(result) :] = result
            return out

        return run


def _imported(module: str) -> Any | None:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


#: The names of Tulip Indicators, which its relatives share.
_TULIP = dict(sma="sma", ema="ema", wma="wma", hma="hma", dema="dema", tema="tema", kama="kama", lsma="linreg",
              rma="wilders", roc="roc")  # fmt: skip


def _talib() -> Library | None:
    lib = _imported("talib")
    names = dict(sma="SMA", ema="EMA", wma="WMA", hma="HMA", dema="DEMA", tema="TEMA", kama="KAMA", lsma="LINEARREG",
                 rma="RMA", roc="ROC")  # fmt: skip
    return lib and Library("TA-Lib", {k: getattr(lib, v) for k, v in names.items() if hasattr(lib, v)})


def _tulipy() -> Library | None:
    lib = _imported("tulipy")
    return lib and Library("tulipy", {k: getattr(lib, v) for k, v in _TULIP.items()})


def _tulip_rs() -> Library | None:
    lib = _imported("tulip_rs")
    if lib is None:
        return None

    def call(name: str) -> Callable[[Any, int], Any]:
        indicator = getattr(lib.indicators, name).indicator
        return lambda x, length: np.asarray(indicator([x], [float(length)])[0][0])

    return Library("tulip-rs", {k: call(v) for k, v in _TULIP.items()})


def _vector_ta() -> Library | None:
    lib = _imported("vector_ta")
    return lib and Library("vector-ta", {k: getattr(lib, v) for k, v in _TULIP.items()})


def _kand() -> Library | None:
    lib = _imported("kand")
    names = ("sma", "ema", "wma", "dema", "tema", "rma", "roc")
    first = lambda f: lambda x, length: r[0] if isinstance(r := f(x, length), tuple) else r  # noqa: E731
    return lib and Library("kand", {name: first(getattr(lib, name)) for name in names})


def _numta() -> Library | None:
    lib = _imported("numta")
    names = dict(sma="SMA", ema="EMA", wma="WMA", dema="DEMA", tema="TEMA", kama="KAMA", lsma="LINEARREG", roc="ROC")
    return lib and Library("numta", {k: getattr(lib, v) for k, v in names.items()})


def _bottleneck() -> Library | None:
    lib = _imported("bottleneck")
    return lib and Library("bottleneck", {"sma": lambda x, length: lib.move_mean(x, length)})


def _pandas() -> Library | None:
    lib = _imported("pandas")
    return lib and Library(
        "pandas",
        {
            "sma": lambda x, length: lib.Series(x).rolling(length).mean().to_numpy(),
            "ema": lambda x, length: lib.Series(x).ewm(span=length, adjust=False).mean().to_numpy(),
            "roc": lambda x, length: lib.Series(x).pct_change(length).to_numpy(),
        },
    )


def _polars() -> Library | None:
    lib = _imported("polars")
    return lib and Library(
        "polars",
        {
            "sma": lambda x, length: lib.Series(x).rolling_mean(length).to_numpy(),
            "ema": lambda x, length: lib.Series(x).ewm_mean(span=length, adjust=False).to_numpy(),
        },
    )


MAKERS = (_talib, _tulipy, _tulip_rs, _vector_ta, _kand, _numta, _bottleneck, _pandas, _polars)
