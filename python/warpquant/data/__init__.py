# SPDX-License-Identifier: Apache-2.0
"""Sample data that comes with the package."""

from __future__ import annotations

import functools
import gzip
import importlib.resources
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PricePanel", "sp500_20"]


class PricePanel(Mapping[str, npt.NDArray[np.float64]]):
    """Closes of several symbols on common dates.

    A mapping from symbol to its closes, which every function of the package takes as it is.

    Attributes
    ----------
    symbols : tuple of str
        Names, in the order of the rows of `close`.
    dates : ndarray of datetime64[D], shape (bars,)
        Dates of the bars.
    close : ndarray of float64, shape (symbols, bars)
        Closes; read-only.
    """

    def __init__(
        self, symbols: tuple[str, ...], dates: npt.NDArray[np.datetime64], close: npt.NDArray[np.float64]
    ) -> None:
        self.symbols = symbols
        self.dates = dates
        self.close = close
        self._rows = {symbol: row for row, symbol in enumerate(symbols)}

    @property
    def shape(self) -> tuple[int, int]:
        """Number of symbols and of bars."""
        return len(self.symbols), len(self.dates)

    def __getitem__(self, symbol: str) -> npt.NDArray[np.float64]:
        series: npt.NDArray[np.float64] = self.close[self._rows[symbol]]
        return series

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def __len__(self) -> int:
        return len(self.symbols)

    def __repr__(self) -> str:
        return f"PricePanel({len(self)} symbols, {self.dates[0]} .. {self.dates[-1]}, {len(self.dates)} bars)"

    def to_pandas(self) -> Any:
        """The closes as a pandas DataFrame: dates as index, symbols as columns."""
        import pandas as pd

        return pd.DataFrame(self.close.T, index=pd.DatetimeIndex(self.dates, name="date"), columns=list(self.symbols))


@functools.cache
def sp500_20() -> PricePanel:
    """Daily closes of 20 large US stocks, 1990 to 2022, adjusted for splits and dividends, in USD.

    From the example data of skfolio (BSD-3-Clause; the notice lies beside the file). No value is missing.

    Returns
    -------
    PricePanel
        20 symbols, 8313 bars.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.data.sp500_20()
    PricePanel(20 symbols, 1990-01-02 .. 2022-12-28, 8313 bars)
    """
    source = importlib.resources.files(__package__) / "sp500_20_close_1990_2022.csv.gz"
    with source.open("rb") as packed:
        lines = gzip.decompress(packed.read()).decode("ascii").splitlines()
    symbols = tuple(lines[0].split(",")[1:])
    rows = [line.split(",") for line in lines[1:] if line]
    dates = np.array([row[0] for row in rows], dtype="datetime64[D]")
    close = np.ascontiguousarray(np.array([row[1:] for row in rows], dtype=np.float64).T)
    close.flags.writeable = False
    dates.flags.writeable = False
    return PricePanel(symbols, dates, close)
