# SPDX-License-Identifier: Apache-2.0
"""The stages of adaptive trend classification, one at a time.

`warpquant.atc.run` does all of them in one pass and is far faster; these functions are for looking at a stage, or for
putting another one in its place. From prices to the final signal:

1. averages: `warpquant.ma`;
2. `crosses`: when the price crossed each of them;
3. `warpquant.equity.curve`: what following each cross would have made;
4. `family`: layer 1, the signal of a family of averages;
5. `warpquant.equity.curve` again, of each family's signal;
6. `average`: layer 2, the signal of all families;
7. `trend` and `direction`: its sign, and its latched turns.

docs/atc.md has the definitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, config
from ._checks import choice, number
from ._containers import Unpacked, _library, shape, unpack, unpack_like
from ._devices import resolve
from .errors import ParameterError, ShapeError

__all__ = ["average", "crosses", "direction", "family", "trend"]


def _run(
    op: str,
    like: tuple[str, Any],
    others: Mapping[str, Any],
    axis: int | str | None,
    out: Any,
    num_threads: int | None,
    device: str | None,
    stream: Any,
    numbers: Mapping[str, float] | None = None,
    rounding: str = "none",
) -> Any:
    """A stage with `others` and then `like`, which the result has the structure of, as inputs."""
    name, x = like
    source = unpack(x, name, axis)
    members: dict[str, Unpacked] = {n: unpack_like(other, n, source, axis) for n, other in others.items()}
    members[name] = source
    where = (
        *config._execution(num_threads),
        resolve(device, source.device, name, lambda: source.work("signals", inputs=len(members)), num_threads, stream),
    )
    target = out
    if out is not None and isinstance(x, Mapping):
        if not isinstance(out, Mapping) or list(out) != list(x):
            raise ParameterError(f"out: must be a mapping with the keys of {name}, in the same order")
        target = list(out.values())
    how = (dict(numbers or {}), rounding, target, *where)
    inputs = [member.data for member in members.values()]
    if source.labels is None:
        expected = shape(source.data, name)
        for n, member in members.items():
            if None not in (expected, given := shape(member.data, n)) and given != expected:
                raise ShapeError(f"{n}: has shape {given}, but {name} has shape {expected}")
        result = _core.signals_array(op, inputs, list(members), source.axis, *how)
    else:
        result = _core.signals_columns(op, inputs, list(members), source.labels, *how)
    return out if out is not None else source.wrap(result)


def _members(name: str, arrays: Any) -> list[Any]:
    """The arrays of several averages, or families: of a mapping, of a sequence, or along a leading axis."""
    if isinstance(arrays, Mapping):
        return list(arrays.values())
    if _library(arrays) == ("pandas", "DataFrame") and arrays.columns.names[0] == "length":  # of detail
        return [
            arrays.xs(n, axis=1, level=0) if arrays.columns.nlevels > 1 else arrays[n] for n in arrays.columns.unique(0)
        ]
    if _library(arrays)[0] in ("pandas", "polars", "pyarrow"):
        raise ParameterError(
            f"{name}: is one {type(arrays).__name__}; accepted is a list of them, one for each average"
        )
    if isinstance(arrays, Sequence) or (hasattr(arrays, "ndim") and arrays.ndim > 1 and hasattr(arrays, "__getitem__")):
        return [arrays[i] for i in range(len(arrays))]
    raise ParameterError(
        f"{name}: is a {type(arrays).__name__}; accepted are a sequence or mapping of arrays, or one array with a "
        "leading axis"
    )


def _votes(op: str, signals: Any, equities: Any, *how: Any, **settings: Any) -> Any:
    positions, weights = _members("signals", signals), _members("equities", equities)
    if isinstance(signals, Mapping) and isinstance(equities, Mapping):
        if set(signals) != set(equities):
            raise ShapeError(f"equities: has the keys {list(equities)}, but signals has {list(signals)}")
        weights = [equities[key] for key in signals]
    if not positions or len(positions) != len(weights):
        raise ShapeError(
            f"equities: are {len(weights)}, but there are {len(positions)} signals; one for each is needed"
        )
    others = {f"signals[{i}]": x for i, x in enumerate(positions)}
    others.update((f"equities[{i}]", x) for i, x in enumerate(weights[:-1]))
    return _run(op, (f"equities[{len(weights) - 1}]", weights[-1]), others, *how, **settings)


def crosses(
    prices: Any,
    average: Any,
    *,
    cross_rtol: float = 1e-12,
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Whether the price last crossed above or below an average.

    A cross above needs a bar above the average behind one that was not, and the average known on both; crosses below
    likewise. The signal stays until the next cross; a missing price or average leaves it as it is.

    Parameters
    ----------
    prices : array, shape (bars,) or (series, bars)
        Closes, of any array kind (see the moving averages). NaN and infinite values are missing.
    average : array, same shape
        What they cross. NaN: not known.
    cross_rtol : float, default 1e-12
        A close within this relative distance of the average counts as level with it; 0 compares as is.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    out : array of int8, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    array of int8
        +1, -1, or 0 before the first cross; of the kind and shape of `prices`.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.signals.crosses([1.0, 3.0, 3.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0, 2.0]).tolist()
    [0, 1, 1, -1, -1]
    """
    rtol = number("cross_rtol", cross_rtol, 0.0, math.inf)
    # The core takes the input that the result is like last.
    return _run(
        "crosses", ("prices", prices), {"average": average}, axis, out, num_threads, device, stream, {"rtol": rtol}
    )


def family(
    signals: Any,
    equities: Any,
    *,
    rounding: str = "even",
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Layer 1: the mean signal of the averages of a family, weighted by their equities.

    With the `detail` of `warpquant.atc.run` these are its ``*_signal``, to the last bit.

    Parameters
    ----------
    signals : sequence or mapping of arrays, or one array with a leading axis
        For each average the signal of its crosses, each of shape (bars,) or (series, bars): only its sign counts, and
        NaN counts as 0. The entries of a mapping are averages; for series by name pass a list of mappings.
    equities : the same
        For each average the equity of that signal, its weight.
    rounding : {'even', 'away', 'none'}, default 'even'
        To two decimals, ties to even or away from zero, or not at all.
    axis : int or str, optional
        Time axis of two-dimensional arrays; the last by default.
    out : array, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    array
        In [-1, 1], NaN where an equity is; of the kind, shape and type of an equity.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.signals.family([[1.0, 1.0], [1.0, -1.0]], [[1.0, 3.0], [1.0, 1.0]]).tolist()
    [1.0, 0.5]
    """
    choice("rounding", rounding, ("away", "even", "none"))
    return _votes("family", signals, equities, axis, out, num_threads, device, stream, rounding=rounding)


def average(
    signals: Any,
    equities: Any,
    *,
    upper: float = 0.1,
    lower: float = -0.1,
    fill: float = 0.0,
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Layer 2: the average vote of the families, weighted by their equities.

    A family whose signal is above `upper` votes +1, one below `lower` -1, the others 0.

    Parameters
    ----------
    signals, equities : sequence or mapping of arrays, or one array with a leading axis
        For each family its signal (`family`) and the equity of that, each of shape (bars,) or (series, bars). The
        entries of a mapping are families; for series by name pass a list of mappings.
    upper, lower : float, default 0.1, -0.1
        What a signal must exceed to be a vote. ATC takes its thresholds in sovereign mode, and 0.49 and -0.49 in pine
        mode.
    fill : float, default 0
        Result where an equity is not known.
    axis : int or str, optional
        Time axis of two-dimensional arrays; the last by default.
    out : array, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    array
        In [-1, 1], of the kind, shape and type of an equity.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.signals.average([[0.6], [-0.3], [0.05]], [[2.0], [1.0], [1.0]]).tolist()
    [0.25]
    """
    numbers = {
        "upper": number("upper", upper),
        "lower": number("lower", lower),
        "fill": math.nan if _is_nan(fill) else number("fill", fill),
    }
    if numbers["upper"] < numbers["lower"]:
        raise ParameterError(f"upper: {upper!r} is below lower {lower!r}")
    return _votes("average", signals, equities, axis, out, num_threads, device, stream, numbers)


def trend(
    average: Any,
    *,
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Sign of the average signal.

    Parameters
    ----------
    average : array, shape (bars,) or (series, bars)
        The signal of layer 2.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    out : array of int8, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    array of int8
        +1, -1 or 0; 0 for NaN.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.signals.trend([0.4, -0.2, 0.0]).tolist()
    [1, -1, 0]
    """
    return _run("trend", ("average", average), {}, axis, out, num_threads, device, stream)


def direction(
    average: Any,
    *,
    long_threshold: float = 0.1,
    short_threshold: float = -0.1,
    axis: int | str | None = None,
    out: Any = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Direction that the average signal latches where it crosses a threshold.

    Parameters
    ----------
    average : array, shape (bars,) or (series, bars)
        The signal of layer 2.
    long_threshold, short_threshold : float, default 0.1, -0.1
        Crossing over the first gives +1, crossing under the second -1.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    out : array of int8, optional
        Where to write the result.
    num_threads : int, optional
        CPU threads; by default as many as the process may use.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams").

    Returns
    -------
    array of int8
        +1 or -1 from the last crossing, 0 before the first. A NaN crosses nothing.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.signals.direction([0.0, 0.2, 0.0, -0.2, 0.0]).tolist()
    [0, 1, 1, -1, -1]
    """
    numbers = {"upper": number("long_threshold", long_threshold), "lower": number("short_threshold", short_threshold)}
    if numbers["upper"] <= numbers["lower"]:
        raise ParameterError(f"long_threshold: {long_threshold!r} is not above short_threshold {short_threshold!r}")
    return _run("direction", ("average", average), {}, axis, out, num_threads, device, stream, numbers)


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isnan(value)
