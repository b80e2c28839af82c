# SPDX-License-Identifier: Apache-2.0
"""Parameters from quotes, sensitivities and comparisons of models (docs/pinn/problems.md)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from warpquant._checks import number, whole
from warpquant.errors import DTypeError, ParameterError, ShapeError

from ._minimize import damped_least_squares
from .model import PinnModel, checked_range, norms, read_numbers
from .problems import European, uniforms
from .product_model import ProductModel

__all__ = ["Calibration", "calibrate", "compare", "sensitivity"]

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Of European models: the derivative in an argument, by name and sign.
_EUROPEAN = {"S": ("delta", 1.0), "tau": ("theta", -1.0), "sigma": ("vega", 1.0), "r": ("rho", 1.0)}


def _derivatives(model: PinnModel) -> dict[str, tuple[str, float]]:
    """Argument to the name of the derivative in it, and its sign."""
    if not isinstance(model, PinnModel):
        raise DTypeError(f"model: {type(model).__name__} is no PinnModel; see PinnModel.load")
    if isinstance(model, ProductModel):
        greeks = model.product.GREEKS
        return {by[0]: (name, sign) for name, (by, sign) in greeks.items() if len(by) == 1}
    if model.features is None:
        raise ParameterError("model: was made without features, so it has no prices")
    return _EUROPEAN


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What `calibrate` found.

    Attributes
    ----------
    parameters : dict
        Name to value.
    standard_errors : dict
        Name to its standard error, from the scatter of the residuals; NaN where that cannot be told: at a bound, with
        as many parameters as quotes, at the edge of the domain, or if quotes do not tell parameters apart.
    covariance : numpy.ndarray, shape (p, p)
        Of the parameters, in the order of `parameters`.
    residuals : numpy.ndarray, shape (n,)
        Price of the model less quote, in units of prices; NaN where a quote is left out.
    status : str
        'converged'; 'bound' if it converged with a parameter at a bound; 'domain' if it ended at the edge of the
        model's domain, which the quotes press against; 'singular' if quotes do not tell parameters apart; 'steps' if
        there were not enough; 'stuck' if no step lowered the loss before it had converged.
    steps : int
        Steps that were taken.
    rmse : float
        Of the residuals.
    """

    parameters: dict[str, float]
    standard_errors: dict[str, float]
    covariance: Array
    residuals: Array
    status: str
    steps: int
    rmse: float


def calibrate(
    model: PinnModel,
    quotes: Any,
    contracts: Mapping[str, Any],
    start: Mapping[str, float],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    weights: Any = None,
    max_steps: int = 100,
    tolerance: float = 1e-9,
) -> Calibration:
    """Fit parameters of a model to quoted prices, by the derivatives of the network.

    Least squares of weighted differences of prices by Levenberg and Marquardt; each parameter is in units of its range
    or of its start. Bounds hold parameters at them as long as the slope presses outwards. No step leaves the model's
    domain for any quote.

    Parameters
    ----------
    model : PinnModel
        Of any product.
    quotes : array_like, shape (n,)
        Prices. Rows with NaN, and those of weight 0, are left out.
    contracts : mapping
        Arguments of `model.price` other than the parameters, each a number or of shape (n,).
    start : mapping
        Parameter (an argument of `model.price`) to its first value.
    bounds : mapping, optional
        Parameter to (low, high).
    weights : array_like, shape (n,), optional
        What a squared difference counts; by default 1. 1 / vega**2 makes them differences of volatilities, about.
    max_steps : int
        Most steps.
    tolerance : float
        Converged if no parameter would move by more than this, in its unit.

    Returns
    -------
    Calibration

    Raises
    ------
    ParameterError, ShapeError
        If an argument is not accepted, the start is not inside the bounds, or quotes are outside of the domain there.

    Examples
    --------
    >>> import numpy as np, warpquant as wq
    >>> from warpquant import pinn
    >>> strikes = np.linspace(90.0, 110.0, 9)
    >>> quotes = wq.options.price(100.0, strikes, 0.5, 0.03, 0.0, 0.25, True)["price"]
    >>> contracts = {"S": 100.0, "K": strikes, "tau": 0.5, "r": 0.03}
    >>> found = pinn.calibrate(pinn.PinnModel.load("european"), quotes, contracts, {"sigma": 0.4})
    >>> found.status, round(found.parameters["sigma"], 5)
    ('converged', 0.25)
    """
    known = _derivatives(model)
    for argument, value in (("contracts", contracts), ("start", start), ("bounds", {} if bounds is None else bounds)):
        _check_mapping(argument, value)
    names = tuple(start)
    if not names:
        raise ParameterError("start: has no parameters")
    for name in names:
        if name not in known:
            raise ParameterError(f"start: {name!r} is unknown; accepted are {', '.join(known)}")
        if name in contracts:
            raise ParameterError(f"contracts: {name!r} is among the parameters")
    x = np.array([number(f"start: {name}", start[name]) for name in names])
    limits = np.array([[-math.inf, math.inf]] * len(names))
    for name, ends in (bounds or {}).items():
        if name not in names:
            raise ParameterError(f"bounds: {name!r} is not among the parameters, {', '.join(names)}")
        limits[names.index(name)] = checked_range(f"bounds: {name}", ends)
    outside = (x < limits[:, 0]) | (x > limits[:, 1])
    if outside.any():
        raise ParameterError(f"start: {names[int(np.argmax(outside))]!r} is not within its bounds")
    whole("max_steps", max_steps, 1)
    number("tolerance", tolerance, 0.0)

    prices, rows, root, keep = _quotes(quotes, contracts, weights)
    if len(prices) < len(names):
        raise ShapeError(f"quotes: of weight are {len(prices)}; {len(names)} parameters take as many at least")
    unit = np.where(np.isfinite(limits).all(axis=1), limits[:, 1] - limits[:, 0], np.maximum(np.abs(x), 1e-3))

    def evaluate(at: Array) -> tuple[Array, Array]:
        """Weighted differences, and their slopes in the parameters in their units."""
        more: dict[str, Any] = {**rows, **dict(zip(names, map(float, at), strict=True))}
        made = model.greeks(**more, which=("price", *(known[name][0] for name in names)))
        slopes = [known[name][1] * np.asarray(made[known[name][0]]) for name in names]
        return (np.asarray(made["price"]) - prices) * root, np.stack(slopes, axis=1) * root[:, None] * unit

    def fitted(at: Array) -> tuple[Array, Array] | None:
        """The same; None outside of the domain."""
        try:
            difference, slopes = evaluate(at)
        except ParameterError:  # a model that raises outside of its domain
            return None
        return (difference, slopes) if np.isfinite(difference).all() and np.isfinite(slopes).all() else None

    here = fitted(x)
    if here is None:
        evaluate(x)
        raise ParameterError(f"start: some quotes are outside the domain {model.domain} of the model")
    status, steps, damping, blocked = "steps", 0, None, False
    while steps < max_steps:
        difference, slopes = here
        loss, slope = float(difference @ difference), slopes.T @ difference
        free = ~(((x <= limits[:, 0]) & (slope > 0)) | ((x >= limits[:, 1]) & (slope < 0)))
        if not free.any():
            status = "bound"
            break
        j = slopes[:, free]
        most = float(np.max(np.sum(j * j, axis=0)))
        if not most > 0.0:
            status = "singular"
            break
        damping = 1e-3 * most if damping is None else damping
        moved, there, step, hit = x, None, math.inf, False
        for _ in range(40):
            d = np.zeros(len(names))
            d[free] = damped_least_squares(j, -difference, damping)
            moved = np.clip(x + unit * d, limits[:, 0], limits[:, 1])
            step = float(np.max(np.abs((moved - x) / unit)))
            if step <= tolerance:
                break
            there = fitted(moved)
            hit = hit or there is None
            if there is not None and float(there[0] @ there[0]) < loss:
                break
            there, damping = None, 4.0 * damping
        # Short of a loss that is level, steps have become short because longer ones leave the domain.
        if (hit or blocked) and (step <= tolerance or there is None) and not _is_level(difference, j):
            status = "domain"
            break
        if step <= tolerance:
            status = "converged" if free.all() else "bound"
            break
        if there is None:
            status = "stuck"
            break
        x, here, damping, steps, blocked = moved, there, 0.2 * damping, steps + 1, hit
    return _found(names, x, here, limits, unit, root, keep, status, steps)


def _check_mapping(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise DTypeError(f"{name}: {type(value).__name__} is no mapping from names")


def _is_level(difference: Array, slopes: Array) -> bool:
    """Whether no direction lowers the loss by as much as its rounding."""
    size = np.linalg.norm(difference) * np.linalg.norm(slopes, axis=0)
    return bool((np.abs(slopes.T @ difference) <= 1e-8 * size).all())


def _quotes(
    quotes: Any, contracts: Mapping[str, Any], weights: Any
) -> tuple[Array, dict[str, Any], Array, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Quotes that count, the arguments that go with them, roots of weights, and which quotes they are."""
    prices = read_numbers("quotes", quotes)
    if prices.ndim != 1:
        raise ShapeError(f"quotes: has shape {prices.shape}; accepted is one dimension")
    given = np.ones(len(prices)) if weights is None else read_numbers("weights", weights)
    if given.shape != prices.shape or not (np.isfinite(given) & (given >= 0.0)).all():
        raise ShapeError(f"weights: accepted are numbers of at least 0 of shape {prices.shape}")
    keep = np.isfinite(prices) & (given > 0.0)
    rows = {}
    for name, value in contracts.items():
        if name == "is_call" or isinstance(value, (int, float, str)):
            array = np.asarray(value)
        else:
            array = read_numbers(f"contracts: {name}", value)
        if array.shape not in ((), prices.shape):
            raise ShapeError(f"contracts: {name!r} has shape {array.shape}; accepted are a number or {prices.shape}")
        rows[name] = array[keep] if array.ndim else value
    return prices[keep], rows, np.sqrt(given[keep]), keep


def _found(
    names: tuple[str, ...], x: Array, here: tuple[Array, Array], limits: Array, unit: Array, root: Array,
    keep: np.ndarray[Any, np.dtype[np.bool_]], status: str, steps: int,
) -> Calibration:  # fmt: skip
    difference, slopes = here
    n, p = slopes.shape
    free = (x > limits[:, 0]) & (x < limits[:, 1])
    covariance = np.full((p, p), math.nan)
    if free.any() and status != "domain":
        _, r = np.linalg.qr(slopes[:, free])
        if np.linalg.matrix_rank(r) < int(free.sum()):
            status = "singular"
        elif n > int(free.sum()):
            inverse = np.linalg.inv(r)
            scatter = float(difference @ difference) / (n - int(free.sum()))
            scaled = scatter * (inverse @ inverse.T) * np.outer(unit[free], unit[free])
            covariance[np.ix_(free, free)] = scaled
    residuals = np.full(len(keep), math.nan)
    residuals[keep] = difference / root
    errors = np.sqrt(np.diag(covariance))
    return Calibration(
        dict(zip(names, map(float, x), strict=True)), dict(zip(names, map(float, errors), strict=True)), covariance,
        residuals, status, steps, float(np.sqrt(np.nanmean(residuals**2))),
    )  # fmt: skip


def sensitivity(
    model: PinnModel, ranges: Mapping[str, Any], *, points: int = 4096, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Which arguments of a price matter over a region.

    Parameters
    ----------
    model : PinnModel
        Of any product.
    ranges : mapping
        Argument of `model.price` to its (low, high), or to a number if it is the same everywhere.
    points : int
        Sobol points of the region. Those that the model says nothing about are left out.
    seed : int
        Of the points.

    Returns
    -------
    dict
        Argument with a range to ``elasticity``, the median of ``dV/dp p/V`` over prices that are not negligible (1e-3
        of the largest and more); ``swing``, the root mean square of ``dV/dp`` times the standard deviation of p, in
        units of prices; and ``share`` of its square in the sum over all: derivative-based global sensitivity (Sobol
        and Kucherenko 2009), largest first.

    Raises
    ------
    ParameterError
        If an argument is unknown, or no point is in the domain.

    Examples
    --------
    >>> from warpquant import pinn
    >>> region = {"S": (90.0, 110.0), "K": 100.0, "tau": (0.2, 1.0), "sigma": (0.1, 0.4), "r": 0.02}
    >>> found = pinn.sensitivity(pinn.PinnModel.load("european"), region)
    >>> list(found)
    ['S', 'sigma', 'tau']
    """
    known = _derivatives(model)
    _check_mapping("ranges", ranges)
    fixed = {name: value for name, value in ranges.items() if np.ndim(value) == 0}
    varied = {name: checked_range(f"ranges: {name}", value) for name, value in ranges.items() if name not in fixed}
    for name in varied:
        if name not in known:
            raise ParameterError(f"ranges: {name!r} has no derivative; accepted are {', '.join(known)}")
    if not varied:
        raise ParameterError("ranges: has no (low, high)")
    u = uniforms(whole("points", points, 16), len(varied), whole("seed", seed, 0))
    values = {name: low + (high - low) * row for (name, (low, high)), row in zip(varied.items(), u, strict=True)}
    made = model.greeks(**fixed, **values, which=("price", *(known[name][0] for name in varied)))
    price = np.asarray(made["price"])
    inside = np.isfinite(price)
    if not inside.any():
        raise ParameterError(f"ranges: no point is inside the domain {model.domain} of the model")
    worth = inside & (np.abs(price) > 1e-3 * np.max(np.abs(price[inside])))
    found: dict[str, dict[str, float]] = {}
    for name, (low, high) in varied.items():
        slope = known[name][1] * np.asarray(made[known[name][0]])
        elasticity = float(np.median((slope * values[name] / price)[worth]))
        swing = float(np.sqrt(np.mean(slope[inside] ** 2))) * (high - low) / math.sqrt(12.0)
        found[name] = {"elasticity": elasticity, "swing": swing}
    total = sum(entry["swing"] ** 2 for entry in found.values())
    for entry in found.values():
        entry["share"] = entry["swing"] ** 2 / total if total > 0.0 else 0.0
    return dict(sorted(found.items(), key=lambda item: -item[1]["share"]))


def compare(
    models: Mapping[str, PinnModel],
    *,
    reference: Callable[..., Any] | None = None,
    points: int = 4096,
    rounds: int = 5,
) -> list[dict[str, Any]]:
    """Several models of one product next to each other.

    Parameters
    ----------
    models : mapping
        Name to model; all of the same product.
    reference : callable, optional
        Takes arguments of `price` by name and gives prices; by default the reference of the product.
    points : int
        Of the fixed grid of the product.
    rounds : int
        Timings, of which the shortest counts.

    Returns
    -------
    list of dict
        One for each model, best first: ``name``, ``parameters``, ``max_error``, ``rmse``, ``relative_l2`` (in units of
        the strike, over the points that every model covers), ``outside`` (points that this one does not), and
        ``us_per_price``.

    Raises
    ------
    ParameterError
        If there are none, or they are of several products.

    Examples
    --------
    >>> from warpquant import pinn
    >>> model = pinn.PinnModel.load("barrier")
    >>> (row,) = pinn.compare({"stored": model}, points=256)
    >>> row["name"], row["max_error"] < 1e-5
    ('stored', True)
    """
    _check_mapping("models", models)
    for model in models.values():
        if not isinstance(model, PinnModel):
            raise DTypeError(f"models: {type(model).__name__} is no PinnModel; see PinnModel.load")
    kinds = {model.ansatz for model in models.values() if model.features is not None}
    if len(kinds) != 1 or any(model.features is None for model in models.values()):
        raise ParameterError(f"models: are of {', '.join(sorted(kinds)) or 'no product'}; accepted are those of one")
    whole("rounds", rounds, 1)
    first = next(iter(models.values()))
    arguments, exact = _grid(first, whole("points", points, 16))
    if reference is not None:
        exact = np.asarray(reference(**arguments), np.float64)
    prices, seconds = {}, {}
    for name, model in models.items():
        seconds[name] = math.inf
        for _ in range(rounds):
            started = time.perf_counter()
            prices[name] = np.asarray(model.price(**arguments))
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    shared = np.isfinite(exact) & np.all([np.isfinite(p) for p in prices.values()], axis=0)
    if not shared.any():
        raise ParameterError("models: no point of the grid is covered by all")
    table = []
    for name, model in models.items():
        table.append(
            {
                "name": name,
                "parameters": model.info()["parameters"],
                **norms((prices[name] - exact)[shared], exact[shared]),
                "outside": int(np.count_nonzero(~np.isfinite(prices[name]))),
                "us_per_price": 1e6 * seconds[name] / len(exact),
            }
        )
    return sorted(table, key=lambda row: row["max_error"])


def _grid(model: PinnModel, points: int) -> tuple[dict[str, Any], Array]:
    """Arguments of the fixed grid of a product, and prices of its reference there."""
    if isinstance(model, ProductModel):
        x = model.product.grid(points)
        return dict(model.product.plain(x)), model.product.exact(x, ("price",))["price"]
    from warpquant import options

    assert model.domain is not None
    k, v = European(model.domain["k"], model.domain["v"][1]).draw(points, 2**20)
    k = np.clip(k, *model.domain["k"])
    arguments = {"S": np.exp(k), "K": np.ones_like(k), "tau": np.ones_like(k), "sigma": np.sqrt(v), "r": 0.0 * k}
    return arguments, options.price(arguments["S"], 1.0, 1.0, 0.0, 0.0, arguments["sigma"], True)["price"]
