# SPDX-License-Identifier: Apache-2.0
"""Options by Monte Carlo: many on the same paths, every Greek along the path, standard errors (docs/options)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from warpquant import _core, _rows
from warpquant._checks import choice, flag, whole
from warpquant.errors import DTypeError, ParameterError, ShapeError

from ._product import ALIASES, outputs_of
from .random import Plan, fractions

__all__ = ["asian_mc", "barrier_mc", "basket_mc", "digital_mc", "european_mc", "local_vol_mc"]

_GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta")
_DIGITAL_GREEKS = _GREEKS[:-1]
_BASKET_GREEKS = ("price", "delta", "gamma", "vega", "theta", "rho", "epsilon", "dual_delta", "correlation")
_LOCAL_GREEKS = ("price", "delta", "dual_delta", "rho", "epsilon", "vega")
_BARRIERS = ("down-out", "up-out", "down-in", "up-in")
_PATHS = 1 << 16
_CURRAN = outputs_of("asian_curran")


def _chosen(outputs: str | Iterable[str], accepted: Sequence[str]) -> tuple[str, ...]:
    """Names of results, as they were written."""
    if isinstance(outputs, str) and outputs == "all":
        return tuple(accepted)
    return _rows.chosen_names(outputs, (*accepted, *(alias for alias, name in ALIASES.items() if name in accepted)))


def _dates(value: Any, name: str, least_first: float = 0.0) -> list[float]:
    """Dates in parts of the time to expiry: so many of equal distance, or a list of them."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        count = whole(name, value, 1, 1 << 20)
        return [k / count for k in range(1, count + 1)]
    times = fractions(value, name, least_first=least_first)
    if abs(times[-1] - 1.0) < 1e-12:  # what dates in years lose by the division
        times[-1] = 1.0
    if times[-1] > 1.0:
        raise ParameterError(f"{name}: the last date is {times[-1]!r} of the time to expiry; accepted are up to 1")
    return times


class _Rows:
    """Arguments that broadcast, as columns of equal length; results of the kind of the first that is no number."""

    def __init__(self, **arguments: Any) -> None:
        values, others = _rows._unpacked(tuple(arguments), tuple(arguments.values()))
        self._kind = others[0] if others else None
        arrays = [_numbers(value, name) for name, value in zip(arguments, values, strict=True)]
        try:
            wide = np.broadcast_arrays(*arrays)
        except ValueError:
            shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(arguments, arrays, strict=True))
            raise ShapeError(f"arguments do not broadcast: {shapes}") from None
        self.shape = wide[0].shape
        self.columns = np.ascontiguousarray([a.reshape(-1) for a in wide])

    def result(self, values: np.ndarray[Any, Any], name: str) -> Any:
        """A row of results as the caller wants it."""
        if not self.shape:
            return float(values[0])
        made = values.reshape(self.shape)
        return made if self._kind is None else self._kind.wrap_named(made, name)

    def named(self, names: Sequence[str], order: Sequence[str], pair: tuple[Any, Any]) -> dict[str, Any]:
        """Values and errors by name."""
        made: dict[str, Any] = {}
        for name in names:
            at = order.index(ALIASES.get(name, name))
            made[name] = self.result(pair[0][at], name)
            made[f"{name}_error"] = self.result(pair[1][at], f"{name}_error")
        return made


def _options(
    spot: Any, strike: Any, expiry: Any, rate: Any, dividend: Any, vol: Any, is_call: Any, **more: Any
) -> _Rows:
    flag = _rows.flags(is_call)
    return _Rows(
        spot=spot, strike=strike, expiry=expiry, rate=rate, dividend=dividend, vol=vol, is_call=flag, **more
    )  # fmt: skip


def asian_mc(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    fixings: Any = 12,
    averaging: str = "discrete",
    control_variate: bool = True,
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    bridge: bool | None = None,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on the arithmetic average of prices, in the Black-Scholes model.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol : float or array_like
        Arguments as of `warpquant.options.price`, per year; they broadcast, and all rows share the same paths. Rows
        with values that are not finite, or not above 0 in spot, strike, expiry or vol, give NaN.
    is_call : bool, number, text or array_like
        Calls, or puts.
    fixings : int or sequence of float
        Number of dates at equal distances, the last at expiry; or dates in parts of the time to expiry, from 0 (the
        price now) to 1, ascending. Each weighs the same. For 'continuous': dates of the trapezoidal rule, whose first
        is now.
    averaging : {'discrete', 'continuous'}
        Of the dates, or the integral over the time to expiry by the trapezoidal rule, whose error is of the order of
        the square of the distance of dates.
    control_variate : bool
        Use the option on the geometric average, whose value is known (Kemna and Vorst 1990), for each output with the
        derivative of the same along the path.
    outputs : str or iterable of str
        Of price, delta, gamma, vega, theta, rho, epsilon, dual_delta; or 'all'. Derivatives as in
        `warpquant.options.greeks`: plain, theta by calendar time (dates come closer), per year.
    paths : int
        Number of paths.
    seed : int
        Up to 64 bits. The same seed means the same paths, for any rows.
    sampling : {'philox', 'sobol'}
        Random numbers, or Sobol points (up to 1024 dates; `paths` a power of two is best).
    scramble : {'owen', 'shift', 'none'}
        Of Sobol points, see `warpquant.options.random.uniforms`.
    replicates : int
        Sobol points come in so many sets, scrambled apart, from which the standard error comes.
    bridge : bool, optional
        Draw paths by a Brownian bridge; None: with Sobol points.
    offset : int
        Number of the first path (of each replicate), to go on with a run.
    num_threads : int, optional
        CPU threads; no result depends on them.
    device : str, optional
        Where the paths are walked, such as 'cuda'; results have the bits of the CPU, and are in host memory.
    stream : int or object, optional
        Of a device: the stream that works, as for `warpquant.to_device`; the call waits for it.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    All Greeks but gamma are pathwise (Broadie and Glasserman, Estimating security price derivatives using simulation,
    Management Science 42, 1996); gamma is the pathwise delta times the score of the first step.

    Examples
    --------
    >>> made = warpquant.options.asian_mc(100, 100, 1, 0.05, 0.0, 0.2, True, fixings=12)
    >>> round(made["price"], 2), made["price_error"] < 0.002
    (6.16, True)
    """
    names = _chosen(outputs, _GREEKS)
    rows = _options(spot, strike, expiry, rate, dividend, vol, is_call)
    choice("averaging", averaging, ("discrete", "continuous"))
    times = _dates(fixings, "fixings")
    if averaging == "continuous":
        times = times if times[0] == 0.0 else [0.0, *times]
        if times[-1] != 1.0:
            raise ParameterError("fixings: a continuous average ends at expiry, 1")
    if times == [0.0]:
        raise ParameterError("fixings: at least one date must be after now")
    pair = _averages(
        rows.columns, times, averaging == "continuous", control_variate, any(name != "price" for name in names),
        dict(
            paths=paths, seed=seed, sampling=sampling, scramble=scramble, replicates=replicates, bridge=bridge,
            offset=offset, num_threads=num_threads, device=device, stream=stream,
        ),
    )  # fmt: skip
    return rows.named(names, _GREEKS, pair)


def _averages(
    columns: np.ndarray[Any, Any],
    times: list[float],
    continuous: bool,
    control_variate: bool,
    greeks: bool,
    plan: Mapping[str, Any],
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Options on the average of dates, or on the integral between the first and the last: values and errors.

    `times` are parts of the time to expiry, `plan` is what `Plan.of` takes.
    """
    if continuous:
        gaps = np.diff(times)
        weights = (np.append(gaps, 0.0) + np.append(0.0, gaps)) * (0.5 / (times[-1] - times[0]))
    else:
        weights = np.full(len(times), 1.0 / len(times))
    start = 0.0
    if times[0] == 0.0:
        start, times, weights = float(weights[0]), times[1:], weights[1:]
    packed = Plan.of(dims=len(times), **plan).pack()
    values, errors = _core.mc_asian(
        packed, times, [float(w) for w in weights], start, columns, flag("control_variate", control_variate), greeks
    )
    return values, errors


_MOST_FIXINGS = 100_000
#: What `asian` with paths takes besides.
_PLAN = dict(
    paths=_PATHS, seed=0, sampling="philox", scramble="owen", replicates=16, bridge=None, offset=0,
    control_variate=True, steps=64,
)  # fmt: skip


def asian_by_paths(
    arguments: Mapping[str, Any],
    *,
    outputs: str | Iterable[str],
    out: Mapping[str, Any] | None,
    num_threads: int | None,
    device: str | None,
    stream: Any,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """`asian` with method='monte_carlo'.

    Parameters
    ----------
    arguments : mapping
        spot, strike, expiry, rate, dividend, vol, is_call, first (below 0: left out), fixings, past and past_weight of
        `asian`.
    outputs, out, num_threads, device, stream
        As of `asian`.
    options : mapping
        Those of its `**options` that belong to the method.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    Rows whose fixings are the same parts of their times to expiry share paths; each kind is a run of its own.
    """
    for name in options:
        if name not in _PLAN:
            raise ParameterError(f"{name}: method='monte_carlo' has no such option; it has {', '.join(_PLAN)}")
    plan = {**_PLAN, **options, "num_threads": num_threads, "device": device, "stream": stream}
    control_variate, steps = plan.pop("control_variate"), whole("steps", plan.pop("steps"), 1, 1 << 20)
    names = _chosen(outputs, _GREEKS)
    greeks = any(name != "price" for name in names)
    rows = _Rows(**arguments)
    expiry, first, fixings, past, past_weight = (rows.columns[k] for k in (2, 7, 8, 9, 10))
    with np.errstate(invalid="ignore", divide="ignore"):
        # The first fixing in parts of the time to expiry.
        begin = np.where(first >= 0.0, first / expiry, np.where(fixings == 0.0, 0.0, 1.0 / fixings))
        begin = np.where((fixings == 1.0) | (abs(begin - 1.0) < 1e-12), 1.0, begin)
        left = 1.0 - past_weight  # what is not known of the average, and the strike of an option on that alone
        strike = (rows.columns[1] - past_weight * past) / left
        valid = (fixings >= 0.0) & (fixings <= _MOST_FIXINGS) & (fixings == np.rint(fixings)) & (begin <= 1.0)
        valid &= np.isfinite(first) & np.isfinite(past) & (past >= 0.0) & (past_weight >= 0.0) & (past_weight < 1.0)
    columns = rows.columns[:7].copy()
    columns[1] = strike
    values, errors = (np.full((len(_GREEKS), columns.shape[1]), np.nan) for _ in range(2))
    kinds, kind_of = np.unique(np.stack([fixings, begin])[:, valid], axis=1, return_inverse=True)
    for kind, (count, start) in enumerate(kinds.T):
        places = np.flatnonzero(valid)[kind_of.reshape(-1) == kind]
        n = steps + 1 if count == 0.0 else int(count)
        if start == 1.0:
            times = [1.0]
        elif start == 1.0 / n:
            times = [k / n for k in range(1, n + 1)]
        else:
            times = [*(start + (1.0 - start) * (k / (n - 1)) for k in range(n - 1)), 1.0]
        own = np.ascontiguousarray(columns[:, places])
        made = _averages(own, times, count == 0.0 and start < 1.0, control_variate, greeks, plan)
        for to, by in zip((values, errors), made, strict=True):
            to[: len(by), places] = by * left[places]
    values[-1] /= left  # by the strike, which moves that of the rest by more
    errors[-1] /= left
    _settled(rows, valid & (strike <= 0.0), arguments, values, errors)
    results = rows.named(names, _GREEKS, (values, errors))
    return results if out is None else _written(results, out)


def _settled(
    rows: _Rows,
    settled: np.ndarray[Any, Any],
    arguments: Mapping[str, Any],
    values: np.ndarray[Any, Any],
    errors: np.ndarray[Any, Any],
) -> None:
    """Options of which the known prices have decided whether they are exercised: in closed form, without an error."""
    if not settled.any():
        return
    exact = _rows.call(
        "asian_curran", tuple(np.ascontiguousarray(column[settled]) for column in rows.columns), _CURRAN, _GREEKS
    )
    for k, name in enumerate(_GREEKS):
        values[k, settled] = exact[name]
        errors[k, settled] = np.where(np.isnan(exact[name]), np.nan, 0.0)


def _written(made: dict[str, Any], out: Mapping[str, Any]) -> dict[str, Any]:
    """Results in the arrays that take them."""
    for name, array in out.items():
        if name not in made:
            raise ParameterError(f"out: {name!r} is not among the results; those are {', '.join(made)}")
        if not isinstance(array, np.ndarray) or array.shape != np.shape(made[name]):
            raise ShapeError(f"out[{name}]: accepted is a NumPy array of shape {np.shape(made[name])}")
        array[...] = made[name]
        made[name] = array
    return made


def european_mc(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """European options, by Monte Carlo without a control: what the others are checked by.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        Arguments as of `warpquant.options.price`.
    outputs : str or iterable of str
        As for `asian_mc`.
    paths, seed, sampling, scramble, replicates, offset, num_threads, device, stream
        As for `asian_mc`.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Examples
    --------
    >>> made = warpquant.options.european_mc(100, 100, 1, 0.05, 0.0, 0.2, True, sampling="sobol")
    >>> exact = warpquant.options.price(100, 100, 1, 0.05, 0.0, 0.2, True)["price"]
    >>> abs(made["price"] - exact) < 5 * made["price_error"] < 0.01
    True
    """
    return asian_mc(
        spot, strike, expiry, rate, dividend, vol, is_call, fixings=1, control_variate=False, outputs=outputs,
        paths=paths, seed=seed, sampling=sampling, scramble=scramble, replicates=replicates, offset=offset,
        num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip


def barrier_mc(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    barrier: Any,
    barrier_type: str = "down-out",
    *,
    rebate: Any = 0.0,
    monitoring: Any = 12,
    control_variate: bool = True,
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    bridge: bool | None = None,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options with a barrier that is looked at on certain dates.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        Arguments as of `warpquant.options.price`.
    barrier : float or array_like
        Level that knocks out, or in, if the price on a date is at or beyond it.
    barrier_type : {'down-out', 'up-out', 'down-in', 'up-in'}
        What the barrier does.
    rebate : float or array_like
        Paid at once when knocked out, or at expiry if never knocked in.
    monitoring : int or sequence of float
        Number of dates at equal distances, the last at expiry; or dates in parts of the time to expiry, above 0,
        ascending to 1.
    control_variate : bool
        Use the option without barrier, whose value is known.
    outputs : str or iterable of str
        As for `asian_mc`.
    paths, seed, sampling, scramble, replicates, bridge, offset, num_threads, device, stream
        As for `asian_mc`.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    The payoff jumps, so Greeks are by likelihood ratio (Glasserman, Monte Carlo Methods in Financial Engineering,
    2003, section 7.3): payoff times the derivative of the density of the path. Their errors grow with the number of
    dates, and for delta, gamma and theta as the first one comes closer.

    Examples
    --------
    >>> out = warpquant.options.barrier_mc(100, 100, 1, 0.05, 0.0, 0.2, True, 90)
    >>> knocked_in = warpquant.options.barrier_mc(100, 100, 1, 0.05, 0.0, 0.2, True, 90, "down-in")
    >>> exact = warpquant.options.price(100, 100, 1, 0.05, 0.0, 0.2, True)["price"]
    >>> abs(out["price"] + knocked_in["price"] - exact) < 1e-9
    True
    """
    names = _chosen(outputs, _GREEKS)
    choice("barrier_type", barrier_type, _BARRIERS)
    rows = _options(spot, strike, expiry, rate, dividend, vol, is_call, barrier=barrier, rebate=rebate)
    times = _dates(monitoring, "monitoring")
    if times[0] <= 0.0 or times[-1] != 1.0:
        raise ParameterError("monitoring: dates must begin above 0 and end at expiry, 1")
    plan = Plan.of(
        paths, seed, len(times), sampling=sampling, scramble=scramble, replicates=replicates, bridge=bridge,
        offset=offset, num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip
    pair = _core.mc_barrier(plan.pack(), times, "vanilla", barrier_type, rows.columns, bool(control_variate))
    return rows.named(names, _GREEKS, pair)


def digital_mc(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    is_call: Any,
    *,
    payoff: str = "cash",
    cash: Any = 1.0,
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options that pay an amount of cash, or the asset, if they end in the money.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend, vol, is_call
        Arguments as of `warpquant.options.price`.
    payoff : {'cash', 'asset'}
        What is paid.
    cash : float or array_like
        How much.
    outputs : str or iterable of str
        Of price, delta, gamma, vega, theta, rho, epsilon; or 'all'.
    paths, seed, sampling, scramble, replicates, offset, num_threads, device, stream
        As for `asian_mc`.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    Greeks are by likelihood ratio, as in `barrier_mc`.

    Examples
    --------
    >>> made = warpquant.options.digital_mc(100, 100, 1, 0.05, 0.0, 0.2, True, outputs=("price", "delta"))
    >>> round(made["price"], 1), round(made["delta"], 3)
    (0.5, 0.019)
    """
    names = _chosen(outputs, _DIGITAL_GREEKS)
    choice("payoff", payoff, ("cash", "asset"))
    rows = _options(spot, strike, expiry, rate, dividend, vol, is_call, cash=cash)
    plan = Plan.of(
        paths, seed, 1, sampling=sampling, scramble=scramble, replicates=replicates, offset=offset,
        num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip
    values, errors = _core.mc_barrier(plan.pack(), [1.0], payoff, "none", rows.columns[:7].copy(), False)
    if payoff == "cash":
        values, errors = values * rows.columns[7], errors * abs(rows.columns[7])
    return rows.named(names, _GREEKS, (values, errors))


def basket_mc(
    spot: Any,
    strike: Any,
    expiry: Any,
    rate: Any,
    dividend: Any,
    vol: Any,
    correlation: Any,
    is_call: Any,
    *,
    weights: Any = None,
    payoff: str = "basket",
    control_variate: bool = True,
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """Options on several assets, with the derivatives by all their inputs in one sweep backwards.

    Parameters
    ----------
    spot : array_like, shape (..., assets)
        Prices of the assets.
    strike, expiry, rate : float or array_like, shape (...)
        Of the option, per year.
    dividend, vol : float or array_like, shape (..., assets)
        Of the assets.
    correlation : array_like, shape (..., assets, assets)
        Symmetric, 1 on the diagonal. Rows where it is not positive semi-definite give NaN; where it is singular, gamma
        and the derivatives by correlations are NaN.
    is_call : bool, number, text or array_like, shape (...)
        Calls, or puts.
    weights : array_like, shape (..., assets), optional
        Of the assets, of any sign; 1 by default.
    payoff : {'basket', 'spread', 'best_of', 'worst_of'}
        On the weighted sum; on the first asset less the second; on the largest, or the smallest, of weight times price.
    control_variate : bool
        For the price: a sum with positive weights goes with the option on its geometric average, everything else with
        the sum itself.
    outputs : str or iterable of str
        Of price, delta, gamma, vega, theta, rho, epsilon, dual_delta, correlation; or 'all'. delta, vega and epsilon
        have a last axis of assets, gamma and correlation two: entry (i, j) of the latter is the derivative by the
        correlation of i and j, which stands in two places of the matrix.
    paths, seed, sampling, scramble, replicates, offset, num_threads, device, stream
        As for `asian_mc`.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error; of derivatives from the
        spread of batches of paths.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    Adjoint: Giles and Glasserman, Smoking adjoints, Risk 19 (2006); the factor of the correlations: S. Smith,
    Differentiation of the Cholesky algorithm, J. Comput. Graph. Stat. 4 (1995).

    Examples
    --------
    >>> made = warpquant.options.basket_mc(
    ...     [100, 95], 100, 1, 0.03, [0.0, 0.01], [0.2, 0.3], [[1, 0.5], [0.5, 1]], True, weights=[0.5, 0.5],
    ...     outputs=("price", "delta", "correlation"))
    >>> round(made["price"], 1), made["delta"].round(1), round(float(made["correlation"][0, 1]), 1)
    (8.4, array([0.3, 0.3]), 2.6)
    """
    names = _chosen(outputs, _BASKET_GREEKS)
    choice("payoff", payoff, ("basket", "spread", "best_of", "worst_of"))
    spots = _numbers(spot, "spot")
    if spots.ndim == 0:
        raise ShapeError("spot: is one number; accepted are arrays whose last axis is that of the assets")
    assets = spots.shape[-1]
    whole("spot: number of assets", assets, 1, 256)
    if payoff == "spread":
        if weights is not None:
            raise ParameterError("weights: does not go with payoff='spread', which is the first less the second asset")
        if assets != 2:
            raise ShapeError(f"spot: has {assets} assets; a spread has two")
        weights, payoff = [1.0, -1.0], "basket"
    by_asset = {
        "spot": spots,
        "weights": _numbers(1.0 if weights is None else weights, "weights"),
        "dividend": _numbers(dividend, "dividend"),
        "vol": _numbers(vol, "vol"),
    }
    matrix = _numbers(correlation, "correlation")
    if matrix.shape[-2:] != (assets, assets):
        raise ShapeError(f"correlation: has shape {matrix.shape}; accepted is (..., {assets}, {assets})")
    finite = matrix[np.isfinite(matrix).all(axis=(-1, -2))]
    if not np.array_equal(finite, np.swapaxes(finite, -1, -2)):
        raise ParameterError("correlation: is not symmetric")
    if not (np.diagonal(finite, axis1=-2, axis2=-1) == 1.0).all():
        raise ParameterError("correlation: has a diagonal that is not 1")
    terms = {
        "strike": _numbers(strike, "strike"),
        "expiry": _numbers(expiry, "expiry"),
        "rate": _numbers(rate, "rate"),
        "is_call": _numbers(_rows.flags(is_call), "is_call"),
    }
    try:
        shape = np.broadcast_shapes(
            *(a.shape[:-1] for a in by_asset.values()), matrix.shape[:-2], *(a.shape for a in terms.values())
        )
        wide = np.ascontiguousarray([np.broadcast_to(a, (*shape, assets)) for a in by_asset.values()])
    except ValueError:
        shapes = ", ".join(f"{k} {a.shape}" for k, a in [*by_asset.items(), *terms.items()])
        raise ShapeError(f"arguments do not broadcast: {shapes}, correlation {matrix.shape}") from None
    count = int(np.prod(shape))
    plan = Plan.of(
        paths, seed, assets, sampling=sampling, scramble=scramble, replicates=replicates, bridge=False, offset=offset,
        num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip
    control = "none"
    if control_variate:
        positive = payoff == "basket" and (by_asset["weights"] > 0).all() and (terms["strike"] > 0).all()
        control = "geometric" if positive else "linear"
    pairs = _core.mc_basket(
        plan.pack(),
        wide.reshape(4, count, assets),
        np.ascontiguousarray(np.broadcast_to(matrix, (*shape, assets, assets))),
        np.ascontiguousarray([np.broadcast_to(a, shape) for a in terms.values()]).reshape(4, count),
        payoff,
        control,
        [ALIASES.get(name, name) for name in names],
    )
    made: dict[str, Any] = {}
    for name, pair in zip(names, pairs, strict=True):
        for label, array in zip((name, f"{name}_error"), pair, strict=True):
            result = array.reshape(shape + array.shape[1:])
            made[label] = float(result) if result.ndim == 0 else result
    return made


def _numbers(value: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DTypeError(f"{name}: holds values that are no numbers") from None


def local_vol_mc(
    spot: float,
    strike: float,
    expiry: float,
    rate: float,
    dividend: float,
    is_call: Any,
    *,
    times: Any,
    spots: Any,
    vols: Any,
    steps: Any = 50,
    payoff: str = "european",
    outputs: str | Iterable[str] = ("price",),
    paths: int = _PATHS,
    seed: int = 0,
    sampling: str = "philox",
    scramble: str = "owen",
    replicates: int = 16,
    bridge: bool | None = None,
    offset: int = 0,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]:
    """An option where the vol is a function of time and spot, with the derivatives by every vol of the grid.

    Parameters
    ----------
    spot, strike, expiry, rate, dividend : float
        Arguments as of `warpquant.options.price`, of one option.
    is_call : bool, number or text
        Call, or put.
    times : array_like, shape (times,)
        Years at which the grid has vols, ascending from 0 or later.
    spots : array_like, shape (spots,)
        Prices at which it has, ascending, above 0.
    vols : array_like, shape (times, spots)
        Per sqrt(year); linear between times, and between the logarithms of spots; constant outside.
    steps : int or sequence of float
        Steps of Euler's scheme for the logarithm: so many of equal length, or their ends in parts of the time to
        expiry, to 1. Each takes the vol of its start.
    payoff : {'european', 'asian'}
        On the last price, or on the average of those after each step.
    outputs : str or iterable of str
        Of price, delta, dual_delta, rho, epsilon, vega; or 'all'. vega has the shape of `vols`; the grid stays where it
        is when the spot moves.
    paths, seed, sampling, scramble, replicates, bridge, offset, num_threads, device, stream
        As for `asian_mc`.

    Returns
    -------
    dict
        For each output its value and, under the name with ``_error``, its standard error; of derivatives from the
        spread of batches of paths. NaN if an argument has no meaning, as a vol that is not above 0.

    Raises
    ------
    ParameterError, ShapeError, DTypeError
        If an argument is out of range or does not fit the others.

    Notes
    -----
    All derivatives come from one sweep backwards over each path, whose cost does not depend on the size of the grid.
    The price has the discounted spot for a control, whose expectation the scheme keeps.

    Examples
    --------
    >>> made = warpquant.options.local_vol_mc(
    ...     100, 100, 1, 0.02, 0.0, True, times=[0, 0.5, 1], spots=[80, 100, 120],
    ...     vols=[[0.25, 0.2, 0.18]] * 3, outputs=("price", "vega"))
    >>> round(made["price"], 0), made["vega"].shape, bool(made["vega"].argmax() in (1, 4))
    (9.0, (3, 3), True)
    """
    names = _chosen(outputs, _LOCAL_GREEKS)
    choice("payoff", payoff, ("european", "asian"))
    terms = []
    for label, value in (
        ("spot", spot), ("strike", strike), ("expiry", expiry), ("rate", rate), ("dividend", dividend),
        ("is_call", _rows.flags(is_call)),
    ):  # fmt: skip
        number = _numbers(value, label)
        if number.ndim:
            raise ShapeError(f"{label}: has shape {number.shape}; accepted is one number")
        terms.append(float(number))
    terms[5] = -1.0 if terms[5] == 0.0 else terms[5]
    grid_times = fractions(times, "times", least_first=0.0)
    grid_spots = fractions(spots, "spots", least_first=0.0)
    if grid_spots[0] <= 0.0:
        raise ParameterError("spots: must begin above 0")
    grid = np.ascontiguousarray(_numbers(vols, "vols"))
    if grid.shape != (len(grid_times), len(grid_spots)):
        raise ShapeError(f"vols: has shape {grid.shape}; with these times and spots it is "
                         f"({len(grid_times)}, {len(grid_spots)})")  # fmt: skip
    ends = _dates(steps, "steps")
    if ends[0] <= 0.0 or ends[-1] != 1.0:
        raise ParameterError("steps: must begin above 0 and end at expiry, 1")
    plan = Plan.of(
        paths, seed, len(ends), sampling=sampling, scramble=scramble, replicates=replicates, bridge=bridge,
        offset=offset, num_threads=num_threads, device=device, stream=stream,
    )  # fmt: skip
    greeks = any(name != "price" for name in names)
    shapes: dict[str, tuple[int, ...]] = {"vega": grid.shape}
    if not (np.isfinite(terms).all() and min(terms[:3]) > 0 and abs(terms[5]) == 1.0 and (grid > 0).all()
            and np.isfinite(grid).all()):  # fmt: skip
        size = len(_LOCAL_GREEKS) - 1 + grid.size
        values = errors = np.full(size, np.nan)
    else:
        weights = [1.0 / len(ends)] * len(ends) if payoff == "asian" else []
        values, errors = _core.mc_local_vol(plan.pack(), terms, ends, weights, grid_times, grid_spots, grid, greeks)
    made: dict[str, Any] = {}
    for name in names:
        first = _LOCAL_GREEKS.index(ALIASES.get(name, name))
        for label, array in ((name, values), (f"{name}_error", errors)):
            part = array[first:] if name == "vega" else array[first]
            made[label] = part.reshape(shapes[name]) if name in shapes else float(part)
    return made
