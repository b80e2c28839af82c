# SPDX-License-Identifier: Apache-2.0
"""Books of options and underlyings: Greeks, scenarios, attribution of profit and loss, hedges, limits, a report.

docs/options/portfolio.md has the definitions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from warpquant import _core, config
from warpquant._checks import choice
from warpquant._devices import in_stream
from warpquant.errors import ParameterError, ShapeError

from ._product import ALIASES
from .frames import _SYNONYMS, Floats, Frame, Roles, output_names
from .vanilla import _MODELS, _VANILLA, greeks

if TYPE_CHECKING:
    from ._hedge import Hedge
    from ._limits import Alert, Limit
    from ._portfolio_report import PortfolioReport

__all__ = ["Attribution", "Portfolio", "ScenarioGrid"]

_KINDS = {
    **dict.fromkeys(("call", "calls", "c", "true", "1"), 1),
    **dict.fromkeys(("put", "puts", "p", "false", "-1", "0"), -1),
    **dict.fromkeys(("underlying", "spot", "stock", "share", "future", "forward", "u", "s"), 0),
}
_FIELDS = ("spot", "strike", "expiry", "rate", "dividend", "vol", "shift", "beta", "vol_beta", "quantity", "multiplier")
_PARTS: dict[str, tuple[str, ...]] = {
    **{part: names for part, names in _SYNONYMS.items() if part != "is_call"},
    "kind": (*_SYNONYMS["is_call"], "instrument"),
    "quantity": ("quantity", "qty", "position", "contracts", "size"),
    "multiplier": ("multiplier", "contract_size", "lot"),
    "underlying": ("underlying", "symbol", "ticker", "root"),
    "name": ("name", "id", "contract", "instrument_name"),
    "beta": ("beta",),
    "vol_beta": ("vol_beta",),
}
#: Of these the sums say something across underlyings: money, and its change when every spot gains 1 %.
_CASH = ("delta_cash", "gamma_cash")
_CORE_MODELS = {"bsm": 0, "black76": 1, "bachelier": 2, "displaced": 1}

#: Terms of an attribution: name, Greek, divisor, powers of the moves in spot, volatility, time, rate and dividend.
_TERMS = (
    ("theta", "theta", 1, (0, 0, 1, 0, 0)),
    ("delta", "delta", 1, (1, 0, 0, 0, 0)),
    ("gamma", "gamma", 2, (2, 0, 0, 0, 0)),
    ("vega", "vega", 1, (0, 1, 0, 0, 0)),
    ("vanna", "vanna", 1, (1, 1, 0, 0, 0)),
    ("volga", "volga", 2, (0, 2, 0, 0, 0)),
    ("charm", "charm", 1, (1, 0, 1, 0, 0)),
    ("veta", "veta", 1, (0, 1, 1, 0, 0)),
    ("speed", "speed", 6, (3, 0, 0, 0, 0)),
    ("zomma", "zomma", 2, (2, 1, 0, 0, 0)),
    ("color", "color", 2, (2, 0, 1, 0, 0)),
    ("ultima", "ultima", 6, (0, 3, 0, 0, 0)),
    ("rho", "rho", 1, (0, 0, 0, 1, 0)),
    ("vera", "vera", 1, (0, 1, 0, 1, 0)),
    ("epsilon", "epsilon", 1, (0, 0, 0, 0, 1)),
)


@dataclasses.dataclass(frozen=True)
class ScenarioGrid:
    """What a book is worth under every combination of moves.

    Attributes
    ----------
    spot, vol, time : ndarray of float64
        The moves along the axes, as they were given; `time` in years that pass.
    spot_kind, vol_kind : str
        'relative' or 'absolute'.
    groups : dict of str to list of str, or None
        Of each group, the values of the columns that make it; None for the whole book.
    values : dict of str to ndarray, shape (times, vols, spots) or (groups, times, vols, spots)
        'value', 'pnl', and what else was asked for: sums over positions, times quantity and multiplier.
    excluded : int
        Positions that could not be valued and are in no sum.
    """

    spot: Floats
    vol: Floats
    time: Floats
    spot_kind: str
    vol_kind: str
    groups: dict[str, list[str]] | None
    values: dict[str, Floats] = dataclasses.field(repr=False)
    excluded: int

    def __getitem__(self, name: str) -> Floats:
        return self.values[name]

    def worst(self) -> dict[str, float]:
        """The node of the largest loss of the whole book: its moves and 'pnl'."""
        pnl = self.values["pnl"] if self.groups is None else self.values["pnl"].sum(axis=0)
        t, v, s = (int(i) for i in np.unravel_index(int(np.argmin(pnl)), pnl.shape))
        return {
            "spot": float(self.spot[s]), "vol": float(self.vol[v]), "time": float(self.time[t]),
            "pnl": float(pnl[t, v, s]),
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """One row for each node, and group: moves and values, as columns."""
        shape = self.values["pnl"].shape
        axes = np.meshgrid(self.time, self.vol, self.spot, indexing="ij")
        columns: dict[str, Any] = {}
        if self.groups is not None:
            for name, members in self.groups.items():
                columns[name] = np.repeat(np.asarray(members, dtype=object), math.prod(shape[1:]))
        for name, axis in zip(("time", "vol", "spot"), axes, strict=True):
            columns[name] = np.broadcast_to(axis, shape).ravel()
        columns.update({name: values.ravel() for name, values in self.values.items()})
        return columns


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Where a profit or loss came from.

    Attributes
    ----------
    groups : dict of str to list of str, or None
        Of each group, the values of the columns that make it; None for the whole book.
    terms : dict of str to float or ndarray, shape (groups,)
        Money, by Greek.
    explained, actual, residual : float or ndarray
        Sum of the terms, difference of the full valuations, and what the terms leave of it.
    excluded : int
        Positions that could not be valued before or after.
    """

    groups: dict[str, list[str]] | None
    terms: dict[str, Any]
    explained: Any
    actual: Any
    residual: Any
    excluded: int

    def to_dict(self) -> dict[str, Any]:
        """Groups, terms, explained, actual and residual, in this order."""
        groups = {name: np.asarray(values, dtype=object) for name, values in (self.groups or {}).items()}
        return {
            **groups, **self.terms, "explained": self.explained, "actual": self.actual, "residual": self.residual,
        }  # fmt: skip


class Portfolio:
    """Positions in options and underlyings, under one model.

    Made by `from_frame`. Nothing of it changes: methods that move the market or add positions make new books.

    Attributes
    ----------
    model : str
        As in `greeks`.
    fields : dict of str to ndarray of float64, shape (positions,)
        'spot', 'strike', 'expiry' (years), 'rate', 'dividend', 'vol', 'shift', 'beta', 'vol_beta', 'quantity',
        'multiplier'; read-only.
    kind : ndarray of int8, shape (positions,)
        1 call, -1 put, 0 an underlying.
    labels : dict of str to list of str
        Columns by which positions can be grouped: 'underlying', 'name', 'kind', and those of the frame that have no
        other part.
    invalid : ndarray of bool, shape (positions,)
        Positions that have no value, such as one with a missing volatility. They are in no sum, and every result counts
        them.
    """

    def __init__(
        self,
        fields: Mapping[str, Floats],
        kind: npt.NDArray[np.int8],
        labels: Mapping[str, Sequence[str]],
        model: str = "bsm",
        num_threads: int | None = None,
    ) -> None:
        choice("model", model, _MODELS)
        self.model = model
        self.kind = kind
        self.labels = {name: list(values) for name, values in labels.items()}
        self.fields = dict(fields)
        linear = kind == 0
        for name in ("strike", "expiry", "rate", "dividend", "vol", "shift"):
            # An underlying is a call struck at 0 that has expired: its value is the spot.
            self.fields[name] = np.where(linear, 0.0, self.fields[name])
        for values in self.fields.values():
            values.flags.writeable = False
        self._num_threads = num_threads
        value = self._each(("price",))["price"]
        shares = self.weight + self.fields["beta"] + self.fields["vol_beta"]
        self.invalid = ~np.isfinite(value) | ~np.isfinite(shares)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        underlyings: Any = None,
        model: str = "bsm",
        rate: Any = None,
        dividend: Any = None,
        shift: Any = None,
        as_of: Any = None,
        close: str = "16:00",
        num_threads: int | None = None,
    ) -> Portfolio:
        """A book from a table with one position in a row.

        Parameters
        ----------
        frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table, or mapping of str to array
            Positions.
        columns : mapping, optional
            Part to name of its column. Parts are those of `price_dataframe` with 'kind' for 'is_call' (call, put, or
            an underlying: 'stock', 'future', ...), and 'quantity' (signed), 'multiplier' (1 without a column),
            'underlying', 'name', 'beta', 'vol_beta'. Those left out are found by name.
        underlyings : mapping of str to mapping, or frame, optional
            For each underlying its 'spot', and any of 'rate', 'dividend', 'vol', 'beta', 'shift', for positions whose
            own is missing: ``{"SPY": {"spot": 500.0, "dividend": 0.012}}``, or a table with a column 'underlying'.
        model : {'bsm', 'black76', 'bachelier', 'displaced'}
            As in `greeks`, for all positions. But for 'bsm' spots are forward prices.
        rate, dividend, shift, as_of, close
            As in `price_dataframe`: dates are whole days from an ``as_of`` without a time of day, and end at ``close``
            from one that has it.
        num_threads : int, optional
            CPU threads of all methods.

        Returns
        -------
        Portfolio

        Raises
        ------
        ParameterError
            If a part is missing or a kind unknown.

        Examples
        --------
        >>> from warpquant import options
        >>> book = options.Portfolio.from_frame(
        ...     {"underlying": ["ABC", "ABC"], "kind": ["put", "stock"], "strike": [95.0, 0.0], "expiry": [0.25, 0.0],
        ...      "vol": [0.25, 0.0], "quantity": [-10, 300], "multiplier": [100, 1]},
        ...     underlyings={"ABC": {"spot": 100.0}}, rate=0.03)
        >>> book
        Portfolio(2 positions, 1 underlying, bsm)
        >>> total = book.greeks()
        >>> round(total["delta"], 1), round(total["theta"], 1)
        (597.1, 7687.0)
        """
        table = Frame(frame)
        roles = Roles(table, columns, _PARTS)
        if "kind" not in roles.columns:
            raise ParameterError(f"kind: no column says call, put or underlying; columns are {', '.join(table.names)}")
        kind = _kinds(table.texts(roles.columns["kind"]))
        names = table.texts(roles.columns["underlying"]) if "underlying" in roles.columns else [""] * table.rows
        market = _market(underlyings, names)

        def part(name: str, given: Any = None, default: float | None = None, *, options_only: bool = True) -> Floats:
            own = given is not None or name in roles.columns
            values = np.full(table.rows, np.nan)
            if own:
                values[:] = roles.years(as_of, close=close) if name == "expiry" else roles.numbers(name, given)
            if name in market:
                values = np.where(np.isnan(values), market[name], values)
            elif not own and default is None and table.rows and (not options_only or bool(np.any(kind != 0))):
                return np.full(table.rows, roles.numbers(name))  # which says what is missing
            # A hole in a column of the positions stays one.
            return values if own or default is None else np.where(np.isnan(values), default, values)

        fields = {
            "spot": part("spot", options_only=False),
            **{name: part(name) for name in ("strike", "expiry", "vol")},
            "rate": part("rate", rate),
            "dividend": part("dividend", dividend, 0.0),
            "shift": part("shift", shift, 0.0) if model == "displaced" else np.zeros(table.rows),
            "quantity": part("quantity", options_only=False),
            **{name: part(name, default=1.0) for name in ("multiplier", "beta", "vol_beta")},
        }
        used = {name for part, name in roles.columns.items() if part not in ("name", "underlying")}
        labels: dict[str, list[str]] = {"underlying": names}
        if "name" in roles.columns:
            labels["name"] = table.texts(roles.columns["name"])
        labels["kind"] = [("put", "underlying", "call")[k + 1] for k in kind.tolist()]
        if "expiry" in roles.columns:
            labels["expiry"] = [
                "" if k == 0 else t for k, t in zip(kind, table.texts(roles.columns["expiry"]), strict=True)
            ]
        taken = {roles.columns.get("name"), roles.columns.get("underlying")}
        for name in table.names:
            if name not in used and name not in taken and name not in labels:
                labels[name] = table.texts(name)
        return cls(fields, kind, labels, model, num_threads)

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        def number(count: int, noun: str) -> str:
            return f"{count:,} {noun}{'' if count == 1 else 's'}"

        excluded = f", {int(self.invalid.sum()):,} without a value" if self.invalid.any() else ""
        underlyings = number(len(set(self.labels["underlying"])), "underlying")
        return f"Portfolio({number(len(self), 'position')}, {underlyings}, {self.model}{excluded})"

    @property
    def weight(self) -> Floats:
        """Quantity times multiplier, of each position."""
        return np.asarray(self.fields["quantity"] * self.fields["multiplier"])

    def _each(self, outputs: Iterable[str]) -> dict[str, Floats]:
        f = self.fields
        found = greeks(
            f["spot"], f["strike"], f["expiry"], f["rate"], f["dividend"], f["vol"], np.where(self.kind < 0, -1, 1),
            model=self.model, outputs=tuple(outputs), shift=f["shift"] if self.model == "displaced" else 0.0,
            num_threads=self._num_threads,
        )  # fmt: skip
        linear = self.kind == 0
        if linear.any():
            # What the limit leaves open; and an underlying may be worth less than nothing.
            exact: dict[str, Any] = {"price": f["spot"], "delta": 1.0, "lambda_": 1.0}
            found = {name: np.where(linear, exact.get(_canonical(name), 0.0), values) for name, values in found.items()}
        return found

    def positions(
        self, outputs: str | Iterable[str] = ("price", "delta", "gamma", "vega", "theta", "rho")
    ) -> dict[str, Any]:
        """The positions as columns: labels, fields, kind, and outputs per unit, which are not multiplied by anything.

        Parameters
        ----------
        outputs : str or iterable of str
            As in `greeks`.

        Returns
        -------
        dict of str to ndarray
            For any data frame's constructor.
        """
        names = output_names(outputs)
        labels = {name: np.asarray(values, dtype=object) for name, values in self.labels.items() if name != "expiry"}
        return {**labels, **self.fields, **self._each(names)}

    def _groups(self, by: str | Iterable[str] | None) -> tuple[npt.NDArray[np.intp], dict[str, list[str]] | None, int]:
        """The group of each position, what the groups are called, and how many there are; in order of appearance."""
        if by is None:
            return np.zeros(len(self), dtype=np.intp), None, 1
        names = (by,) if isinstance(by, str) else tuple(by)
        for name in names:
            choice("by", name, self.labels)
        numbers: dict[tuple[str, ...], int] = {}
        rows = zip(*(self.labels[name] for name in names), strict=True) if names else iter([()] * len(self))
        group = np.fromiter((numbers.setdefault(row, len(numbers)) for row in rows), np.intp, len(self))
        called = {name: [row[i] for row in numbers] for i, name in enumerate(names)}
        return group, called, len(numbers)

    def _weighted(self, values: Floats) -> Floats:
        """Values times quantity and multiplier: of what nobody holds nothing, whatever its gamma is at the strike."""
        with np.errstate(invalid="ignore"):
            return np.where(self.weight == 0, 0.0, values * self.weight)

    def _sum(self, values: Floats, group: npt.NDArray[np.intp], count: int) -> Floats:
        weighted = np.where(self.invalid, 0.0, values)
        return np.asarray(np.bincount(group, weighted, minlength=count), dtype=np.float64)

    def greeks(
        self,
        outputs: str | Iterable[str] = ("price", "delta", "delta_cash", "gamma", "gamma_cash", "vega", "theta", "rho"),
        *,
        by: str | Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Sums of outputs times quantity times multiplier.

        Parameters
        ----------
        outputs : str or iterable of str
            Those of `greeks` but ``lambda_``, and 'delta_cash' (delta times spot: the money that moves with the market)
            and 'gamma_cash' (change of that when the spot gains 1 %: gamma times spot squared over 100). 'price' is the
            value. Units are those of `greeks`; `scale` works on the result.
        by : str or iterable of str, optional
            Columns to group by, see `labels`.

        Returns
        -------
        dict
            Of floats; with `by`, of arrays: the columns of the groups, 'positions' (their number), and a sum for each.
            'excluded' counts the positions without a value, which are in no sum.

        Raises
        ------
        ParameterError
            If an output or a column is unknown.
        """
        asked = (
            (*_VANILLA.names, *_CASH)
            if outputs == "all"
            else (outputs,)
            if isinstance(outputs, str)
            else tuple(outputs)
        )
        asked = tuple(name for name in asked if not (outputs == "all" and name == "lambda_"))
        plain = tuple(name for name in asked if name not in _CASH)
        if plain:
            output_names(plain)
        if any(_canonical(name) == "lambda_" for name in plain):
            raise ParameterError(
                "outputs: 'lambda_' is a ratio, of which sums mean nothing; use 'delta_cash' over 'price'"
            )
        needed = dict.fromkeys(
            (*plain, *(("delta",) if "delta_cash" in asked else ()), *(("gamma",) if "gamma_cash" in asked else ()))
        )
        each: dict[str, Floats] = self._each(needed) if needed else {}
        spot = self.fields["spot"]
        if "delta_cash" in asked:
            each["delta_cash"] = each["delta"] * spot
        if "gamma_cash" in asked:
            each["gamma_cash"] = each["gamma"] * spot * spot / 100.0
        group, called, count = self._groups(by)
        sums = {name: self._sum(self._weighted(each[name]), group, count) for name in asked}
        if called is None:
            return {**{name: float(values[0]) for name, values in sums.items()}, "excluded": int(self.invalid.sum())}
        labels = {name: np.asarray(values, dtype=object) for name, values in called.items()}
        return {
            **labels, "positions": np.bincount(group, minlength=count), **sums,
            "excluded": np.bincount(group, self.invalid, minlength=count).astype(np.int64),
        }  # fmt: skip

    @property
    def value(self) -> float:
        """What the book is worth by the model."""
        return float(self.greeks(("price",))["price"])

    # ---- moves of the market ----

    def scenarios(
        self,
        spot: Any = (0.0,),
        vol: Any = (0.0,),
        time: Any = (0.0,),
        *,
        spot_kind: str = "relative",
        vol_kind: str = "absolute",
        outputs: str | Iterable[str] = ("pnl",),
        by: str | Iterable[str] | None = None,
        num_threads: int | None = None,
        device: str | None = None,
        stream: Any = None,
    ) -> ScenarioGrid:
        """Revalue every position under every combination of moves, and keep the sums.

        Every position is repriced in full at every node; what of it nodes share is computed once, and no value of a
        single position is stored. Volatilities stay with their strikes. Sums have the same bits for any number of
        threads, and on a device for every run; device and CPU differ by rounding.

        Parameters
        ----------
        spot : float or array of float, shape (spots,)
            Moves of all spots: relative, such as -0.05 for 5 % down, or in units of price. A position makes `beta`
            times the move. No spot falls below 0, except in Bachelier's model.
        vol : float or array of float, shape (vols,)
            Moves of all volatilities: absolute, such as 0.01 for a point up, or relative. A position makes `vol_beta`
            times the move. No volatility falls below 0.
        time : float or array of float, shape (times,)
            Years that pass. Options that expire on the way are worth what exercising them is, at the spot of the node.
        spot_kind, vol_kind : {'relative', 'absolute'}
            What the moves are.
        outputs : str or iterable of {'pnl', 'value', 'delta', 'gamma', 'vega'}
            What to sum, times quantity and multiplier. 'pnl' is the difference to the value without a move, and always
            there.
        by : str or iterable of str, optional
            Columns to group by, see `labels`.
        num_threads : int, optional
            CPU threads.
        device : str, optional
            Where to compute, such as 'cuda'; the sums come to host memory.
        stream : int or object, optional
            Of a device: the stream that works, as for `warpquant.to_device`; the call waits for it.

        Returns
        -------
        ScenarioGrid

        Raises
        ------
        ParameterError
            If an axis is no finite numbers, or an output, a kind of move or a column is unknown.

        Examples
        --------
        >>> from warpquant import options
        >>> book = options.Portfolio.from_frame(
        ...     {"kind": ["call", "put"], "spot": 100.0, "strike": [100.0, 100.0], "expiry": 0.25, "vol": 0.2,
        ...      "quantity": [-1.0, -1.0]}, rate=0.0)
        >>> grid = book.scenarios(spot=[-0.1, 0.0, 0.1], vol=[0.0, 0.05])
        >>> grid["pnl"].round(2).tolist()
        [[[-3.45, 0.0, -3.93], [-4.66, -1.99, -5.39]]]
        """
        names = {"pnl", *((outputs,) if isinstance(outputs, str) else outputs)}
        known = ("pnl", "value", "delta", "gamma", "vega")
        for name in names:
            choice("outputs", name, known)
        axes = {"spot": _axis("spot", spot), "vol": _axis("vol", vol), "time": _axis("time", time)}
        if (axes["time"] < 0).any():
            raise ParameterError("time: must not be negative; it is years that pass")
        moves = []
        for name, kind in (("spot", spot_kind), ("vol", vol_kind)):
            choice(f"{name}_kind", kind, ("relative", "absolute"))
            none = np.zeros_like(axes[name])
            moves += [axes[name], none] if kind == "relative" else [none, axes[name]]
        group, called, count = self._groups(by)
        order = np.argsort(group, kind="stable")
        order = order[~self.invalid[order]]
        offsets = np.searchsorted(group[order], np.arange(count + 1)).tolist()
        arrays = {**self.fields, "sign": self.kind.astype(np.float64), "weight": self.weight}
        fields = tuple(
            np.ascontiguousarray(arrays[name][order])
            for name in (
                "spot", "strike", "expiry", "rate", "dividend", "vol", "sign", "shift", "beta", "vol_beta", "weight",
            )
        )  # fmt: skip
        threads, simd = config._execution(self._num_threads if num_threads is None else num_threads)
        model = _CORE_MODELS[self.model]
        place = in_stream(device, stream)
        with_greeks = bool(names & {"delta", "gamma", "vega"})
        sums = _core.scenario_sums(fields, model, offsets, (*moves, axes["time"]), with_greeks, threads, simd, place)
        still = (np.zeros(1),) * 5
        base = _core.scenario_sums(fields, model, offsets, still, False, threads, simd, place)
        found = {"pnl": sums[:, 0] - base[:, 0], "value": sums[:, 0]}
        if with_greeks:
            found.update({name: sums[:, i] for i, name in enumerate(("delta", "gamma", "vega"), 1)})
        values = {name: found[name][0] if called is None else found[name] for name in known if name in names}
        return ScenarioGrid(
            axes["spot"], axes["vol"], axes["time"], spot_kind, vol_kind, called, values, int(self.invalid.sum())
        )

    def moved(
        self,
        *,
        spot: Any = 0.0,
        vol: Any = 0.0,
        time: float = 0.0,
        rate: Any = 0.0,
        dividend: Any = 0.0,
        spot_kind: str = "relative",
        vol_kind: str = "absolute",
    ) -> Portfolio:
        """The same positions in another market.

        Parameters
        ----------
        spot, vol, rate, dividend : float, array of shape (positions,), or mapping of underlying to float
            Moves, by `spot_kind` and `vol_kind` as in `scenarios`; those of rates are absolute. What a mapping does not
            name does not move.
        time : float
            Years that pass.
        spot_kind, vol_kind : {'relative', 'absolute'}
            What the moves are.

        Returns
        -------
        Portfolio
        """
        fields = dict(self.fields)
        moves = {"spot": spot, "vol": vol, "rate": rate, "dividend": dividend}
        for name, kind, least in (
            ("spot", spot_kind, 0.0 if self.model != "bachelier" else -np.inf), ("vol", vol_kind, 0.0),
            ("rate", "absolute", -np.inf), ("dividend", "absolute", -np.inf),
        ):  # fmt: skip
            choice(f"{name}_kind", kind, ("relative", "absolute"))
            move = self._per_position(name, moves[name])
            if not np.any(move):
                continue
            beta = fields["beta"] if name == "spot" else fields["vol_beta"] if name == "vol" else 1.0
            now = fields[name]
            fields[name] = np.maximum(now * (1.0 + beta * move) if kind == "relative" else now + beta * move, least)
        passed = float(_axis("time", time)[0])
        fields["expiry"] = np.maximum(fields["expiry"] - passed, 0.0)
        return Portfolio(fields, self.kind, self.labels, self.model, self._num_threads)

    def _per_position(self, name: str, move: Any) -> Floats:
        if isinstance(move, Mapping):
            unknown = sorted(set(map(str, move)) - set(self.labels["underlying"]))
            if unknown:
                raise ParameterError(f"{name}: {unknown[0]!r} is no underlying of the book")
            return np.array([float(move.get(u, 0.0)) for u in self.labels["underlying"]])
        values = np.asarray(move, dtype=np.float64)
        if values.ndim and values.shape != (len(self),):
            raise ShapeError(f"{name}: has shape {values.shape}, but the book has {len(self)} positions")
        return np.broadcast_to(values, (len(self),))

    def attribution(self, after: Portfolio, *, by: str | Iterable[str] | None = None) -> Attribution:
        """Where the difference in value to a later book with the same positions came from.

        The terms are those of Taylor's series around this book: theta dt + delta dS + gamma dS^2 / 2 + vega dv + vanna
        dS dv + volga dv^2 / 2 + charm dS dt + veta dv dt + speed dS^3 / 6 + zomma dS^2 dv / 2 + color dS^2 dt / 2 +
        ultima dv^3 / 6 + rho dr + vera dr dv + epsilon dq. What they leave of the difference of the two valuations is
        the residual.

        Parameters
        ----------
        after : Portfolio
            Such as `moved` makes, or one of a later frame. Positions must be the same, in the same order; `expiry` says
            how much time has passed.
        by : str or iterable of str, optional
            Columns to group by, see `labels`.

        Returns
        -------
        Attribution

        Raises
        ------
        ParameterError
            If the books do not hold the same.

        Examples
        --------
        >>> from warpquant import options
        >>> book = options.Portfolio.from_frame(
        ...     {"kind": ["call"], "spot": [100.0], "strike": [100.0], "expiry": [0.5], "vol": [0.2], "quantity": [10]},
        ...     rate=0.02)
        >>> found = book.attribution(book.moved(spot=0.01, vol=0.01, time=1 / 365))
        >>> round(found.actual, 3), round(found.terms["delta"], 3), round(found.residual, 4)
        (8.299, 5.562, 0.0008)
        """
        same = len(self) == len(after) and self.model == after.model and np.array_equal(self.kind, after.kind)
        for name in ("strike", "quantity", "multiplier"):
            same = same and np.array_equal(self.fields[name], after.fields[name], equal_nan=True)
        if not same:
            raise ParameterError("after: holds other positions, or has another model")
        now, later = self.fields, after.fields
        passed = np.where(self.kind == 0, 0.0, now["expiry"] - later["expiry"])
        moves = (
            later["spot"] - now["spot"], later["vol"] - now["vol"], passed, later["rate"] - now["rate"],
            later["dividend"] - now["dividend"],
        )  # fmt: skip
        has_dividend = self.model == "bsm"
        terms_of = [t for t in _TERMS if t[0] != "epsilon" or has_dividend]
        each = self._each(("price", *(t[1] for t in terms_of)))
        skip = self.invalid | after.invalid
        group, called, count = self._groups(by)

        def total(values: Floats) -> Any:
            sums = np.bincount(group, np.where(skip, 0.0, self._weighted(values)), minlength=count)
            return float(sums[0]) if called is None else sums

        terms: dict[str, Any] = {}
        with np.errstate(invalid="ignore", over="ignore"):
            for name, greek, divisor, powers in terms_of:
                change = np.ones(len(self))
                for move, power in zip(moves, powers, strict=True):
                    change = change * move**power
                # Where nothing moved an infinite derivative explains nothing.
                terms[name] = total(np.where(change == 0.0, 0.0, each[greek] * change / divisor))
            actual = total(after._each(("price",))["price"] - each["price"])
        explained = sum(terms.values())
        return Attribution(called, terms, explained, actual, actual - explained, int(skip.sum()))

    # ---- hedges, limits, report ----

    def with_positions(self, other: Portfolio) -> Portfolio:
        """Both books, of the same model, as one."""
        if other.model != self.model:
            raise ParameterError(f"other: has the model {other.model!r}; accepted is {self.model!r}")
        labels = {
            name: [*self.labels.get(name, [""] * len(self)), *other.labels.get(name, [""] * len(other))]
            for name in {**self.labels, **other.labels}
        }
        fields = {name: np.concatenate([values, other.fields[name]]) for name, values in self.fields.items()}
        return Portfolio(fields, np.concatenate([self.kind, other.kind]), labels, self.model, self._num_threads)

    def with_quantity(self, quantity: Any) -> Portfolio:
        """The same contracts in other quantities."""
        values = np.array(np.broadcast_to(np.asarray(quantity, dtype=np.float64), (len(self),)))
        return Portfolio({**self.fields, "quantity": values}, self.kind, self.labels, self.model, self._num_threads)

    def hedge(
        self,
        instruments: Portfolio,
        targets: str | Iterable[str] = ("delta",),
        *,
        cost: Any = 0.0,
        risk_aversion: float = 1.0,
        moves: Mapping[str, float] | None = None,
        integer: bool = False,
    ) -> Hedge:
        """Quantities of instruments that take exposures away, by least squares.

        Of each underlying and target the exposure counts in money: delta times a move of the spot of 1 %, gamma times
        half the square of that, vega times one point. The quantities x minimise ``risk_aversion * sum of squares +
        sum of cost * |x|``; without costs, the sum of squares alone, and of several such x the smallest.

        Parameters
        ----------
        instruments : Portfolio
            What can be traded, one position each; their quantities are not looked at, their multipliers are.
        targets : str or iterable of {'delta', 'gamma', 'vega', 'theta', 'rho', 'vanna', 'volga', ...}
            Greeks to take away: ('delta',), ('delta', 'gamma'), ('delta', 'vega'), ...
        cost : float or array of shape (instruments,)
            Cost of trading one unit of quantity either way, in money.
        risk_aversion : float
            What a squared unit of money at risk counts, in money; matters with costs.
        moves : mapping of target to float, optional
            Size of the move that makes money of an exposure: for delta and gamma relative to the spot (0.01), for vega,
            vanna and volga in volatility (0.01), for theta in years (1 / 365), for rho and epsilon in rates (0.0001).
        integer : bool, default False
            Whole quantities: rounded, then changed one by one as long as that is better.

        Returns
        -------
        Hedge
            Quantities, exposures before and after, cost; `Hedge.book` has the hedged book.

        Raises
        ------
        ParameterError
            If a target is unknown, a cost negative, or the models differ.

        Examples
        --------
        >>> from warpquant import options
        >>> book = options.Portfolio.from_frame(
        ...     {"underlying": ["ABC"], "kind": ["call"], "spot": [100.0], "strike": [100.0], "expiry": [0.5],
        ...      "vol": [0.2], "quantity": [-50], "multiplier": [100]}, rate=0.02)
        >>> stock = options.Portfolio.from_frame(
        ...     {"underlying": ["ABC"], "kind": ["stock"], "spot": [100.0], "quantity": [1]})
        >>> book.hedge(stock, "delta", integer=True).quantity.tolist()
        [2781.0]
        """
        from ._hedge import solve

        return solve(self, instruments, targets, cost, risk_aversion, moves, integer)

    def check(self, limits: Iterable[Limit], grid: ScenarioGrid | None = None) -> list[Alert]:
        """Compare sums with limits.

        Parameters
        ----------
        limits : iterable of Limit
            What is allowed.
        grid : ScenarioGrid, optional
            For limits on 'worst_pnl'.

        Returns
        -------
        list of Alert
            Breaches, then warnings, the most used limit first; limits that are kept with room to spare are not in it.
        """
        from ._limits import check

        return check(self, limits, grid)

    def report(
        self,
        *,
        title: str = "",
        by: str | Iterable[str] = "underlying",
        grid: ScenarioGrid | None = None,
        limits: Iterable[Limit] = (),
        attribution: Attribution | None = None,
        hedge: Hedge | None = None,
    ) -> PortfolioReport:
        """The book on one page, as HTML and as Markdown.

        Parameters
        ----------
        title : str, optional
            Its heading.
        by : str or iterable of str, default 'underlying'
            Columns by which Greeks are summed.
        grid : ScenarioGrid, optional
            Scenarios to show; by default spots from -20 % to 20 % and volatilities from -10 to 10 points.
        limits : iterable of Limit, optional
            Limits to check.
        attribution : Attribution, optional
            An attribution to show.
        hedge : Hedge, optional
            A hedge to show.

        Returns
        -------
        PortfolioReport
            `html`, `markdown`, and `write`, which goes by the suffix of the file.
        """
        from ._portfolio_report import make

        return make(self, title, by, grid, tuple(limits), attribution, hedge)


def _canonical(name: str) -> str:
    return ALIASES.get(name, name)


def _kinds(texts: Sequence[str]) -> npt.NDArray[np.int8]:
    kinds = np.empty(len(texts), np.int8)
    for i, text in enumerate(texts):
        kind = _KINDS.get(text.strip().lower().removesuffix(".0"))
        if kind is None:
            raise ParameterError(f"kind: {text!r} is unknown; accepted are {', '.join(sorted(_KINDS))}")
        kinds[i] = kind
    return kinds


def _market(underlyings: Any, names: Sequence[str]) -> dict[str, Floats]:
    """What is known of the underlying of each position."""
    if underlyings is None:
        return {}
    parts = ("spot", "rate", "dividend", "vol", "beta", "shift")
    if isinstance(underlyings, Mapping) and all(isinstance(v, Mapping) for v in underlyings.values()):
        known = {str(u): dict(values) for u, values in underlyings.items()}
        for u, values in known.items():
            for part in values:
                if part not in parts:
                    raise ParameterError(f"underlyings: {part!r} of {u!r} is unknown; accepted are {', '.join(parts)}")
    else:
        table = Frame(underlyings, "underlyings")
        found = table.find(_PARTS["underlying"])
        if found is None:
            raise ParameterError("underlyings: has no column 'underlying'")
        columns = {p: table.numbers(name) for p in parts if (name := table.find(_PARTS[p])) is not None}
        known = {u: {p: v[i] for p, v in columns.items()} for i, u in enumerate(table.texts(found))}
    missing = sorted(set(names) - set(known))
    if missing:
        raise ParameterError(f"underlyings: lack {missing[0]!r}, of which there are positions")
    there = {part for values in known.values() for part in values}
    return {p: np.array([float(known[u].get(p, np.nan)) for u in names]) for p in parts if p in there}


def _axis(name: str, values: Any) -> Floats:
    axis = np.array(values, dtype=np.float64, ndmin=1)
    if axis.ndim != 1 or axis.size == 0 or not np.isfinite(axis).all():
        raise ParameterError(f"{name}: {values!r} is no list of finite numbers")
    return axis
