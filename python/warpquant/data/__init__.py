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

__all__ = ["PricePanel", "goog_options", "sp500_20"]


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


@functools.cache
def _goog_columns() -> dict[str, npt.NDArray[Any]]:
    source = importlib.resources.files(__package__) / "goog_options_20151224.csv.gz"
    with source.open("rb") as packed:
        lines = gzip.decompress(packed.read()).decode("ascii").splitlines()
    names, *rows = (line.split(",") for line in lines)
    columns: dict[str, npt.NDArray[Any]] = {}
    for name, texts in zip(names, zip(*rows, strict=True), strict=True):
        if name == "expiry":
            columns[name] = np.array(texts, dtype="datetime64[D]")
        elif name == "right":
            columns[name] = np.array(texts, dtype="U1")
        else:
            columns[name] = np.array([text or "nan" for text in texts], dtype=np.float64)
    columns["spot"] = np.full(len(rows), _GOOG_SPOT)
    columns["time"] = np.full(len(rows), np.datetime64("2015-12-24T12:00", "ms"))
    for values in columns.values():
        values.flags.writeable = False
    return columns


#: Middle of the last bid and ask of the share before noon.
_GOOG_SPOT = 750.845


def goog_options() -> dict[str, npt.NDArray[Any]]:
    """Quotes of all options on GOOG on 24 December 2015 at noon in New York, in USD.

    From the sample data of Lean (Apache-2.0; the notice lies beside the file): of each of 2,192 contracts the last bid
    and ask before noon; NaN where that side did not quote. The options are American.

    Returns
    -------
    dict of str to ndarray
        'expiry' (dates), 'strike', 'right' ('C' or 'P'), 'bid', 'bid_size', 'ask', 'ask_size', 'spot', 'time';
        read-only.

    Examples
    --------
    >>> import warpquant
    >>> quotes = warpquant.data.goog_options()
    >>> len(quotes["strike"]), float(quotes["spot"][0])
    (2192, 750.845)
    """
    return dict(_goog_columns())
