# SPDX-License-Identifier: Apache-2.0
"""Numbers for Monte Carlo that are functions of seed, path and dimension: the same bits on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from warpquant import _core, config
from warpquant._checks import choice, whole
from warpquant.errors import DTypeError, ParameterError, ShapeError

__all__ = ["brownian", "inverse_normal_cdf", "normals", "philox", "sobol", "uniforms"]

#: Dimensions of Sobol points.
SOBOL_DIMS: int = _core.SOBOL_DIMS

_SAMPLINGS = ("philox", "sobol")
_SCRAMBLES = ("owen", "shift", "none")
_MOST_DIMS = 1 << 20


@dataclass(frozen=True)
class Plan:
    """How many paths, from which numbers: the arguments that all functions of paths have, checked."""

    paths: int
    seed: int
    sampling: str
    scramble: str
    replicates: int
    bridge: bool
    offset: int
    num_threads: int | None

    @staticmethod
    def of(
        paths: Any,
        seed: Any,
        dims: int,
        *,
        sampling: Any = "philox",
        scramble: Any = "owen",
        replicates: Any = 1,
        bridge: Any = None,
        offset: Any = 0,
        num_threads: int | None = None,
        paths_name: str = "paths",
    ) -> Plan:
        """Checked arguments; `bridge` None means: for Sobol points."""
        choice("sampling", sampling, _SAMPLINGS)
        choice("scramble", scramble, _SCRAMBLES)
        count = whole(paths_name, paths, 1, 1 << 40)
        copies = 1
        if sampling == "sobol":
            copies = whole("replicates", replicates, 1, 1 << 16)
            if count % copies:
                raise ParameterError(f"{paths_name}: {count} is no multiple of the {copies} replicates")
            if dims > SOBOL_DIMS:
                raise ParameterError(
                    f"sampling: Sobol points have up to {SOBOL_DIMS} dimensions, but {dims} are needed; use 'philox'"
                )
        if bridge is not None and not isinstance(bridge, (bool, np.bool_)):
            raise ParameterError(f"bridge: {bridge!r} is neither None, True nor False")
        first = whole("offset", offset, 0, 1 << 62)
        if sampling == "sobol" and first + count // copies > 1 << 32:
            raise ParameterError("paths: a Sobol sequence has 2**32 points")
        return Plan(
            count,
            whole("seed", seed, 0, (1 << 64) - 1),
            sampling,
            scramble,
            copies,
            sampling == "sobol" if bridge is None else bool(bridge),
            first,
            num_threads,
        )

    def pack(self) -> tuple[Any, ...]:
        """The tuple that the core takes."""
        threads, simd = config._execution(self.num_threads)
        return (
            self.sampling,
            self.scramble,
            self.seed,
            self.offset,
            self.paths,
            self.replicates,
            self.bridge,
            threads,
            simd,
        )


def fractions(times: Any, name: str, *, least_first: float) -> list[float]:
    """Ascending dates as a list.

    Raises
    ------
    DTypeError, ShapeError, ParameterError
        If they are no numbers, not in one dimension, or do not ascend.
    """
    try:
        array = np.asarray(times, dtype=np.float64)
    except (TypeError, ValueError):
        raise DTypeError(f"{name}: holds values that are no numbers") from None
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"{name}: has shape {array.shape}; accepted is one dimension with at least one date")
    steps = np.diff(array)
    if not (np.isfinite(array).all() and array[0] >= least_first and (steps > 0).all()):
        raise ParameterError(f"{name}: must be finite and ascend, from {least_first:g} on")
    return [float(t) for t in array]


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Four random words of a counter and a key: Philox4x32-10.

    Parameters
    ----------
    counter : sequence of 4 int
        Words of 32 bits.
    key : sequence of 2 int
        Words of 32 bits.

    Returns
    -------
    tuple of 4 int
        Words of 32 bits.

    Raises
    ------
    ParameterError
        If a word is missing, or is none.

    Notes
    -----
    Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC11 (2011). Path p, dimension d of
    `normals` is made from the words of the counter (d // 2, 0, p mod 2**32, p // 2**32) and the key (seed mod 2**32,
    seed // 2**32): the first two words for even d, the other two for odd d.

    Examples
    --------
    >>> [hex(word) for word in warpquant.options.random.philox((0, 0, 0, 0), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    words = []
    for name, given, count in (("counter", counter, 4), ("key", key, 2)):
        listed = list(given)
        if len(listed) != count:
            raise ParameterError(f"{name}: has {len(listed)} words; accepted are {count}")
        words.append([whole(name, w, 0, (1 << 32) - 1) for w in listed])
    made: tuple[int, int, int, int] = _core.mc_philox(*words)
    return made


def uniforms(
    paths: int,
    dims: int,
    *,
    seed: int = 0,
    offset: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    num_threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """Numbers evenly distributed within (0, 1), of 52 bits, neither 0 nor 1.

    Parameters
    ----------
    paths, dims : int
        Shape of the result.
    seed : int
        Up to 64 bits: the key.
    offset : int
        Number of the first path, so that parts of a run can be made apart.
    sampling : {'philox', 'sobol'}
        Random numbers, or points of a Sobol sequence (up to 1024 dimensions).
    scramble : {'owen', 'shift', 'none'}
        Of Sobol points: a random permutation of digits that keeps the points a net, the same shift of digits for all
        points, or nothing (32 digits, which are not random).
    num_threads : int, optional
        CPU threads; the result does not depend on them.

    Returns
    -------
    ndarray, float64, shape (paths, dims)

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> whole = warpquant.options.random.uniforms(100, 3, seed=7)
    >>> part = warpquant.options.random.uniforms(40, 3, seed=7, offset=60)
    >>> bool((part == whole[60:]).all())
    True
    """
    return _numbers(False, paths, dims, seed, offset, sampling, scramble, num_threads)


def normals(
    paths: int,
    dims: int,
    *,
    seed: int = 0,
    offset: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    num_threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """Independent standard normal numbers: `inverse_normal_cdf` of `uniforms`.

    Parameters
    ----------
    paths, dims : int
        Shape of the result.
    seed : int
        Up to 64 bits: the key.
    offset : int
        Number of the first path, so that parts of a run can be made apart.
    sampling : {'philox', 'sobol'}
        Random numbers, or points of a Sobol sequence (up to 1024 dimensions).
    scramble : {'owen', 'shift', 'none'}
        Of Sobol points, as for `uniforms`.
    num_threads : int, optional
        CPU threads; the result does not depend on them.

    Returns
    -------
    ndarray, float64, shape (paths, dims)

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Examples
    --------
    >>> z = warpquant.options.random.normals(100_000, 2, seed=1)
    >>> bool((abs(z.mean(axis=0)) < 0.01).all() and (abs(z.std(axis=0) - 1) < 0.01).all())
    True
    """
    return _numbers(True, paths, dims, seed, offset, sampling, scramble, num_threads)


def _numbers(
    normal: bool, paths: Any, dims: Any, seed: Any, offset: Any, sampling: Any, scramble: Any, threads: int | None
) -> np.ndarray[Any, Any]:
    width = whole("dims", dims, 1, _MOST_DIMS)
    if paths == 0:
        return np.empty((0, width))
    plan = Plan.of(paths, seed, width, sampling=sampling, scramble=scramble, offset=offset, num_threads=threads)
    made: np.ndarray[Any, Any] = _core.mc_numbers(plan.pack(), normal, width)
    return made


def sobol(
    points: int,
    dims: int,
    *,
    seed: int = 0,
    offset: int = 0,
    scramble: str = "owen",
    num_threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """Points of a Sobol sequence within (0, 1), in the order of their numbers.

    Parameters
    ----------
    points, dims : int
        Shape of the result; up to 1024 dimensions. A power of two of points is what makes them even.
    seed : int
        Of the scrambling.
    offset : int
        Number of the first point.
    scramble : {'owen', 'shift', 'none'}
        As for `uniforms`. Points that are not scrambled are in the middle of their cells, 2**-33 above the usual ones.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    ndarray, float64, shape (points, dims)

    Raises
    ------
    ParameterError
        If an argument is out of range.

    Notes
    -----
    Direction numbers: Joe and Kuo, Constructing Sobol sequences with better two-dimensional projections, SIAM J. Sci.
    Comput. 30 (2008), their file new-joe-kuo-6.

    Examples
    --------
    >>> warpquant.options.random.sobol(4, 2, scramble="none").round(6)
    array([[0.  , 0.  ],
           [0.5 , 0.5 ],
           [0.25, 0.75],
           [0.75, 0.25]])
    """
    return _numbers(False, points, dims, seed, offset, "sobol", scramble, num_threads)


def brownian(
    paths: int,
    times: Any,
    *,
    seed: int = 0,
    offset: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    bridge: bool | None = None,
    num_threads: int | None = None,
) -> np.ndarray[Any, Any]:
    """Paths of a standard Brownian motion.

    Parameters
    ----------
    paths : int
        Number of paths.
    times : array_like, shape (dates,)
        Ascending, above 0.
    seed : int
        Up to 64 bits.
    offset : int
        Number of the first path.
    sampling : {'philox', 'sobol'}
        Random numbers, or Sobol points (up to 1024 dates).
    scramble : {'owen', 'shift', 'none'}
        Of Sobol points, as for `uniforms`.
    bridge : bool, optional
        Draw the last date first, then the middle of each gap, so that the first dimensions matter most; None: if
        `sampling` is 'sobol'.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    ndarray, float64, shape (paths, dates)

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range.

    Examples
    --------
    >>> w = warpquant.options.random.brownian(4096, [0.25, 0.5, 1.0], sampling="sobol")
    >>> bool((abs(w.var(axis=0) - [0.25, 0.5, 1.0]) < 0.01).all())
    True
    """
    dates = fractions(times, "times", least_first=0.0)
    if dates[0] <= 0:
        raise ParameterError("times: must begin above 0")
    if paths == 0:
        return np.empty((0, len(dates)))
    plan = Plan.of(
        paths, seed, len(dates), sampling=sampling, scramble=scramble, bridge=bridge, offset=offset,
        num_threads=num_threads,
    )  # fmt: skip
    made: np.ndarray[Any, Any] = _core.mc_brownian(plan.pack(), dates)
    return made


def inverse_normal_cdf(p: Any, *, num_threads: int | None = None) -> Any:
    """The inverse of the normal distribution function, to 4 ulp, the same bits on every machine.

    Parameters
    ----------
    p : float or array_like
        Probabilities.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    float or ndarray, float64
        -inf at 0, inf at 1, NaN outside.

    Raises
    ------
    DTypeError
        If the argument holds no numbers.

    Examples
    --------
    >>> warpquant.options.random.inverse_normal_cdf([0.5, 0.975])
    array([0.        , 1.95996398])
    """
    try:
        array = np.asarray(p, dtype=np.float64, order="C")
    except (TypeError, ValueError):
        raise DTypeError("p: holds values that are no numbers") from None
    made: np.ndarray[Any, Any] = _core.mc_inverse_normal(array, *config._execution(num_threads))
    return float(made[()]) if array.ndim == 0 else made
