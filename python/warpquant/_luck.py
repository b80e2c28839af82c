# SPDX-License-Identifier: Apache-2.0
"""How much of the best result is the luck of many tries: Sharpe ratios that know of it, and overfitting."""

from __future__ import annotations

import dataclasses
import itertools
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ._checks import number, whole
from ._prices import Floats
from .errors import ParameterError, ShapeError

__all__ = [
    "Overfitting",
    "block_edges",
    "block_sums",
    "deflated_sharpe",
    "even",
    "expected_maximum_sharpe",
    "overfitting_of",
    "overfitting_probability",
    "probabilistic_sharpe",
]

#: Sets times splits at a time when overfitting is counted.
_CELLS = 2**22

_NORMAL = NormalDist()


def probabilistic_sharpe(
    sharpe: float, *, bars: int, benchmark: float = 0.0, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    r"""Probability that the true Sharpe ratio exceeds a benchmark, given the one observed.

    .. math:: \Phi\left(\frac{(S - S^*) \sqrt{T - 1}}{\sqrt{1 - \gamma_3 S + \frac{\gamma_4 - 1}{4} S^2}}\right)

    with the skewness :math:`\gamma_3` and the kurtosis :math:`\gamma_4` of the returns (Bailey and López de Prado
    2012).

    Parameters
    ----------
    sharpe : float
        Mean by standard deviation of the returns of a bar; an annual Sharpe ratio by the root of the bars of a year.
    bars : int
        Number of returns, from 2.
    benchmark : float, default 0
        Per bar, too.
    skew : float, default 0
        Skewness of the returns.
    kurtosis : float, default 3
        Their kurtosis, which is 3 for a normal distribution.

    Returns
    -------
    float
        In [0, 1]; NaN if a number is NaN, or the moments leave no variance (no sample has such).

    Raises
    ------
    ParameterError
        If `bars` is less than 2.

    Examples
    --------
    >>> from warpquant.evaluate import probabilistic_sharpe
    >>> round(probabilistic_sharpe(0.1, bars=252), 3)
    0.943
    """
    bars = whole("bars", bars, 2)
    variance = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if not variance > 0.0:
        return math.nan
    return 0.5 * math.erfc(-(sharpe - benchmark) * math.sqrt((bars - 1) / (2.0 * variance)))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    r"""Sharpe ratio to expect of the best of many strategies without any skill.

    .. math:: \sqrt{V} \left((1 - \gamma) \Phi^{-1}(1 - 1/N) + \gamma \Phi^{-1}(1 - 1/(N e))\right)

    with Euler's constant :math:`\gamma` (Bailey and López de Prado 2014).

    Parameters
    ----------
    trials : int
        Number of strategies tried. Those that resemble each other count for less than their number, so that taking all
        of them is on the safe side.
    variance : float
        Of their Sharpe ratios; of the annual ones for an annual result, of those per bar for one per bar.

    Returns
    -------
    float
        0 for a single trial.

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> from warpquant.evaluate import expected_maximum_sharpe
    >>> round(expected_maximum_sharpe(100, 0.5 / 250), 4)
    0.1132
    """
    trials = whole("trials", trials, 1)
    spread = math.sqrt(number("variance", variance, 0.0))
    if trials == 1:
        return 0.0
    high, higher = -_NORMAL.inv_cdf(1.0 / trials), -_NORMAL.inv_cdf(1.0 / (trials * math.e))
    return spread * ((1.0 - np.euler_gamma) * high + np.euler_gamma * higher)


def deflated_sharpe(
    sharpe: float, *, bars: int, trials: int, variance: float, skew: float = 0.0, kurtosis: float = 3.0
) -> float:
    """Probability that the best of many strategies has any skill: the deflated Sharpe ratio.

    `probabilistic_sharpe` with `expected_maximum_sharpe` as the benchmark.

    Parameters
    ----------
    sharpe : float
        Sharpe ratio per bar of the strategy that was chosen.
    bars, skew, kurtosis
        Of its returns, as in `probabilistic_sharpe`.
    trials, variance
        Number of strategies tried, and variance of their Sharpe ratios per bar.

    Returns
    -------
    float
        In [0, 1]. Values below 0.95 or so are what luck alone may bring.

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    The example of the paper: 2.5 a year of 250 days, over 5 years, the best of 100 with a variance of 1/2.

    >>> from warpquant.evaluate import deflated_sharpe
    >>> year = 250
    >>> found = deflated_sharpe(2.5 / year**0.5, bars=1250, trials=100, variance=0.5 / year, skew=-3, kurtosis=10)
    >>> round(found, 4)
    0.9004
    """
    benchmark = expected_maximum_sharpe(trials, variance)
    return probabilistic_sharpe(sharpe, bars=bars, benchmark=benchmark, skew=skew, kurtosis=kurtosis)


@dataclasses.dataclass(frozen=True)
class Overfitting:
    """How the best set in one half of the bars fares in the other, over all ways to halve them.

    Attributes
    ----------
    probability : float
        Share of the splits in which the set that is best in sample is no better than the median out of sample.
    loss_probability : float
        Share of the splits in which its Sharpe ratio out of sample is negative.
    slope : float
        Of its Sharpe ratio out of sample over that in sample, by least squares: negative if better past results go
        with worse ones to come. NaN if all in-sample values are equal.
    in_sample, out_of_sample : ndarray
        Sharpe ratios per bar of the best set of each split.
    logits : ndarray
        Log odds of its rank out of sample; 0 is the median.
    blocks, sets : int
        Blocks of bars that the splits are made of, and number of sets.
    """

    probability: float
    loss_probability: float
    slope: float
    in_sample: Floats = dataclasses.field(repr=False)
    out_of_sample: Floats = dataclasses.field(repr=False)
    logits: Floats = dataclasses.field(repr=False)
    blocks: int
    sets: int


def overfitting_probability(returns: Any, *, blocks: int = 16) -> Overfitting:
    """Probability of backtest overfitting, by combinatorially symmetric cross-validation.

    Bars are cut into an even number of blocks. For each choice of half of them, the set with the best Sharpe ratio
    there is ranked by its Sharpe ratio in the other half (Bailey, Borwein, López de Prado and Zhu 2015).

    Parameters
    ----------
    returns : array, shape (sets, bars)
        Returns of each set, from 2 sets on.
    blocks : int, default 16
        Even, from 2 to 20; 16 blocks give 12,870 splits, 10 give 252.

    Returns
    -------
    Overfitting
        The probability and what it is made of. A set without variance counts with a Sharpe ratio of 0.

    Raises
    ------
    ParameterError, ShapeError
        If an argument is not accepted.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant.evaluate import overfitting_probability
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(50, 1000))
    >>> skilled = noise + np.linspace(0, 0.3, 50)[:, None]
    >>> overfitting_probability(skilled, blocks=8).probability
    0.0
    >>> overfitting_probability(noise, blocks=8).probability > 0.2
    True
    """
    blocks = even(blocks)
    table = np.asarray(returns, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 2 * blocks:
        raise ShapeError(f"returns: have shape {table.shape}; at least 2 sets and {2 * blocks} bars are needed")
    if not np.isfinite(table).all():
        raise ParameterError("returns: hold values that are missing or infinite")
    return overfitting_of(block_edges(table.shape[1], blocks), *block_sums(table, blocks))


def even(blocks: int) -> int:
    """A number of blocks that can be halved, and in not too many ways."""
    if whole("blocks", blocks, 2) % 2 or blocks > 20:
        raise ParameterError(f"blocks: {blocks} is out of range; accepted are even numbers from 2 to 20")
    return blocks


def block_edges(bars: int, blocks: int) -> npt.NDArray[np.int64]:
    """Where blocks of about equal size begin, and where the last one ends."""
    return np.linspace(0, bars, blocks + 1).astype(np.int64)


def block_sums(returns: Floats, blocks: int) -> tuple[Floats, Floats]:
    """Sums of returns and of their squares in each block: (sets, blocks) each."""
    starts = block_edges(returns.shape[1], blocks)[:-1]
    return np.add.reduceat(returns, starts, axis=1), np.add.reduceat(returns * returns, starts, axis=1)


def _sharpe_of(count: Floats, total: Floats, squares: Floats) -> Floats:
    """Sharpe ratios per bar; 0 without variance."""
    mean = total / count
    variance = (squares - count * mean * mean) / (count - 1)
    flat = variance <= 1e-14 * squares / count  # what rounding leaves of none
    sharpe: Floats = np.where(flat, 0.0, mean / np.sqrt(np.where(flat, 1.0, variance)))
    return sharpe


def overfitting_of(edges: npt.NDArray[np.int64], sums: Floats, squares: Floats) -> Overfitting:
    """The same from sums over blocks, which are all that a Sharpe ratio of some of them takes."""
    sets, blocks = sums.shape
    sizes = np.diff(edges).astype(np.float64)
    splits = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    chosen = np.zeros((len(splits), blocks))
    np.put_along_axis(chosen, splits, 1.0, axis=1)
    inside, outside, logits = (np.empty(len(splits)) for _ in range(3))
    size = max(1, _CELLS // sets)
    for start in range(0, len(splits), size):
        some = slice(start, start + size)
        half = chosen[some].T
        inner = _sharpe_of(sizes @ half, sums @ half, squares @ half)
        outer = _sharpe_of(sizes @ (1 - half), sums @ (1 - half), squares @ (1 - half))
        best = inner.argmax(axis=0)
        at = np.arange(len(best))
        inside[some], outside[some] = inner[best, at], outer[best, at]
        less, equal = (outer < outside[some]).sum(axis=0), (outer == outside[some]).sum(axis=0)
        rank = (less + (equal + 1) / 2) / (sets + 1)
        logits[some] = np.log(rank / (1 - rank))
    spread = inside - inside.mean()
    slope = float(spread @ outside / (spread @ spread)) if np.ptp(inside) > 0 else math.nan
    return Overfitting(
        float((logits <= 0).mean()), float((outside < 0).mean()), slope, inside, outside, logits, blocks, sets
    )
