# SPDX-License-Identifier: Apache-2.0
"""Adaptive trend classification (ATC).

Six families of moving averages with nine lengths each give crosses of the price; the equity that each cross signal
would have made weighs it (layer 1), and the equity of each family's signal weighs the families (layer 2). `run` is the
call for panels, `compute_atc_signals` the one for scripts that come from the Python port, `Params` holds the
parameters. Two named behaviours, ``compat="sovereign"`` (that port, the default) and ``compat="pine"`` (the original
chart script), are bundles of independent switches. docs/atc.md has the definitions.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import logging
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast, overload

import numpy as np

from . import _core, config
from ._checks import choice, flag, number, whole
from ._containers import Unpacked, shape, unpack, unpack_like
from ._devices import resolve
from .errors import ParameterError, ShapeError

__all__ = [
    "FAMILIES",
    "OUTPUTS",
    "ATCConfig",
    "Params",
    "Stream",
    "compute_atc_signals",
    "lengths",
    "run",
]

_log = logging.getLogger("warpquant")


def __getattr__(name: str) -> Any:
    """`sweep` stands on backtests, which stand on this module, so it is loaded at first use."""
    if name == "sweep":
        from .sweep import sweep

        return sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


#: The six families, in the order of every table.
FAMILIES = ("EMA", "HMA", "WMA", "DEMA", "LSMA", "KAMA")
_WORDS = tuple(f.lower() for f in FAMILIES)

#: Names of the outputs with one value per bar.
OUTPUTS: tuple[str, ...] = _core.ATC_OUTPUTS

#: The same under the names of the Python port.
_PORT_NAMES = {
    "average": "Average_Signal",
    "trend": "Trend",
    "direction": "Direction",
    **{f"{f.lower()}_signal": f"{f}_Signal" for f in FAMILIES},
    **{f"{f.lower()}_s": f"{f}_S" for f in FAMILIES},
}
_PORT_OUTPUTS = tuple(_PORT_NAMES[name] for name in (*OUTPUTS[3:], *OUTPUTS[:3]))
_INDEX = {name: i for i, k in enumerate(OUTPUTS) for name in (k, _PORT_NAMES[k])}
_DETAILS: tuple[str, ...] = _core.ATC_DETAILS

_OFFSETS = {"Narrow": (1, 2, 3, 4), "Medium": (1, 2, 4, 6), "Wide": (1, 3, 5, 7)}

_SWITCHES: dict[str, tuple[str, ...]] = {
    "hma": ("sma", "hull"),
    "dema_seed": ("sma", "value"),
    "lsma": ("end", "previous"),
    "kama_seed": ("zero", "first"),
    "rounding": ("away", "even", "none"),
    "cut": ("fixed", "thresholds"),
    "neutral": ("sticky", "flat"),
    "average_fill": ("nan", "zero"),
    "nan_policy": ("skip", "propagate", "raise"),
    "length_rule": ("raise", "clamp"),
    "on_short": ("neutral", "raise"),
}
_COMPAT: dict[str, dict[str, str]] = {
    "pine": dict(
        hma="sma",
        dema_seed="sma",
        lsma="end",
        kama_seed="zero",
        rounding="away",
        cut="fixed",
        neutral="sticky",
        average_fill="nan",
        nan_policy="skip",
        length_rule="raise",
        on_short="neutral",
    ),
    "sovereign": dict(
        hma="hull",
        dema_seed="value",
        lsma="end",
        kama_seed="first",
        rounding="even",
        cut="thresholds",
        neutral="flat",
        average_fill="zero",
        nan_policy="propagate",
        length_rule="raise",
        on_short="neutral",
    ),
}

#: Names that other versions give to our parameters.
_ALIASES = {"hma_len": "hull_len", "lambda_param": "La", "decay": "De"}


def lengths(base: int, robustness: str = "Medium", *, rule: str = "raise", family: str = "") -> tuple[int, ...]:
    """The nine lengths of a family in canonical order: base, four longer ones, four shorter ones.

    Parameters
    ----------
    base : int
        Base length in bars.
    robustness : {'Narrow', 'Medium', 'Wide'}, default 'Medium'
        How far the others lie from it.
    rule : {'raise', 'clamp'}, default 'raise'
        What to do when the shortest would fall below 1.
    family : str, optional
        For the message.

    Raises
    ------
    ParameterError
        If the base is too small, or robustness or rule unknown.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.atc.lengths(28)
    (28, 29, 30, 32, 34, 27, 26, 24, 22)
    """
    try:
        return _lengths(base, robustness, rule, family)
    except TypeError:  # something that cannot be hashed; let the checks say what
        return _lengths.__wrapped__(base, robustness, rule, family)


@functools.lru_cache(maxsize=4096, typed=True)
def _lengths(base: int, robustness: str, rule: str, family: str) -> tuple[int, ...]:
    """The same, once for all sets of a sweep that have them."""
    choice("robustness", robustness, tuple(_OFFSETS))
    choice("length_rule", rule, _SWITCHES["length_rule"])
    offsets = _OFFSETS[robustness]
    name = f"{family}_len" if family else "base"
    base = whole(name, base, 1)
    if base >= 2**31:
        raise ParameterError(f"{name}: {base} is out of range; accepted are whole numbers below 2**31")
    if base <= offsets[-1] and rule == "raise":
        raise ParameterError(
            f"{name}: {base} is too short for robustness {robustness!r}, whose shortest average is {offsets[-1]} bars "
            f"shorter; at least {offsets[-1] + 1} is needed (or length_rule='clamp')"
        )
    return (base, *(base + o for o in offsets), *(max(1, base - o) for o in offsets))


@functools.lru_cache(maxsize=4096)
def _family_lengths(robustness: str, rule: str, *bases: int) -> tuple[tuple[int, ...], ...]:
    """Those of six families, once for all sets of a sweep that have them."""
    return tuple(lengths(base, robustness, rule=rule) for base in bases)


@dataclasses.dataclass(frozen=True)
class Params:
    """Parameters of adaptive trend classification, checked when made.

    Attributes
    ----------
    ema_len, hull_len, wma_len, dema_len, lsma_len, kama_len : int, default 28
        Base length of each family in bars. `hma_len` is accepted for `hull_len`.
    ema_w, hma_w, wma_w, dema_w, lsma_w, kama_w : float, default 1
        Starting equity of each family in layer 2. It is a weight at the start only; 0 or less counts as the floor 0.25.
    robustness : {'Narrow', 'Medium', 'Wide'}, default 'Medium'
        Spread of the nine lengths of a family, see `lengths`.
    La : float, default 0.02
        Growth rate of returns, in per mille per bar. Also `lambda_param`.
    De : float, default 0.03
        Decay of equities, in percent per bar, in [0, 100]. Also `decay`.
    cutout : int, default 0
        Leading bars without equity.
    long_threshold, short_threshold : float, default 0.1, -0.1
        Levels of `Direction`, and in sovereign mode of the cut between layers.
    cut_level : float, default 0.49
        Level of that cut in pine mode.
    strategy_mode : bool, default False
        Delay the average by one bar, so that it can be acted on.
    cross_rtol : float, default 1e-12
        A close within this relative distance of an average counts as level with it; 0 compares as is.
    compat : {'sovereign', 'pine'}, default 'sovereign'
        Bundle of the switches below.
    hma, dema_seed, lsma, kama_seed, rounding, cut, neutral, average_fill, nan_policy, length_rule, on_short : str
        The switches, by default as `compat` says, but ``length_rule`` "raise" and ``on_short`` "neutral"; docs/atc.md
        has the table.

    Raises
    ------
    ParameterError
        If a value is out of range or unknown.

    Examples
    --------
    >>> from warpquant.atc import Params
    >>> Params(compat="pine").hma
    'sma'
    """

    ema_len: int = 28
    hull_len: int = 28
    wma_len: int = 28
    dema_len: int = 28
    lsma_len: int = 28
    kama_len: int = 28
    ema_w: float = 1.0
    hma_w: float = 1.0
    wma_w: float = 1.0
    dema_w: float = 1.0
    lsma_w: float = 1.0
    kama_w: float = 1.0
    robustness: str = "Medium"
    La: float = 0.02
    De: float = 0.03
    cutout: int = 0
    long_threshold: float = 0.1
    short_threshold: float = -0.1
    cut_level: float = 0.49
    strategy_mode: bool = False
    cross_rtol: float = 1e-12
    compat: str = "sovereign"
    hma: str = ""
    dema_seed: str = ""
    lsma: str = ""
    kama_seed: str = ""
    rounding: str = ""
    cut: str = ""
    neutral: str = ""
    average_fill: str = ""
    nan_policy: str = ""
    length_rule: str = ""
    on_short: str = ""

    _LENGTHS: ClassVar[tuple[str, ...]] = ("ema_len", "hull_len", "wma_len", "dema_len", "lsma_len", "kama_len")
    _WEIGHTS: ClassVar[tuple[str, ...]] = tuple(f"{w}_w" for w in _WORDS)

    def __post_init__(self) -> None:
        choice("compat", self.compat, tuple(_COMPAT))
        for switch, accepted in _SWITCHES.items():
            value = getattr(self, switch) or _COMPAT[self.compat][switch]
            choice(switch, value, accepted)
            object.__setattr__(self, switch, value)
        for field in self._LENGTHS:
            lengths(getattr(self, field), self.robustness, rule=self.length_rule, family=field.removesuffix("_len"))
            object.__setattr__(self, field, int(getattr(self, field)))
        for field in (*self._WEIGHTS, "La", "long_threshold", "short_threshold"):
            object.__setattr__(self, field, number(field, getattr(self, field)))
        object.__setattr__(self, "De", number("De", self.De, 0.0, 100.0))
        object.__setattr__(self, "cut_level", number("cut_level", self.cut_level, 0.0, math.inf))
        object.__setattr__(self, "cross_rtol", number("cross_rtol", self.cross_rtol, 0.0, math.inf))
        object.__setattr__(self, "cutout", whole("cutout", self.cutout, 0))
        flag("strategy_mode", self.strategy_mode)
        if self.long_threshold <= self.short_threshold:
            raise ParameterError(
                f"long_threshold: {self.long_threshold!r} is not above short_threshold {self.short_threshold!r}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Params:
        """Parameters from a mapping; also takes the names `hma_len`, `lambda_param` and `decay`.

        Raises
        ------
        ParameterError
            If a name is unknown or given twice, or a value not accepted.
        """
        return cls(**_by_field(values))

    @classmethod
    def _trusted(cls, *values: Mapping[str, Any]) -> Params:
        """Parameters of which every field is given, checked before; `_CHECKED_TOGETHER` says how."""
        params = object.__new__(cls)
        for some in values:
            params.__dict__.update(some)
        return params

    def to_dict(self) -> dict[str, Any]:
        """All parameters and switches by name; `from_dict` takes them back."""
        return dataclasses.asdict(self)

    @property
    def family_lengths(self) -> tuple[tuple[int, ...], ...]:
        """The nine lengths of each family, in the order of `FAMILIES`."""
        return _family_lengths(self.robustness, self.length_rule, *_BASES(self))

    @property
    def _settings(self) -> Any:
        """The same for the kernels; made once."""
        try:
            return self.__dict__["_core_settings"]
        except KeyError:
            pass
        settings = _core.AtcSettings(
            lengths=self.family_lengths,
            weights=[getattr(self, w) for w in self._WEIGHTS],
            numbers={
                "la_per_bar": self.La / 1000.0,
                "de_per_bar": self.De / 100.0,
                "long_threshold": self.long_threshold,
                "short_threshold": self.short_threshold,
                "cut_level": self.cut_level,
                "cross_rtol": self.cross_rtol,
            },
            cutout=self.cutout,
            strategy_mode=bool(self.strategy_mode),
            switches=dict(zip(_SWITCHES, _CHOICES(self), strict=True)),
        )
        self.__dict__["_core_settings"] = settings
        return settings

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_core_settings"}


_FIELDS = tuple(field.name for field in dataclasses.fields(Params))
_BASES, _CHOICES = operator.attrgetter(*Params._LENGTHS), operator.attrgetter(*_SWITCHES)


def _field(name: str) -> str:
    """The field of `Params` that a name stands for."""
    field = _ALIASES.get(name, name)
    if field not in _FIELDS:
        near = difflib.get_close_matches(name, [*_FIELDS, *_ALIASES], 1)
        raise ParameterError(f"{name}: is not a parameter of ATC" + (f"; did you mean {near[0]!r}?" if near else ""))
    return field


def _by_field(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the names of the fields."""
    known: dict[str, Any] = {}
    for name, value in values.items():
        field = _field(name)
        if field in known and known[field] != value:
            raise ParameterError(f"{name}: is another name for {field}, and the two differ")
        known[field] = value
    return known


#: Fields whose values depend on each other in the eyes of `Params`; every other field stands alone. A set is accepted
#: if each of these parts of it is, with all else at the defaults.
_CHECKED_TOGETHER: tuple[tuple[str, ...], ...] = (
    *((field, "robustness", "length_rule", "compat") for field in Params._LENGTHS),
    *((switch, "compat") for switch in _SWITCHES if switch != "length_rule"),
    ("long_threshold", "short_threshold"),
)


def _check_short(params: Params, source: Unpacked, label: str) -> None:
    """``on_short='raise'``: every series must be as long as the longest average."""
    needed = max(max(n) for n in params.family_lengths)
    if source.labels is None:
        size = shape(source.data, "prices")
        if size is None:
            size = np.from_dlpack(source.data).shape
        shortest, which = size[source.axis] if -len(size) <= source.axis < len(size) else 0, "prices"
    else:
        sizes = [max(shape(x, "prices") or (0,)) for x in source.data]
        shortest = min(sizes, default=0)
        which = f"prices: {source.labels[sizes.index(shortest)]!r}" if sizes else "prices"
    if shortest < needed:
        raise ShapeError(
            f"{label}{which}: {shortest} bars are fewer than the longest average, {needed}; on_short='raise'"
        )


@functools.lru_cache(maxsize=64)
def _chosen(outputs: tuple[str, ...]) -> tuple[tuple[str, ...], list[int]]:
    """Names of the outputs asked for, and their indices."""
    names = OUTPUTS if outputs == ("all",) else outputs
    for name in names:
        if name not in _INDEX:
            near = difflib.get_close_matches(str(name), _INDEX, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; accepted are 'all', {', '.join(map(repr, OUTPUTS))}"
            raise ParameterError(f"outputs: {name!r} is not an output{hint}")
    return names, [_INDEX[name] for name in names]


def _checked(params: Any) -> Params:
    """What `params=` takes for one set, as Params."""
    if params is None:
        return _DEFAULT
    if isinstance(params, Params):
        return params
    if isinstance(params, ATCConfig):
        return params.params
    if not isinstance(params, Mapping):
        raise ParameterError(f"params: {type(params).__name__} is neither Params nor a mapping, nor a sequence of them")
    return Params.from_dict(params)


def _checked_one(i: int, params: Any) -> Params:
    """The same of one of several sets; a message names it."""
    try:
        return _checked(params)
    except ParameterError as error:
        raise ParameterError(f"params[{i}]: {str(error).removeprefix('params: ')}") from None


@overload
def run(
    prices: Any,
    params: Params | Mapping[str, Any] | None = None,
    *,
    src: Any = None,
    outputs: str | Sequence[str] = ("average",),
    last_only: bool = False,
    detail: bool = False,
    precision: str = "float64",
    arithmetic: str = "float64",
    exact: bool = True,
    axis: int | str | None = None,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any]: ...


@overload
def run(
    prices: Any,
    params: Sequence[Params | Mapping[str, Any] | None],
    *,
    src: Any = None,
    outputs: str | Sequence[str] = ("average",),
    last_only: bool = False,
    detail: bool = False,
    precision: str = "float64",
    arithmetic: str = "float64",
    exact: bool = True,
    axis: int | str | None = None,
    out: None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> list[dict[str, Any]]: ...


def run(
    prices: Any,
    params: Params | Mapping[str, Any] | Sequence[Params | Mapping[str, Any] | None] | None = None,
    *,
    src: Any = None,
    outputs: str | Sequence[str] = ("average",),
    last_only: bool = False,
    detail: bool = False,
    precision: str = "float64",
    arithmetic: str = "float64",
    exact: bool = True,
    axis: int | str | None = None,
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Classify the trend of one symbol or of a panel.

    One pass per symbol computes the 54 averages, their crosses and equities and the two layers; only what is asked for
    is written to memory.

    Parameters
    ----------
    prices : array, shape (bars,) or (symbols, bars)
        Closes, of any array kind (see the moving averages), or a mapping of series of any lengths. NaN and infinite
        values are missing bars; `params.nan_policy` says what they do. Magnitudes from 2**1000 on are refused; on a
        device, unless ``nan_policy="raise"``, their symbol has no results instead (NaN, classes 0).
    params : Params or mapping, or a sequence of them, optional
        Parameters; a mapping goes through `Params.from_dict`. With a sequence the result is a list, one entry per set,
        and what sets have in common is computed once (docs/atc.md, "Many sets of parameters").
    src : array, same shape, optional
        Series that the averages follow, by default `prices`. Crosses and returns are always those of `prices`.
    outputs : sequence of str, default ('average',)
        What to return, ``"all"`` for everything: ``average`` (in [-1, 1]), ``trend`` (its sign, int8), ``direction``
        (+1 and -1 latched at the thresholds, int8), ``ema_signal`` ... ``kama_signal`` (layer 1, in [-1, 1]),
        ``ema_s`` ... ``kama_s`` (layer-2 equities). The names of the Python port (``Average_Signal``, ``EMA_S``, ...)
        are accepted too and then are the keys of the result.
    last_only : bool, default False
        Only the value of the last bar of each symbol; nothing else is stored.
    detail : bool, default False
        Also every average, signal and equity of layer 1: ``ema_ma``, ``ema_sig``, ``ema_eq`` and so on, with a leading
        axis of the nine lengths in the order of `lengths`.
    precision : {'float64', 'float32'}, default 'float64'
        Type of the results.
    arithmetic : {'float64', 'float32'}, default 'float64'
        'float32' lets a device compute in float32, for devices that are slow in float64. A close then counts as level
        with an average within a relative 2e-6 at least, so crosses there may come a bar earlier or later and some
        values differ from then on (docs/atc.md, "Accuracy"). The CPU computes in float64 all the same.
    exact : bool, default True
        False lets a device compute symbols of 16,384 bars or more in stages, each over pieces of time side by side:
        for a few long series, in which one bar after the other leaves most of a device idle. Results then agree with
        the exact ones to 1e-11, except on bars where a value lies that close to the edge of a decision. Elsewhere, with
        `detail`, and for several sets of parameters it changes nothing.
    axis : int or str, optional
        Time axis of a two-dimensional array; the last by default.
    out : mapping, optional
        Arrays to write results to, by output name; not with a sequence of sets.
    num_threads : int, optional
        CPU threads; by default as many as the process may use. Results do not depend on it.
    device : str, optional
        'auto', 'cpu', 'cuda' or 'cuda:N'.
    stream : int or object, optional
        For arrays on a device: the stream to compute in (docs/gpu.md, "Streams"). By default the one that `prices`
        bring.

    Returns
    -------
    dict, or a list of them
        Output name to array, of the kind and shape of `prices`; with `last_only`, one value per symbol. For a sequence
        of sets, the result of each in turn, with the bits of a call of its own.

    Raises
    ------
    ParameterError, ShapeError, DTypeError, LayoutError
        If an argument is not accepted; the message names it.
    DeviceUnavailableError
        If a CUDA device was asked for and cannot be used.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> prices = 100 + 10 * np.sin(np.arange(200) / 9.0)
    >>> result = warpquant.atc.run(prices, outputs=("average", "trend"), last_only=True)
    >>> int(result["trend"])
    -1
    >>> sets = [{"La": la, "De": de} for la in (0.01, 0.02) for de in (0.03, 0.05)]
    >>> [round(float(r["average"]), 2) for r in warpquant.atc.run(prices, sets, last_only=True)]
    [-1.0, -1.0, -1.0, -1.0]
    """
    several = not (params is None or isinstance(params, (Params, str))) and isinstance(params, Sequence)
    sets = [_checked_one(i, p) for i, p in enumerate(cast("Sequence[Any]", params))] if several else [_checked(params)]
    if not sets:
        raise ParameterError("params: is an empty list; at least one set of parameters is needed")
    names, wanted = _chosen((outputs,) if isinstance(outputs, str) else tuple(outputs))
    choice("precision", precision, ("float64", "float32"))
    choice("arithmetic", arithmetic, ("float64", "float32"))
    exact = exact is True or flag("exact", exact)
    if detail and last_only:
        raise ParameterError("detail: is one value per bar, which last_only leaves out; choose one of the two")
    if out is not None and last_only:
        raise ParameterError("out: takes one value per bar, which last_only leaves out; choose one of the two")
    if several and (detail or out is not None):
        name = "detail" if detail else "out"
        raise ParameterError(f"{name}: is not available with several sets of parameters; run those of interest alone")
    source = unpack(prices, "prices", axis)
    where = (
        *config._execution(num_threads),
        resolve(device, source.device, "prices", lambda: source.work("atc"), num_threads, stream),
    )
    other = None if src is None else unpack_like(src, "src", source, axis)
    for i, one in enumerate(sets):
        if one.on_short == "raise":
            _check_short(one, source, f"params[{i}]: " if several else "")
    if several:
        return _sweep(
            source, other, sets, names, wanted, bool(last_only), precision == "float32", arithmetic == "float32", where
        )
    params = sets[0]
    targets = _targets(prices, out, names, detail) if out is not None else {}
    flags = (precision == "float32", exact, arithmetic == "float32")
    how = (params._settings, wanted, bool(last_only), bool(detail), *flags, targets, *where)
    if source.labels is None:
        results = _core.atc_array(source.data, None if other is None else other.data, source.axis, *how)
    else:
        results = _core.atc_columns(source.data, None if other is None else other.data, source.labels, *how)

    wrap = source.wrap_last if last_only else source.wrap
    given = out or {}
    wrapped = {n: given[n] if n in given else wrap(r) for n, r in zip(names, results, strict=False)}
    if detail:
        for name, result in zip(_DETAILS, results[len(names) :], strict=True):
            nine = params.family_lengths[_WORDS.index(name.partition("_")[0])]
            wrapped[name] = given[name] if name in given else source.wrap_lengths(result, nine)
    return wrapped


def _sweep(
    source: Unpacked,
    other: Unpacked | None,
    sets: list[Params],
    names: tuple[str, ...],
    wanted: list[int],
    last_only: bool,
    float32: bool,
    single: bool,
    where: tuple[Any, ...],
) -> list[dict[str, Any]]:
    """The results of several sets."""
    how = ([p._settings for p in sets], wanted, last_only, float32, single, *where)
    if source.labels is None:
        results = _core.atc_sweep_array(source.data, None if other is None else other.data, source.axis, *how)
    else:
        results = _core.atc_sweep_columns(source.data, None if other is None else other.data, source.labels, *how)
    wrap = source.wrap_last if last_only else source.wrap
    return [{name: wrap(r) for name, r in zip(names, of_set, strict=True)} for of_set in results]


def _targets(prices: Any, out: Mapping[str, Any], names: tuple[str, ...], detail: bool) -> dict[str, Any]:
    """The caller's arrays under the names that the core knows."""
    if not isinstance(out, Mapping):
        raise ParameterError(f"out: is a {type(out).__name__}; accepted is a mapping from output name to array")
    known = {*names, *_DETAILS} if detail else set(names)
    targets = {}
    for name, array in out.items():
        if name not in known:
            raise ParameterError(f"out: {name!r} is not among the outputs asked for")
        if isinstance(prices, Mapping):
            if not isinstance(array, Mapping) or list(array) != list(prices):
                raise ParameterError(f"out[{name!r}]: must be a mapping with the keys of prices, in the same order")
            array = list(array.values())
        targets[OUTPUTS[_INDEX[name]] if name in _INDEX else name] = array
    return targets


def compute_atc_signals(
    prices: Any,
    src: Any = None,
    *,
    ema_len: int = 28,
    hull_len: int | None = None,
    wma_len: int = 28,
    dema_len: int = 28,
    lsma_len: int = 28,
    kama_len: int = 28,
    ema_w: float = 1.0,
    hma_w: float = 1.0,
    wma_w: float = 1.0,
    dema_w: float = 1.0,
    lsma_w: float = 1.0,
    kama_w: float = 1.0,
    robustness: str = "Medium",
    La: float = 0.02,
    De: float = 0.03,
    cutout: int = 0,
    long_threshold: float = 0.1,
    short_threshold: float = -0.1,
    strategy_mode: bool = False,
    compat: str = "sovereign",
    hma_len: int | None = None,
    cut_level: float = 0.49,
    cross_rtol: float = 1e-12,
    precision: str = "float64",
    detail: bool = False,
    growth: bool = False,
    axis: int | str | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
    hma: str = "",
    dema_seed: str = "",
    lsma: str = "",
    kama_seed: str = "",
    rounding: str = "",
    cut: str = "",
    neutral: str = "",
    average_fill: str = "",
    nan_policy: str = "",
    length_rule: str = "",
    on_short: str = "",
    parallel_l1: bool | None = None,
    parallel_l2: bool | None = None,
    prefer_gpu: bool | None = None,
    use_cache: bool | None = None,
    fast_mode: bool | None = None,
    use_rust_backend: bool | None = None,
    use_cuda: bool | None = None,
    use_cuda_kernels: bool | None = None,
    use_streams: bool | None = None,
    num_streams: int | None = None,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """All ATC outputs of one symbol or a panel, under the names of the Python port.

    Parameters
    ----------
    prices : array, shape (bars,) or (symbols, bars)
        Closes, of any array kind, or a mapping of series.
    src : array, same shape, optional
        Series that the averages follow; by default `prices`.
    ema_len, hull_len, wma_len, dema_len, lsma_len, kama_len, ema_w, hma_w, wma_w, dema_w, lsma_w, kama_w, robustness, \
La, De, cutout, long_threshold, short_threshold, strategy_mode, compat, cut_level, cross_rtol, hma, dema_seed, lsma, \
kama_seed, rounding, cut, neutral, average_fill, nan_policy, length_rule, on_short
        As in `warpquant.atc.Params`; `hma_len` is another name for `hull_len`.
    precision : {'float64', 'float32'}, default 'float64'
        Type of the results.
    detail : bool, default False
        Also every average (``EMA_MA``), signal (``EMA_sig``) and equity (``EMA_eq``) of layer 1.
    growth : bool, default False
        Also ``ExpMult``, the growth factor of each bar (an ndarray). Above 1.1 it is logged as a warning: late bars
        then outweigh early ones.
    axis, num_threads, device, stream
        As in `warpquant.atc.run`.
    parallel_l1, parallel_l2, prefer_gpu, use_cache, fast_mode, use_rust_backend, use_cuda, use_cuda_kernels, \
use_streams, num_streams, batch_size
        Performance flags of the port. ``parallel_l1=False`` with ``parallel_l2=False`` means one thread; ``use_cuda``,
        ``use_cuda_kernels`` and ``prefer_gpu`` mean ``device="auto"``. On a device ``num_streams`` batches are under
        way at once, and ``use_streams=False`` means one. The others choose among the port's implementations and have
        nothing to choose here: there is one, with one result.

    Returns
    -------
    dict
        ``EMA_Signal`` ... ``KAMA_Signal``, ``EMA_S`` ... ``KAMA_S``, ``Average_Signal``, ``Trend``, ``Direction``.

    Raises
    ------
    TypeError
        For an unknown keyword.
    ParameterError, ShapeError, DTypeError, LayoutError, DeviceUnavailableError
        As in `warpquant.atc.run`.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> prices = 100 + 10 * np.sin(np.arange(200) / 9.0)
    >>> result = warpquant.compute_atc_signals(prices)
    >>> sorted(result)[:4]
    ['Average_Signal', 'DEMA_S', 'DEMA_Signal', 'Direction']
    """
    if hull_len is not None and hma_len is not None and hull_len != hma_len:
        raise ParameterError(f"hma_len: is another name for hull_len, and the two differ ({hma_len} and {hull_len})")
    hull = next((n for n in (hull_len, hma_len) if n is not None), 28)
    params = _params(
        ema_len, hull, wma_len, dema_len, lsma_len, kama_len, ema_w, hma_w, wma_w, dema_w, lsma_w, kama_w,
        robustness, La, De, cutout, long_threshold, short_threshold, cut_level, strategy_mode, cross_rtol, compat,
        hma, dema_seed, lsma, kama_seed, rounding, cut, neutral, average_fill, nan_policy, length_rule, on_short,
    )  # fmt: skip
    if parallel_l1 is False and parallel_l2 is False and num_threads is None:
        num_threads = 1
    for name, count in (("num_streams", num_streams), ("batch_size", batch_size)):
        if count is not None:
            whole(name, count, 1)
    if device is None and (use_cuda or use_cuda_kernels):
        device = "auto"

    streams = 1 if use_streams is False else num_streams
    with contextlib.nullcontext() if streams is None else config.override(streams=min(streams, config.MOST_STREAMS)):
        result = run(
            prices,
            params,
            src=src,
            outputs=_PORT_OUTPUTS,
            detail=detail,
            precision=precision,
            axis=axis,
            num_threads=num_threads,
            device=device,
            stream=stream,
        )
    if detail:
        for family in FAMILIES:
            for kind in ("ma", "sig", "eq"):
                suffix = "MA" if kind == "ma" else kind
                result[f"{family}_{suffix}"] = result.pop(f"{family.lower()}_{kind}")
    if growth:
        result["ExpMult"] = _growth(params, prices, axis)
    return result


@functools.lru_cache(maxsize=256, typed=True)
def _cached_params(*values: Any) -> Params:
    return Params(*values)


def _params(*values: Any) -> Params:
    """Parameters by position; checking the same ones again and again would cost more than a short series."""
    try:
        return _cached_params(*values)
    except TypeError:  # something that cannot be hashed; let the checks say what
        return Params(*values)


def _growth(params: Params, prices: Any, axis: int | str | None) -> Any:
    source = unpack(prices, "prices", axis)
    if source.labels is not None:
        bars = max(len(x) for x in source.data)
    else:
        bars = (shape(source.data, "prices") or np.from_dlpack(source.data).shape)[source.axis]
    table = _core.atc_growth(params.La / 1000.0, params.cutout, bars)
    if bars and table[-1] > 1.1:
        first = int(np.argmax(table > 1.1))
        strength = "by far outweigh" if table[-1] > 1.25 else "outweigh"
        _log.warning("La=%g: growth passes 1.1 at bar %d; returns after it %s earlier ones", params.La, first, strength)
    return table


@dataclasses.dataclass(frozen=True)
class ATCConfig:
    """Parameters under the field names of the Python port's configuration object.

    Attributes
    ----------
    ema_len, hma_len, wma_len, dema_len, lsma_len, kama_len, ema_w, hma_w, wma_w, dema_w, lsma_w, kama_w, robustness, \
cutout, strategy_mode, long_threshold, short_threshold
        As in `Params`.
    lambda_param, decay : float
        `La` and `De`.
    calculation_source : {'close', 'open', 'high', 'low'}, default 'close'
        Column that a scan takes its prices from.
    limit : int, default 1500
        Bars that a scan asks for.
    timeframe : str, default '15m'
        Timeframe that a scan asks for.
    batch_size : int, default 100
    precision : str, default 'float64'
    parallel_l1, parallel_l2, use_rust_backend, use_cuda : bool or None
        Performance flags, see `compute_atc_signals`.
    compat : {'sovereign', 'pine'}, default 'sovereign'

    Examples
    --------
    >>> from warpquant.atc import ATCConfig
    >>> ATCConfig(hma_len=30).params.hull_len
    30
    """

    ema_len: int = 28
    hma_len: int = 28
    wma_len: int = 28
    dema_len: int = 28
    lsma_len: int = 28
    kama_len: int = 28
    ema_w: float = 1.0
    hma_w: float = 1.0
    wma_w: float = 1.0
    dema_w: float = 1.0
    lsma_w: float = 1.0
    kama_w: float = 1.0
    robustness: str = "Medium"
    lambda_param: float = 0.02
    decay: float = 0.03
    cutout: int = 0
    strategy_mode: bool = False
    long_threshold: float = 0.1
    short_threshold: float = -0.1
    calculation_source: str = "close"
    limit: int = 1500
    timeframe: str = "15m"
    batch_size: int = 100
    precision: str = "float64"
    parallel_l1: bool | None = None
    parallel_l2: bool | None = None
    use_rust_backend: bool | None = None
    use_cuda: bool | None = None
    compat: str = "sovereign"

    def __post_init__(self) -> None:
        choice("calculation_source", self.calculation_source, ("close", "open", "high", "low"))
        choice("precision", self.precision, ("float64", "float32"))
        whole("limit", self.limit, 1)
        whole("batch_size", self.batch_size, 1)
        _ = self.params

    @property
    def params(self) -> Params:
        """The same as `Params`."""
        fields = {f.name for f in dataclasses.fields(Params)} | set(_ALIASES)
        return Params.from_dict({k: v for k, v in dataclasses.asdict(self).items() if k in fields})

    @property
    def lambda_scaled(self) -> float:
        """Growth rate per bar."""
        return self.lambda_param / 1000.0

    @property
    def decay_scaled(self) -> float:
        """Decay per bar."""
        return self.decay / 100.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ATCConfig:
        """A configuration from a mapping.

        Raises
        ------
        ParameterError
            If a name is unknown or a value not accepted.
        """
        fields = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                raise ParameterError(f"{name}: is not a field" + (f"; did you mean {near[0]!r}?" if near else ""))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields by name."""
        return dataclasses.asdict(self)


_DEFAULT = Params()

from ._atc_stream import Stream  # noqa: E402  (it is made of what is above)
