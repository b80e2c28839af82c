# SPDX-License-Identifier: Apache-2.0
"""Moving averages.

One function per kind: ``sma``, ``ema``, ``wma``, ``hma``, ``dema``, ``tema``, ``kama``, ``lsma``, ``rma``, ``roc``.
They take one series or a panel of any array kind, one length or several, and give the same kind back. `Stream` computes
the same averages bar by bar, with the same bits. `kinds` lists the kinds, `info` describes one.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, config
from ._checks import choice
from ._containers import shape, unpack
from ._devices import resolve
from .errors import DTypeError, ParameterError

_NAN_POLICIES = ("window", "propagate", "raise")
_SEEDS = ("sma", "first")


@dataclasses.dataclass(frozen=True)
class Info:
    """What there is to know about a kind of average.

    Attributes
    ----------
    name, title, formula, notes : str
        Name of the function, full name, definition and conventions.
    recurrent : bool
        Whether values depend on all earlier bars (True) or on a window of them (False).
    options : dict
        Further keywords of the function and their defaults.
    """

    name: str
    title: str
    formula: str
    notes: str
    recurrent: bool
    options: dict[str, Any]


def _registry() -> dict[str, tuple[int, Info]]:
    kinds = {}
    for index, entry in enumerate(_core.ma_kinds()):
        options: dict[str, Any] = {}
        if entry.pop("takes_seed"):
            options["seed"] = "sma"
        if entry.pop("takes_fast_slow"):
            options.update(fast=2, slow=30)
        kinds[entry["name"]] = (index, Info(**entry, options=options))
    return kinds


_KINDS = _registry()


def kinds() -> tuple[str, ...]:
    """Names of all averages.

    Examples
    --------
    >>> import warpquant
    >>> "ema" in warpquant.ma.kinds()
    True
    """
    return tuple(_KINDS)


def info(kind: str) -> Info:
    """Description of one kind.

    Raises
    ------
    ParameterError
        If there is no such kind.
    """
    return _find(kind)[1]


def _find(kind: str) -> tuple[int, Info]:
    try:
        return _KINDS[kind]
    except (KeyError, TypeError):
        raise ParameterError(f"kind: {kind!r} is not an average; known are {', '.join(_KINDS)}") from None


def _one_length(length: Any) -> int:
    try:
        value = operator.index(length)
    except TypeError:
        value = 0
    if isinstance(length, (bool, np.bool_)) or value < 1:
        raise ParameterError(f"length: {length!r} is not a length; accepted are whole numbers of bars from 1")
    if value >= 2**31:
        raise ParameterError(f"length: {length!r} is out of range; accepted are whole numbers below 2**31")
    return value


def _lengths(length: Any) -> tuple[list[int], bool]:
    if (isinstance(length, Sequence) and not isinstance(length, str)) or (np.ndarray is type(length) and length.ndim):
        values = [_one_length(n) for n in length]
        if not values:
            raise ParameterError("length: is empty; pass at least one length")
        return values, True
    return [_one_length(length)], False


def _pace(name: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not 1 <= value < 2**31
    ):
        raise ParameterError(f"{name}: {value!r} is out of range; accepted are numbers of bars from 1, below 2**31")
    return float(value)


def _options(kind: Info, given: Mapping[str, Any]) -> tuple[bool, float, float]:
    """Whether the first value is the seed, and KAMA's two paces."""
    options = {**kind.options, **given}
    seed = options.get("seed", "sma")
    if not isinstance(seed, str) or seed not in _SEEDS:
        raise ParameterError(f"seed: {seed!r} is not a seed; accepted are 'sma' and 'first'")
    return seed == "first", _pace("fast", options.get("fast", 2)), _pace("slow", options.get("slow", 30))


def _check_nan(nan: str) -> None:
    if not isinstance(nan, str) or nan not in _NAN_POLICIES:
        raise ParameterError(f"nan: {nan!r} is not a policy; accepted are 'window', 'propagate' and 'raise'")


def _compute(
    index: int,
    kind: Info,
    x: Any,
    length: Any,
    *,
    nan: str,
    axis: int | str | None,
    out: Any,
    warmup: str,
    num_threads: int | None,
    device: str | None,
    stream: Any,
    exact: bool = False,
    **given: Any,
) -> Any:
    lengths, several = _lengths(length)
    _check_nan(nan)
    choice("warmup", warmup, ("nan", "null"))
    how = (lengths, several, *_options(kind, given), nan)
    if out is not None and isinstance(x, Mapping):
        out = _match_out(x, out)
    source = unpack(x, "x", axis)
    where = (
        *config._execution(num_threads),
        resolve(device, source.device, "x", lambda: source.work("average", len(lengths)), num_threads, stream),
    )
    if warmup == "null" and not source.has_null:
        raise DTypeError(f"warmup: 'null' goes with Polars and Arrow; {type(x).__name__} has no null")
    if warmup == "null" and out is not None:
        raise ParameterError("warmup: 'null' goes with a new result; out has no null")
    if source.labels is None:
        result = _core.ma_array(index, source.data, *how, source.axis, out, *where)
    else:
        result = _core.ma_columns(index, source.data, source.labels, *how, out, *where)
    if out is not None:
        return dict(zip(x, out, strict=True)) if isinstance(x, Mapping) else out
    wrapped = source.wrap_lengths(result, lengths) if several else source.wrap(result)
    return source.null_warmup(wrapped) if warmup == "null" else wrapped


def _match_out(x: Mapping[Any, Any], out: Any) -> list[Any]:
    if not isinstance(out, Mapping) or list(out) != list(x):
        raise ParameterError("out: must be a mapping with the keys of x, in the same order")
    return list(out.values())


_DOC = """{title}.

    Definition: ``{formula}``.

    {notes}

    Parameters
    ----------
    x : array, shape (bars,) or (series, bars)
        One series, or a panel. Any array kind: NumPy, pandas, Polars, PyArrow, xarray, PyTorch, JAX, anything with the
        buffer protocol or DLPack, lists, or a mapping of series of any lengths. float64 and float32 are read where they
        lie, whatever their strides; integers are widened. Arithmetic is in float64 throughout. Frames and tables have
        bars as rows and series as columns.
    length : int or sequence of int
        Bars, from 1. A sequence computes several averages in one pass over `x`.
    {options}nan : {{'window', 'propagate', 'raise'}}, default 'window'
        What a missing value (NaN or infinite) inside a series does. {nan} 'propagate': {propagate}. 'raise': an
        exception names series and bar. Leading missing values are passed over in each series, except under 'raise'.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default. For xarray also the name of a dimension; by default
        the one called time, date or the like.
    out : array, optional
        Where to write the result: its shape and type, no memory in common with `x`. For a mapping, one of arrays.
    warmup : {{'nan', 'null'}}, default 'nan'
        How Polars and Arrow results mark bars without a value yet.
    {exact}num_threads : int, optional
        CPU threads; by default as many as the process may use. The result does not depend on it.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams"). By default the one that `x` brings.

    Returns
    -------
    array
        Same kind, shape and type as `x`; a series too short for the average is all NaN. With several lengths there is a
        new leading axis (frames: one group of columns per length).

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.ma.{name}({example}).tolist()
    {result}
    """

_OPTION_DOCS = {
    "seed": """seed : {'sma', 'first'}, default 'sma'
        Start from the mean of the first `length` values (TA-Lib, pandas-ta), or from the first value (pandas
        ``ewm(adjust=False)``); nested averages start one after the other, or all at once.
    """,
    "fast": """fast, slow : float, default 2, 30
        Lengths of the fastest and the slowest smoothing, in bars, from 1.
    """,
}

_EXACT_DOC = """exact : bool, default False
        Accepted for scripts that ask for the bits of panels and streams. A long single series, though computed piece by
        piece side by side, always has them.
    """


def _document(kind: Info) -> str:
    sample = [2.0, 4.0, 8.0, 4.0, 2.0, 4.0, 8.0]
    index, _ = _KINDS[kind.name]
    result = _core.ma_array(index, sample, [3], False, False, 2.0, 30.0, "window", -1, None, 1, "best", None)
    return _DOC.format(
        title=kind.title,
        formula=kind.formula,
        notes=kind.notes or "The first bars, until the average is complete, are NaN.",
        name=kind.name,
        options="".join(_OPTION_DOCS.get(o, "") for o in kind.options),
        exact=_EXACT_DOC if kind.recurrent else "",
        nan="'window': that bar is NaN, and the average goes on as if it had not been."
        if kind.recurrent
        else "'window': results are NaN while the window holds it.",
        propagate="everything from there on is NaN" + ("" if kind.recurrent else ", unless the average has no memory"),
        example=f"{sample}, 3",
        result=result.tolist(),
    )


def _make(name: str) -> Callable[..., Any]:
    """The public function of a kind, with exactly the keywords it knows."""
    index, kind = _KINDS[name]
    defaults = {**kind.options, "nan": "window", "axis": None, "out": None, "warmup": "nan"}
    if kind.recurrent:
        defaults["exact"] = False
    defaults.update(num_threads=None, device=None, stream=None)

    def average(x: Any, length: Any, **keywords: Any) -> Any:
        unknown = keywords.keys() - defaults.keys()
        if unknown:
            raise TypeError(f"{name}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
        return _compute(index, kind, x, length, **{**defaults, **keywords})

    positional = [inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in ("x", "length")]
    keyword = [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in defaults.items()]
    average.__name__ = average.__qualname__ = name
    average.__signature__ = inspect.Signature([*positional, *keyword])  # type: ignore[attr-defined]
    average.__doc__ = _document(kind)
    return average


class Stream:
    """An average computed bar by bar, for several series at once.

    Every update gives the bits that the function of the same name would give for the series so far.

    Parameters
    ----------
    kind : str
        Name of the average.
    length : int
        Bars.
    n_series : int, default 1
        Number of series.
    nan : {'window', 'propagate', 'raise'}, default 'window'
        As for the functions. A missing value before the first present one is passed over.
    **options
        `seed`, `fast`, `slow`, as far as the kind has them.

    Examples
    --------
    >>> import warpquant
    >>> stream = warpquant.ma.Stream("sma", 2, n_series=2)
    >>> stream.update([1.0, 10.0]).tolist(), stream.update([3.0, 20.0]).tolist()
    ([nan, nan], [2.0, 15.0])
    """

    _VERSION = 1

    def __init__(self, kind: str, length: int, n_series: int = 1, *, nan: str = "window", **options: Any) -> None:
        index, description = _find(kind)
        unknown = options.keys() - description.options.keys()
        if unknown:
            raise ParameterError(f"{sorted(unknown)[0]}: {kind} has no such option; it has {list(description.options)}")
        if isinstance(n_series, bool) or not hasattr(n_series, "__index__") or not 1 <= n_series < 2**31:
            raise ParameterError(
                f"n_series: {n_series!r} is not a number of series; accepted are whole numbers from 1 below 2**31"
            )
        _check_nan(nan)
        self._head = {
            "version": self._VERSION,
            "kind": str(kind),
            "length": _one_length(length),
            "n_series": operator.index(n_series),
            "nan": nan,
            **{k: options.get(k, v) for k, v in description.options.items()},
        }
        self._names: list[Any] | None = None  # of the series, once a call has given them
        seed_first, fast, slow = _options(description, options)
        self._core = _core.MaStream(index, self._head["length"], self._head["n_series"], seed_first, fast, slow, nan)

    @property
    def kind(self) -> str:
        """Name of the average."""
        return str(self._head["kind"])

    @property
    def length(self) -> int:
        """Bars."""
        return int(self._head["length"])

    @property
    def n_series(self) -> int:
        """Number of series."""
        return int(self._head["n_series"])

    def update(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take in one bar.

        Parameters
        ----------
        x : array, shape (n_series,)
            The newest value of each series; a number if there is only one. NaN where a series has no bar. A mapping or
            a pandas Series names the series: the first such call says in which order they are, later ones may have
            another, but the same names.

        Returns
        -------
        ndarray, shape (n_series,)
            The averages; NaN until they are complete, and where the value was missing.

        Raises
        ------
        ShapeError, DTypeError
            If `x` does not fit.
        ParameterError
            Under ``nan='raise'``, if a value is missing, and if names are others than before; the stream is then
            unchanged.
        """
        names = list(x.keys()) if hasattr(x, "keys") else None  # pandas Series have them, too
        if names is not None:
            if self._names is not None and names != self._names:
                if len(names) != len(self._names) or set(names) != set(self._names):
                    raise ParameterError("x: names other series than the calls before")
                x = {name: x[name] for name in self._names}
            x = list(x.values()) if isinstance(x, Mapping) else x
        data = unpack(x, "x").data
        if shape(data, "x") == ():  # a number, an array without dimensions
            data = [data] if np.isscalar(data) else np.reshape(data, 1)
        result: npt.NDArray[np.float64] = self._core.update(data)
        self._names = self._names or names
        return result

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values and one array, to be saved with any tool (`numpy.savez`, safetensors, JSON).

        ``words`` is an array of uint64, shape (n_series, some); a list of lists of the same numbers is taken back as
        well. ``version`` grows when states of older versions are no longer understood.
        """
        return {**self._head, "words": self._core.save()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state from `state_dict`.

        Raises
        ------
        ParameterError, ShapeError
            If it is the state of another average, or not a state at all; the stream is then unchanged.
        """
        if not isinstance(state, Mapping):
            raise ParameterError(f"state: is a {type(state).__name__}, not the mapping that state_dict gives")
        for key, value in self._head.items():
            if key not in state:
                raise ParameterError(f"state: has no {key!r}; this is not the state of a stream")
            given = state[key]
            given = given.item() if isinstance(given, np.ndarray) and given.ndim == 0 else given
            if type(given) not in (int, float, str) or given != value:
                raise ParameterError(f"state: {key} is {given!r}, but this stream has {value!r}")
        words = state.get("words", ())
        try:
            words = words if isinstance(words, np.ndarray) else np.array(words, dtype=np.uint64)
        except (TypeError, ValueError, OverflowError):
            raise ParameterError("state: words are not whole numbers from 0, the same number for each series") from None
        if words.dtype != np.uint64 or words.ndim != 2:
            raise ParameterError("state: words must be a two-dimensional array of uint64")
        self._core.load(words)

    def __repr__(self) -> str:
        head = {k: v for k, v in self._head.items() if k not in ("version", "kind")}
        return f"Stream({self.kind!r}, {', '.join(f'{k}={v!r}' for k, v in head.items())})"


for _name in _KINDS:
    globals()[_name] = _make(_name)

__all__ = ["Info", "Stream", "info", "kinds", *_KINDS]
