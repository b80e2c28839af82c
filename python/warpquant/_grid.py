# SPDX-License-Identifier: Apache-2.0
"""Grids of parameter sets: checked axis by axis, expanded piece by piece."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ._checks import choice
from .atc import _CHECKED_TOGETHER, _FIELDS, _SWITCHES, Params, _by_field, _checked_one, _field
from .errors import ParameterError

__all__ = ["Grid", "Positions"]

Positions = npt.NDArray[np.int64]

#: Stands for the base lengths of all six families.
_ALL_LENGTHS = "length"
#: What `compat` decides unless it is given.
_MODE = frozenset(("compat", *_SWITCHES))
#: Sets that agree in these share averages, those that agree in the next ones too share layer 1 (docs/atc.md).
_AVERAGES = _MODE | {*Params._LENGTHS, "robustness", "cross_rtol"}
_RATES = frozenset(("La", "De", "cutout"))


def _given(base: Params | Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields that differ from the defaults, so that an axis ``compat`` still decides the switches."""
    if not isinstance(base, Params):
        return _by_field(base or {})
    standard = Params(compat=base.compat).to_dict()
    return {"compat": base.compat, **{k: v for k, v in base.to_dict().items() if v != standard[k]}}


def _axis(name: str, values: Any) -> list[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise ParameterError(f"grid: {name}: {values!r} is no sequence of values; a single one goes into base")
    found = list(values)
    if not found:
        raise ParameterError(f"grid: {name}: has no values")
    seen = set()
    for value in found:
        try:
            is_there = value in seen
            seen.add(value)
        except TypeError:
            raise ParameterError(f"grid: {name}: {value!r:.60} is no value of a parameter") from None
        if is_there:
            raise ParameterError(f"grid: {name}: has {value!r} twice")
    return found


def _made(make: Callable[[], Params]) -> Params | str:
    """A set, or why it is refused."""
    try:
        return make()
    except ParameterError as error:
        return str(error)


class Grid(Sequence[Params]):
    """Sets of parameters to try: all combinations of some values, or a list.

    A sequence of `Params` in which the last name varies fastest. Sets are made when asked for, so that a grid of
    millions takes no memory; whether all of them are accepted is known at once, since only few parameters depend on
    each other.

    Parameters
    ----------
    axes : mapping of str to iterable, or sequence of sets
        Values to try of each parameter of `Params`, by its name or another name of it (``hma_len``, ``lambda_param``,
        ``decay``). ``length`` is the base length of all six families. Or the sets themselves, as for
        `warpquant.atc.run`.
    base : Params or mapping, optional
        The parameters that do not vary; an axis comes before it. Not with a list of sets.
    invalid : {'raise', 'skip'}, default 'raise'
        What to do about combinations that `Params` refuses, such as a short threshold above the long one. `skipped`
        counts those left out, and `refusals` says why.

    Attributes
    ----------
    names : tuple of str
        What varies, in the order of the columns of a result.
    axes : dict
        Name to the values tried, in their order; empty for a list of sets.
    skipped : int
        Combinations left out.
    refusals : tuple of str
        Why, each reason once.

    Raises
    ------
    ParameterError
        If a name is unknown or comes twice, there are no values, or a value or combination is not accepted.

    Examples
    --------
    >>> from warpquant.sweep import Grid
    >>> grid = Grid({"length": (20, 28), "La": (0.01, 0.02, 0.05)}, base={"compat": "pine"})
    >>> len(grid), grid.names, grid[4].ema_len, grid[4].La
    (6, ('length', 'La'), 28, 0.02)
    >>> Grid({"long_threshold": (0.0, 0.2), "short_threshold": (-0.1, 0.1)}, invalid="skip").skipped
    1
    """

    def __init__(
        self,
        axes: Mapping[str, Iterable[Any]] | Sequence[Params | Mapping[str, Any] | None],
        *,
        base: Params | Mapping[str, Any] | None = None,
        invalid: str = "raise",
    ) -> None:
        choice("invalid", invalid, ("raise", "skip"))
        self.axes: dict[str, tuple[Any, ...]] = {}
        self.skipped = 0
        self.refusals: tuple[str, ...] = ()
        self._sets: list[Params] | None = None
        self._position: Positions | None = None  # of each combination, if some are left out
        self._kept: Positions | None = None
        if isinstance(axes, Mapping):
            self._of_axes(axes, _given(base), invalid == "skip")
        elif isinstance(axes, Sequence) and not isinstance(axes, str):
            if base is not None:
                raise ParameterError("base: goes with axes; the sets of a list are complete")
            self._of_sets(axes, invalid == "skip")
        else:
            raise ParameterError(f"grid: {type(axes).__name__} is neither a mapping of axes nor a sequence of sets")
        if not len(self):
            why = f"; all are refused: {self.refusals[0]}" if self.refusals else ""
            raise ParameterError(f"grid: holds no set{why}")

    # ------------------------------------------------------------------------------------------ making

    def _of_sets(self, sets: Sequence[Params | Mapping[str, Any] | None], skip: bool) -> None:
        self._sets = []
        refusals: dict[str, None] = {}
        named: set[str] = set()
        for i, one in enumerate(sets):
            made = _made(functools.partial(_checked_one, i, one))
            if isinstance(made, Params):
                self._sets.append(made)
                named.update(map(_field, one) if isinstance(one, Mapping) else ())
            elif skip:
                refusals[made.partition(": ")[2]] = None
                self.skipped += 1
            else:
                raise ParameterError(made.replace("params[", "grid[", 1))
        self.refusals = tuple(refusals)
        fields = _FIELDS
        self.names = tuple(
            f for f in fields if f in named or any(getattr(p, f) != getattr(self._sets[0], f) for p in self._sets)
        )

    def _of_axes(self, axes: Mapping[str, Iterable[Any]], base: dict[str, Any], skip: bool) -> None:
        owner: dict[str, int] = {}  # field to axis
        raw: dict[str, list[Any]] = {}
        for name, values in axes.items():
            fields = Params._LENGTHS if name == _ALL_LENGTHS else (_field(name),)
            for field in fields:
                if field in owner:
                    raise ParameterError(f"grid: {name}: {field} is varied already")
                owner[field] = len(raw)
            raw[name if name == _ALL_LENGTHS else fields[0]] = _axis(name, values)
        self.names = tuple(raw)
        self._shape = tuple(len(values) for values in raw.values())
        values = list(raw.values())
        checked: list[list[dict[str, Any]]] = [[{} for _ in v] for v in values]
        common: dict[str, Any] = {}

        # Each part of a set that is checked together, in all its combinations; docs/sweep.md counts what that saves.
        together = {f for fields in _CHECKED_TOGETHER for f in fields}
        alone = ((f,) for f in _FIELDS if f not in together)
        refused: list[npt.NDArray[np.bool_]] = []
        refusals: dict[str, None] = {}
        for part in (*_CHECKED_TOGETHER, *alone):
            involved = sorted({owner[f] for f in part if f in owner})
            fixed = {f: base[f] for f in part if f in base and f not in owner}
            accepted = np.ones([len(values[a]) for a in involved], dtype=bool)
            for digits in np.ndindex(*accepted.shape):
                at = dict(zip(involved, digits, strict=True))
                varied = {f: values[owner[f]][at[owner[f]]] for f in part if f in owner}
                params = _made(functools.partial(Params.from_dict, {**fixed, **varied}))
                if isinstance(params, str):
                    if not skip or not involved:
                        raise ParameterError(f"grid: {params}")
                    accepted[digits] = False
                    refusals[params] = None
                    continue
                for field in set(part) - _MODE:
                    if field in owner:
                        checked[owner[field]][at[owner[field]]][field] = getattr(params, field)
                    elif field in fixed:
                        common[field] = getattr(params, field)
            if not accepted.all():
                others = [a for a in range(len(values)) if a not in involved]
                refused.append(~np.expand_dims(accepted, others))
        if refused:  # else nothing is as large as the grid
            good = np.ones(self._shape, dtype=bool)
            for some in refused:
                good &= ~some
            self._kept = np.flatnonzero(good)
            self._position = np.cumsum(good.ravel()) - 1
            self.skipped = good.size - len(self._kept)
            self.refusals = tuple(refusals)

        self._parts = checked
        self._common = common
        self._modes: dict[tuple[int, ...], dict[str, Any]] = {}
        self._mode_axes = tuple(sorted({owner[f] for f in _MODE if f in owner}))
        self._mode_base = {f: v for f, v in base.items() if f in _MODE and f not in owner}
        self.axes = {
            name: tuple(next(iter(made.values()), given) for made, given in zip(parts, raw[name], strict=True))
            for name, parts in zip(raw, checked, strict=True)
        }

    # ------------------------------------------------------------------------------------------ sets

    def __len__(self) -> int:
        if self._sets is not None:
            return len(self._sets)
        return math.prod(self._shape) if self._kept is None else len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Params: ...
    @overload
    def __getitem__(self, index: slice) -> list[Params]: ...
    def __getitem__(self, index: int | slice) -> Params | list[Params]:
        positions = range(len(self))[index]
        if isinstance(positions, range):
            return self.take(np.array(positions, dtype=np.int64))
        return self.take(np.array([positions]))[0]

    def __iter__(self) -> Iterator[Params]:
        for start in range(0, len(self), 1024):
            yield from self[start : start + 1024]

    def __repr__(self) -> str:
        varied = ", ".join(f"{name}: {len(values)}" for name, values in self.axes.items()) or "listed"
        return f"Grid({len(self)} sets; {varied}{f'; {self.skipped} skipped' if self.skipped else ''})"

    def take(self, positions: Positions) -> list[Params]:
        """The sets at some positions."""
        if self._sets is not None:
            return [self._sets[i] for i in positions]
        flat = positions if self._kept is None else self._kept[positions]
        digits = [d.tolist() for d in np.unravel_index(flat, self._shape)] if self._shape else []
        rows = zip(*digits, strict=True) if digits else iter([()] * len(positions))
        return [
            Params._trusted(
                self._mode(tuple(row[a] for a in self._mode_axes)),
                *(part[digit] for part, digit in zip(self._parts, row, strict=True)),
            )
            for row in rows
        ]

    def _mode(self, digits: tuple[int, ...]) -> dict[str, Any]:
        """All fields of a set but those that other axes give."""
        found = self._modes.get(digits)
        if found is None:
            given = {self.names[a]: self.axes[self.names[a]][d] for a, d in zip(self._mode_axes, digits, strict=True)}
            found = {**Params.from_dict({**self._mode_base, **given}).to_dict(), **self._common}
            self._modes[digits] = found
        return found

    def columns(self, positions: Positions | None = None) -> dict[str, npt.NDArray[Any]]:
        """What varies, by name: its value in each set, or in those at some positions."""
        if positions is None:
            positions = np.arange(len(self))
        if self._sets is not None:
            return {n: np.array([getattr(self._sets[i], n) for i in positions]) for n in self.names}
        flat = positions if self._kept is None else self._kept[positions]
        digits = np.unravel_index(flat, self._shape) if self._shape else ()
        return {n: np.array(self.axes[n])[d] for n, d in zip(self.names, digits, strict=True)}

    def varied(self, index: int) -> dict[str, Any]:
        """What varies, by name: its value in one set."""
        index = range(len(self))[index]
        return {name: column[0].item() for name, column in self.columns(np.array([index])).items()}

    def name(self, name: str) -> str:
        """The column that a name stands for.

        Raises
        ------
        ParameterError
            If it is none of what varies.
        """
        found = name if name in self.names else _field(name)
        if found not in self.names:
            raise ParameterError(f"{name}: does not vary; what does: {', '.join(self.names) or 'nothing'}")
        return found

    # ------------------------------------------------------------------------------------------ order

    def chunks(self, most: int) -> Iterator[Positions]:
        """All positions in pieces of at most `most`, such that sets of a piece have much in common."""
        if self._sets is not None:
            order = sorted(range(len(self._sets)), key=lambda i: _kinship(self._sets[i]))  # type: ignore[index]
            for start in range(0, len(order), most):
                yield np.array(order[start : start + most], dtype=np.int64)
            return
        rank = [self._rank(name) for name in self.names]
        order = sorted(range(len(rank)), key=rank.__getitem__)
        shape = [self._shape[a] for a in order]
        family = math.prod(n for n, r in zip(self._shape, rank, strict=True) if r)  # sets with the same averages
        for start, count in _cuts(math.prod(shape), family, most):
            digits: list[Any] = [0] * len(order)
            if order:
                for a, d in zip(order, np.unravel_index(np.arange(start, start + count), shape), strict=True):
                    digits[a] = d
            flat = np.ravel_multi_index(digits, self._shape) if order else np.zeros(1, dtype=np.int64)
            if self._position is not None and self._kept is not None:
                position = self._position[flat]
                flat = position[self._kept[position] == flat]
            if len(flat):
                yield flat

    @staticmethod
    def _rank(name: str) -> int:
        """What changes with a parameter: averages and all else, equities and layer 1, or the vote alone."""
        return 0 if name in _AVERAGES or name == _ALL_LENGTHS else 1 if name in _RATES else 2


def _cuts(total: int, family: int, most: int) -> Iterator[tuple[int, int]]:
    """Where pieces start, and how many sets they hold: whole families, or equal parts of one."""
    if family <= most:
        size = most // family * family
        yield from ((start, min(size, total - start)) for start in range(0, total, size))
        return
    size = math.ceil(family / math.ceil(family / most))
    for first in range(0, total, family):
        yield from ((first + start, min(size, family - start)) for start in range(0, family, size))


def _kinship(params: Params) -> tuple[Any, ...]:
    """Sets next to each other in this order share most."""
    rest = {*_FIELDS} - _AVERAGES - _RATES
    return (
        params.family_lengths,
        *(getattr(params, f) for f in sorted(_AVERAGES)),
        *(getattr(params, f) for f in sorted(_RATES)),
        *(getattr(params, f) for f in sorted(rest)),
    )
