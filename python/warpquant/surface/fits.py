# SPDX-License-Identifier: Apache-2.0
"""Fits of slices and proofs about them (docs/surface/svi.md, docs/surface/sabr.md)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from warpquant import _checks, _core, config
from warpquant._containers import unpack
from warpquant._devices import resolve
from warpquant.errors import DTypeError, ParameterError, ShapeError

from . import models

__all__ = [
    "CERTIFICATE_STATUS",
    "FIT_STATUS",
    "SABR_FIT_STATUS",
    "Certificate",
    "Crossings",
    "SabrFit",
    "SviFit",
    "certify_svi",
    "fit_sabr",
    "fit_svi",
    "svi_crossings",
    "vega_weights",
]

Floats = npt.NDArray[np.float64]

#: What the codes of `SviFit.status` mean, by code.
FIT_STATUS = ("ok", "reduced: m and sigma were not fitted", "too few quotes", "moved to be free of arbitrage")
#: What the codes of `SabrFit.status` mean, by code.
SABR_FIT_STATUS = ("ok", "invalid forward, expiry or beta", "too few quotes")
#: What the codes of certificates mean, by code.
CERTIFICATE_STATUS = ("free of butterfly arbitrage", "butterfly arbitrage", "no slice", "unproven")
_NAMES = ("a", "b", "rho", "m", "sigma")


def floats(values: Any, name: str) -> Floats:
    """A compact array of float64.

    Raises
    ------
    DTypeError
        If they are no numbers.
    """
    try:
        return np.asarray(values, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{name}: cannot read numbers from {type(values).__name__} ({error})") from error


def _host(values: Any) -> Any:
    """An array, of a device a copy."""
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def plain(values: Any) -> Any:
    """A number where there is one."""
    return float(values) if np.ndim(values) == 0 else values


def _is_list_of_smiles(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and len(values) > 0 and np.ndim(values[0]) == 1


def ragged(values: Any, name: str, offsets: Any) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Smiles as one flat array and where each begins: from that, a list of arrays, or a table of one smile a row.

    Raises
    ------
    ShapeError
        If offsets do not fit.
    """
    if offsets is None and _is_list_of_smiles(values):
        parts = [floats(part, name) for part in values]
        return np.concatenate(parts), np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    flat = floats(values, name)
    return flat.reshape(-1), begins(flat.shape, name, offsets)


def begins(shape: tuple[int, ...], name: str, offsets: Any) -> npt.NDArray[np.int64]:
    """Where each smile of an array begins.

    Raises
    ------
    ShapeError, DTypeError
        If offsets do not fit, or are no numbers of the host.
    """
    if offsets is None:
        if len(shape) not in (1, 2):
            raise ShapeError(f"{name}: has {len(shape)} dimensions; accepted are one smile, or a table of one a row")
        if len(shape) == 1:
            return np.array((0, shape[0]), dtype=np.int64)
        return np.arange(shape[0] + 1, dtype=np.int64) * shape[1]
    if len(shape) != 1:
        raise ShapeError(f"{name}: has {len(shape)} dimensions; with offsets it must be one flat array")
    try:
        starts = np.ascontiguousarray(offsets)
    except (TypeError, ValueError) as error:
        raise DTypeError(f"offsets: cannot read numbers from {type(offsets).__name__} ({error})") from error
    if starts.ndim != 1 or starts.dtype.kind not in "iu" or len(starts) == 0:
        raise ShapeError("offsets: must be whole numbers in one dimension, one more than there are smiles")
    starts = starts.astype(np.int64)
    if starts[0] != 0 or starts[-1] != shape[0] or (np.diff(starts) < 0).any():
        raise ShapeError(f"offsets: must rise from 0 to {shape[0]}, the number of quotes; they go {_some(starts)}")
    return starts


def _some(values: npt.NDArray[Any]) -> str:
    shown = ", ".join(str(v) for v in values[:4].tolist())
    return f"{shown}, ..., {values[-1]}" if len(values) > 4 else shown


def _layout(values: Any) -> tuple[int, ...]:
    """Quotes of each smile; of a flat array, of all."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return (len(values),)
    if _is_list_of_smiles(values):
        return tuple(len(part) for part in values)
    shape = np.shape(values)
    return (shape[-1],) * shape[0] if len(shape) == 2 else shape or (1,)


def alike(values: Any, name: str, like: Floats, default: float | None = None, of: Any = None) -> Floats:
    """The flat array that goes with another one, which was `of` before it was flat.

    Raises
    ------
    ShapeError
        If there are not as many quotes, in all or in each smile.
    """
    if values is None:
        assert default is not None
        return np.full(len(like), default)
    if values.__class__ is np.ndarray is of.__class__ and values.dtype == np.float64 and values.shape == of.shape:
        return np.ascontiguousarray(values).reshape(-1)
    if _is_list_of_smiles(values):
        flat = np.concatenate([floats(part, name) for part in values])
    else:
        flat = floats(values, name).reshape(-1)
    if len(flat) != len(like):
        raise ShapeError(f"{name}: has {len(flat)} quotes, but k has {len(like)}")
    if of is not None and _layout(values) != _layout(of):
        raise ShapeError(f"{name}: has as many quotes as k, but in other smiles: both must have the same rows")
    return flat


def each_smile(values: Any, name: str, smiles: int) -> Floats:
    """One number for each smile.

    Raises
    ------
    ShapeError
        If they are neither one number nor one for each.
    """
    if values.__class__ is float or values.__class__ is int:
        try:
            return np.full(smiles, float(values))
        except OverflowError as error:
            raise ParameterError(f"{name}: {error}") from None
    try:
        return np.ascontiguousarray(np.broadcast_to(floats(values, name), (smiles,)))
    except ValueError as error:
        raise ShapeError(f"{name}: has shape {np.shape(values)}; accepted are a number and ({smiles},)") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Certificate:
    """Proof about the least value of g of slices.

    Attributes
    ----------
    min_g : ndarray of float64, shape (slices,)
        The least value of g over all strikes.
    at : ndarray of float64, shape (slices,)
        The k at which it is; infinite where g falls to it in a wing.
    bound : ndarray of float64, shape (slices,)
        What g is proven to stay above, ``1e-9 (1 + abs(min_g))`` below it.
    status : ndarray of int8, shape (slices,)
        0 free of butterfly arbitrage, 1 arbitrage, 2 no slice (parameters outside the domain, such as a fit's rho of 1
        or -1, or variance that is not positive), 3 unproven (sizes whose powers a double does not hold; `min_g` may be
        NaN); `CERTIFICATE_STATUS` has them in words.
    """

    min_g: Floats
    at: Floats
    bound: Floats
    status: npt.NDArray[np.int8]

    @property
    def free(self) -> npt.NDArray[np.bool_]:
        """Whether there is no butterfly arbitrage, by a proof; in memory of the host."""
        return np.asarray(_host(self.status) == 0)


@dataclasses.dataclass(frozen=True, eq=False)
class Crossings:
    """Where pairs of slices cross.

    Attributes
    ----------
    count : ndarray of int8, shape (pairs,)
        How often; -1 where one is no slice.
    at : ndarray of float64, shape (pairs, 4)
        The k of each, in ascending order; NaN beyond those there are.
    slack, slack_at : ndarray of float64, shape (pairs,)
        The least w of the later slice less that of the earlier, and where; negative where there is calendar arbitrage.
    """

    count: npt.NDArray[np.int8]
    at: Floats
    slack: Floats
    slack_at: Floats


@dataclasses.dataclass(frozen=True, eq=False)
class SviFit:
    """Slices nearest to quotes.

    Attributes
    ----------
    a, b, rho, m, sigma : ndarray of float64, shape (smiles,)
        Raw parameters; NaN where there are too few quotes.
    rmse : ndarray of float64, shape (smiles,)
        Weighted root mean squared error of w.
    status : ndarray of int8, shape (smiles,)
        0 fitted; 1 reduced, from three or four quotes, with m and sigma as given or typical; 2 too few quotes; 3 moved
        away from the best fit, to be free of butterfly arbitrage. `FIT_STATUS` has them in words.
    quotes : ndarray of int64, shape (smiles,)
        Quotes that were used: those with a finite k, and w and a weight from 1e-100 to 1e100.
    rounds : ndarray of int64, shape (smiles,)
        Steps from the starts.
    certificate : Certificate
        Proof of the least g of each.
    """

    a: Floats
    b: Floats
    rho: Floats
    m: Floats
    sigma: Floats
    rmse: Floats
    status: npt.NDArray[np.int8]
    quotes: npt.NDArray[np.int64]
    rounds: npt.NDArray[np.int64]
    certificate: Certificate

    def __len__(self) -> int:
        return len(self.a)

    @property
    def parameters(self) -> Floats:
        """a, b, rho, m and sigma of each smile, shape (smiles, 5)."""
        return np.stack([self.a, self.b, self.rho, self.m, self.sigma], axis=1)

    def w(self, k: Any, smile: int = 0) -> Any:
        """Total variance of one smile at k."""
        return models.svi(k, *self.parameters[smile].tolist())["w"]

    def __repr__(self) -> str:
        fitted, free = int(np.sum(_host(self.status) != 2)), int(np.sum(self.certificate.free))
        return f"SviFit({len(self):,} smiles, {fitted:,} fitted, {free:,} without arbitrage)"


def fit_svi(
    k: Any, w: Any, weights: Any = None, offsets: Any = None, *, start: Any = None, no_arbitrage: bool = False,
    num_threads: int | None = None, device: str | None = None, stream: Any = None,
) -> SviFit:  # fmt: skip
    """SVI slices nearest to quotes, of thousands of smiles in a call.

    Weighted least squares in total variance over b >= 0, ``abs(rho) <= 1``, ``b (1 + abs(rho)) <= 2`` and a box of m
    and sigma that is wide beside the quotes. For given m and sigma a slice is linear, so only those two are searched
    for: 80 places are looked at, eight are followed by variable projection side by side, the best is taken to its last
    digits. The same bits with any number of threads and on any machine.

    Parameters
    ----------
    k, w : array
        ln(strike / forward) and total variance vol^2 T of quotes: of one smile, of one smile in each row (NaN where a
        row is short), a list of arrays, or all smiles in one flat array with `offsets`.
    weights : array, optional
        Of the squared errors in w; 1 by default. `vega_weights` makes some. Quotes whose weight or w is not from 1e-100
        to 1e100, or whose k is not finite, do not count.
    offsets : array of int, shape (smiles + 1,), optional
        Where each smile begins in the flat arrays, and the number of quotes.
    start : array of float, shape (smiles, 5) or (smiles, 2), optional
        Parameters of slices before (or m and sigma of them), to try too; NaN for none.
    no_arbitrage : bool, default False
        Move slices that have butterfly arbitrage to the best that has none.
    num_threads : int, optional
        CPU threads.
    device, stream
        As in :func:`warpquant.options.greeks`. Quotes of a device are compact arrays of float64, all of them there;
        results are then, too. Slices have the same bits as on the CPU; of certificates there is a look at g, with its
        least value: 1 where that is negative, else 3, unproven.

    Returns
    -------
    SviFit

    Raises
    ------
    ShapeError, DTypeError, LayoutError
        If arrays do not go together, or are no numbers.
    ParameterError
        If `no_arbitrage` is asked for on a device.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> k = np.linspace(-0.5, 0.4, 25)
    >>> fit = surface.fit_svi(k, surface.svi(k, 0.01, 0.1, -0.4, 0.05, 0.2)["w"])
    >>> [round(float(p), 6) for p in fit.parameters[0]]
    [0.01, 0.1, -0.4, 0.05, 0.2]
    >>> fit
    SviFit(1 smiles, 1 fitted, 1 without arbitrage)
    """
    one = None if isinstance(k, (list, tuple, np.ndarray)) else unpack(k, "k")
    there = None if one is None else one.device
    quotes: tuple[Any, Any, Any]
    if one is None or there is None:
        flat, starts = ragged(k, "k", offsets)
        quotes = flat, alike(w, "w", flat, of=k), None if weights is None else alike(weights, "weights", flat, of=k)
    else:
        starts, quotes = begins(tuple(one.data.shape), "k", offsets), (one.data, w, weights)
    smiles = len(starts) - 1
    first = None
    if start is not None:
        given = floats(start, "start")
        if given.ndim == 1 and smiles == 1:
            given = given[None]
        if given.shape not in ((smiles, 5), (smiles, 2)):
            raise ShapeError(f"start: has shape {np.shape(start)}; accepted are ({smiles}, 5) and ({smiles}, 2)")
        first = np.ascontiguousarray(given[:, -2:]).reshape(-1)
    threads, simd = config._execution(num_threads)
    # On its own accord nothing is sent to a device.
    asked = config._value("device") if device is None else device
    place = None
    if there is not None or stream is not None or asked not in ("auto", "cpu"):
        place = resolve(device, there, "k", None, num_threads, stream)
    places, variances, weighed = quotes
    parameters, numbers, status, proof = _core.svi_fit(
        places, variances, weighed, starts.tolist(), first, bool(no_arbitrage), threads, simd, place
    )
    if there is None:
        a, b, rho, m, sigma = parameters
        rmse, rounds, least, at, bound, used = numbers
        rounds, used = rounds.astype(np.int64), used.astype(np.int64)
    else:
        a, b, rho, m, sigma = (parameters[i] for i in range(5))
        rmse, rounds, least, at, bound, used = (numbers[i] for i in range(6))
    return SviFit(a, b, rho, m, sigma, rmse, status, used, rounds, Certificate(least, at, bound, proof))


@dataclasses.dataclass(frozen=True, eq=False)
class SabrFit:
    """SABR slices nearest to quotes.

    Attributes
    ----------
    alpha, rho, nu : ndarray of float64, shape (smiles,)
        Parameters; NaN where the status is not 0.
    beta, shift : ndarray of float64, shape (smiles,)
        As they were given.
    variant : str
        Of the volatility, as in :func:`sabr`.
    rmse : ndarray of float64, shape (smiles,)
        Weighted root mean squared error of the volatility.
    status : ndarray of int8, shape (smiles,)
        0 fitted; 1 invalid forward (with its shift), expiry or beta; 2 fewer than three different strikes
        above minus the shift. `SABR_FIT_STATUS` has them in words.
    rounds : ndarray of int64, shape (smiles,)
        Steps from the starts.
    forward, expiry : ndarray of float64, shape (smiles,)
        As they were given.
    """

    alpha: Floats
    rho: Floats
    nu: Floats
    beta: Floats
    shift: Floats
    variant: str
    rmse: Floats
    status: npt.NDArray[np.int8]
    rounds: npt.NDArray[np.int64]
    forward: Floats
    expiry: Floats

    def __len__(self) -> int:
        return len(self.alpha)

    def check(self) -> Floats:
        """The strike of each smile below which its density is negative, as :func:`sabr_floor`; NaN where it is not."""
        from .sabr_pde import sabr_floor

        floors: Floats = sabr_floor(
            self.forward, self.expiry, self.alpha, self.beta, self.rho, self.nu, variant=self.variant, shift=self.shift
        )
        return floors


_VARIANTS = ("hagan", "obloj", "normal")


def fit_sabr(
    forward: Any, strike: Any, expiry: Any, vol: Any, weights: Any = None, offsets: Any = None, *, beta: Any = 1.0,
    shift: Any = 0.0, variant: str = "hagan", start: Any = None, num_threads: int | None = None,
) -> SabrFit:  # fmt: skip
    """SABR slices nearest to volatilities, of thousands of smiles in a call.

    Weighted least squares in volatility over alpha, rho and nu, beta given: Levenberg and Marquardt's method with exact
    derivatives in (ln alpha, atanh rho, ln nu), from eight starts side by side. The same bits with any number of
    threads and on any machine.

    Parameters
    ----------
    forward, expiry : float or array, shape (smiles,)
        Forward price and years of each smile.
    strike, vol : array
        Quotes: of one smile, of one in each row (NaN where a row is short), a list of arrays, or all in one flat array
        with `offsets`. Volatilities are Black's, or Bachelier's for 'normal'.
    weights : array, optional
        Of the squared errors; 1 by default. Quotes whose weight is not above 0, with a number that is not finite, a
        volatility that is not above 0 or a strike not above minus the shift do not count.
    offsets : array of int, shape (smiles + 1,), optional
        Where each smile begins in the flat arrays, and the number of quotes.
    beta : float or array, shape (smiles,), default 1
        From 0 to 1; 1 is usual for equities, 1/2 for rates.
    shift : float or array, shape (smiles,), default 0
        Added to forward and strikes.
    variant : {'hagan', 'obloj', 'normal'}
        As in :func:`sabr`.
    start : array of float, shape (smiles, 3), optional
        alpha, rho and nu of slices before, to try too; NaN for none.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    SabrFit

    Raises
    ------
    ParameterError
        If the variant is unknown.
    ShapeError, DTypeError
        If arrays do not go together, or are no numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> strike = np.linspace(0.02, 0.045, 11)
    >>> vol = surface.sabr(0.03, strike, 2.0, 0.04, 0.5, -0.3, 0.5)["vol"]
    >>> fit = surface.fit_sabr(0.03, strike, 2.0, vol, beta=0.5)
    >>> fit.alpha.round(8).tolist(), fit.rho.round(8).tolist(), fit.nu.round(8).tolist()
    ([0.04], [-0.3], [0.5])
    """
    _checks.choice("variant", variant, _VARIANTS)
    flat, starts = ragged(strike, "strike", offsets)
    vols, weight = alike(vol, "vol", flat, of=strike), alike(weights, "weights", flat, 1.0, of=strike)
    smiles = len(starts) - 1

    price, years, power, moved = (
        each_smile(values, name, smiles)
        for values, name in ((forward, "forward"), (expiry, "expiry"), (beta, "beta"), (shift, "shift"))
    )
    first = None
    if start is not None:
        first = floats(start, "start")
        if first.shape not in ((smiles, 3), (3,)) or first.size != 3 * smiles:
            raise ShapeError(f"start: has shape {first.shape}; accepted is ({smiles}, 3)")
        first = first.reshape(-1)
    threads, simd = config._execution(num_threads)
    place = flat + (moved[0] if smiles == 1 else np.repeat(moved, np.diff(starts)))
    parameters, rmse, status, rounds = _core.sabr_fit(
        place, vols, weight, starts.tolist(), price + moved, years, power, first,
        _VARIANTS.index(variant), threads, simd,
    )  # fmt: skip
    alpha, rho, nu = (np.ascontiguousarray(column) for column in parameters.T)
    return SabrFit(alpha, rho, nu, power, moved, variant, rmse, status.astype(np.int8), rounds.astype(np.int64), price,
                   years)  # fmt: skip


def certify_svi(a: Any, b: Any, rho: Any, m: Any, sigma: Any, *, num_threads: int | None = None) -> Certificate:
    """The least g of raw SVI slices over all strikes, proven.

    In a variable without square roots g is a ratio of polynomials of degree 10, whose Bernstein coefficients enclose
    it; halving the interval where they do not settle the sign proves the minimum, wings included. A grid of strikes
    proves nothing.

    Parameters
    ----------
    a, b, rho, m, sigma : float or array
        Parameters, which broadcast; the result is flat.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    Certificate

    Raises
    ------
    ShapeError
        If parameters do not broadcast.

    Examples
    --------
    >>> from warpquant import surface
    >>> proof = surface.certify_svi(-0.041, 0.1331, 0.306, 0.3586, 0.4153)
    >>> round(float(proof.min_g[0]), 7), round(float(proof.at[0]), 3), surface.CERTIFICATE_STATUS[proof.status[0]]
    (-0.0328636, 0.879, 'butterfly arbitrage')
    """
    flat, slices = _parameters((a, b, rho, m, sigma))
    threads, simd = config._execution(num_threads)
    least, at, bound, status = _core.svi_certify(flat, slices, threads, simd)
    return Certificate(least, at, bound, status.astype(np.int8))


def svi_crossings(early: Any, late: Any, *, num_threads: int | None = None) -> Crossings:
    """Where pairs of raw SVI slices cross: the real roots of a quartic (Gatheral and Jacquier 2014).

    Parameters
    ----------
    early, late : array of float, shape (5,) or (pairs, 5)
        Parameters a, b, rho, m, sigma of the earlier and of the later expiry.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    Crossings

    Raises
    ------
    ShapeError
        If the two are not alike.

    Examples
    --------
    >>> from warpquant import surface
    >>> found = surface.svi_crossings((0.01, 0.1, 0.0, 0.0, 0.1), (0.03, 0.05, 0.0, 0.0, 0.1))
    >>> found.count.tolist(), found.at[0, :2].round(6).tolist()
    ([2], [-0.387298, 0.387298])
    """
    first, second = (floats(v, name) for v, name in ((early, "early"), (late, "late")))
    if first.shape != second.shape or first.shape[-1:] != (5,) or first.ndim > 2:
        raise ShapeError(
            f"early, late: have shapes {first.shape} and {second.shape}; accepted are (5,) and (pairs, 5), of both"
        )
    pairs = first.size // 5
    threads, simd = config._execution(num_threads)
    count, at, slack, slack_at = _core.svi_cross(first.reshape(-1), second.reshape(-1), pairs, threads, simd)
    return Crossings(np.nan_to_num(count, nan=-1.0).astype(np.int8), at, slack, slack_at)


def _parameters(values: tuple[Any, ...]) -> tuple[Floats, int]:
    columns = [floats(v, name) for v, name in zip(values, _NAMES, strict=True)]
    try:
        table = np.stack([column.reshape(-1) for column in np.broadcast_arrays(*columns)], axis=1)
    except ValueError as error:
        shapes = ", ".join(f"{name} {column.shape}" for name, column in zip(_NAMES, columns, strict=True))
        raise ShapeError(f"parameters do not broadcast: {shapes}") from error
    return np.ascontiguousarray(table).reshape(-1), len(table)


def _largest(values: Floats, starts: npt.NDArray[np.int64]) -> Floats:
    """For each of them the largest of its smile."""
    lengths = np.diff(starts)
    full = lengths > 0
    return np.repeat(np.maximum.reduceat(values, starts[:-1][full]), lengths[full]) if full.any() else values


def vega_weights(
    k: Any, w: Any, *, years: Any = None, spread: Any = None, floor: float = 1e-4, offsets: Any = None
) -> Floats:
    """Weights of squared errors in total variance, for fits.

    With spreads 1 / dw^2, where dw = 2 sqrt(w T) spread is the spread in w; without them phi(d1)^2 + 0.02, so that
    quotes far out, which say little, do not lead.

    Parameters
    ----------
    k, w : array
        ln(strike / forward) and total variance: of one smile, of one smile in each row, or all in one flat array with
        `offsets`.
    years : array or float, optional
        Time to expiry; needed with `spread`.
    spread : array, optional
        Of the bid and ask volatilities. One of 0 weighs as the narrowest other one of its smile.
    floor : float, default 1e-4
        The least weight, as a share of the largest; from 0 to 1.
    offsets : array of int, shape (smiles + 1,), optional
        Where each smile begins, of several in a row.

    Returns
    -------
    ndarray of float64
        The largest of each smile is 1; 0 where a number is missing, a spread is negative or w is not above 0.

    Raises
    ------
    ParameterError
        If spreads come without years, or the floor is out of range.
    ShapeError
        If arrays do not go together, or offsets do not divide the quotes.

    Examples
    --------
    >>> import numpy as np
    >>> from warpquant import surface
    >>> surface.vega_weights(np.array([-0.4, 0.0, 0.4]), np.full(3, 0.04)).round(3)
    array([0.032, 1.   , 0.047])
    """
    _checks.number("floor", floor, 0.0, 1.0)
    if spread is not None and years is None:
        raise ParameterError("years: is needed with spread, to make it one of total variance")
    columns = [floats(k, "k"), floats(w, "w")]
    if spread is not None:
        columns += [floats(years, "years"), floats(spread, "spread")]
    try:
        shape = np.broadcast_shapes(*(column.shape for column in columns))
    except ValueError as error:
        raise ShapeError(f"k, w, years and spread do not go together: {error}") from error
    if offsets is not None and shape != columns[0].shape:
        raise ShapeError(
            f"w, years, spread: have shape {shape} with k; with offsets that must be k's {columns[0].shape}"
        )
    starts = begins(shape or (1,), "k", offsets)
    place, variance, *more = (np.broadcast_to(column, shape).reshape(-1) for column in columns)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        good = np.isfinite(place) & np.isfinite(variance) & (variance > 0)
        if more:
            width = 2.0 * np.sqrt(variance * more[0]) * more[1]
            good &= width >= 0
            weight = 1.0 / np.square(width)
            # A spread of 0 weighs as the narrowest other one does.
            some = good & np.isfinite(weight) & (width > 0)
            most = _largest(np.where(some, weight, 0.0), starts)
            weight = np.where(most > 0, np.where(width > 0, np.minimum(weight, most), most), 1.0)
        else:
            root = np.sqrt(variance)
            d1 = -place / root + 0.5 * root
            weight = np.exp(-np.square(d1)) + 0.02
        good &= np.isfinite(weight)
        most = _largest(np.where(good, weight, 0.0), starts)
        return np.where(good, np.maximum(weight / most, floor), 0.0).reshape(shape)
