# SPDX-License-Identifier: Apache-2.0
"""Calls of functions of rows: arguments that broadcast as in NumPy, results in the caller's kind of array."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, config
from ._containers import Unpacked, same_index, unpack
from .errors import DTypeError, ParameterError, ShapeError

__all__ = ["Outputs", "call", "flags"]

_OPERATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    name: (tuple(inputs), tuple(outputs)) for name, (inputs, outputs) in _core.row_operations().items()
}


class Outputs:
    """Results that a caller may ask for, by their names and other names for them.

    Parameters
    ----------
    operation : str
        The operation that has them.
    aliases : mapping
        Other name to name.
    """

    def __init__(self, operation: str, aliases: Mapping[str, str] | None = None) -> None:
        self.names = _OPERATIONS[operation][1]
        self._aliases = dict(aliases or {})
        self._bits = {name: 1 << k for k, name in enumerate(self.names)}
        self._bits.update({alias: self._bits[name] for alias, name in self._aliases.items()})

    def choose(self, outputs: str | Iterable[str], argument: str = "outputs") -> tuple[tuple[str, ...], int]:
        """Names that were asked for, as they were written, and their bits. 'all' are all.

        Raises
        ------
        ParameterError
            If there is no such result.
        """
        if isinstance(outputs, str):
            names: tuple[Any, ...] = self.names if outputs == "all" else (outputs,)
        else:
            names = tuple(outputs)
        wanted = 0
        for name in names:
            bit = self._bits.get(name) if isinstance(name, str) else None
            if bit is None:
                raise ParameterError(
                    f"{argument}: {name!r} is unknown; accepted are {', '.join(self._bits)}, or 'all'"
                ) from None
            wanted |= bit
        if not names:
            raise ParameterError(f"{argument}: is empty; accepted are {', '.join(self._bits)}, or 'all'")
        return names, wanted

    def place(self, name: str) -> int:
        """The bit of a name or alias."""
        return self._bits[name]


_CALLS = ("c", "call")
_PUTS = ("p", "put")
_TEXTS = {
    t: v for ts, v in ((_CALLS, 1), (_PUTS, -1)) for s in ts for t in (s, s.upper(), s.capitalize()) for v in (v,)
}
_UNKNOWN_FLAG = 2  # what no option is: its row has no results


def flags(is_call: Any, name: str = "is_call") -> Any:
    """Flags as numbers: True or a number above 0 for a call; texts 'c', 'call', 'p', 'put' in any case.

    Raises
    ------
    ParameterError
        If a text is none of those.
    """
    kind = type(is_call)
    if kind is bool:
        return 1 if is_call else -1
    if kind in (int, float, np.bool_):
        return float(is_call)
    if kind is str:
        if is_call not in _TEXTS:
            raise ParameterError(f"{name}: {is_call!r} is unknown; {_FLAGS}")
        return _TEXTS[is_call]
    if kind is np.ndarray and is_call.dtype.kind in "bif":
        return is_call
    root = kind.__module__.partition(".")[0]
    if root in ("pandas", "polars", "pyarrow"):
        if getattr(getattr(is_call, "dtype", None), "kind", "O") in "if":
            return is_call
        values = _texts(is_call)
        index = getattr(is_call, "index", None) if root == "pandas" else None
        return values if index is None else sys.modules["pandas"].Series(values, index=index)
    if isinstance(is_call, (list, tuple)) or (kind is np.ndarray and is_call.dtype.kind in "USO"):
        return _flag_array(np.asarray(is_call), name)
    return is_call


_FLAGS = "accepted are True or 1 for a call, False, 0 or -1 for a put, and the texts 'c', 'call', 'p', 'put'"


def _texts(x: Any) -> np.ndarray[Any, Any]:
    """The values of a column that is no column of numbers."""
    if type(x).__module__.startswith("pandas"):
        return _flag_array(x.to_numpy(dtype=object), "is_call")
    values = x.to_pylist() if hasattr(x, "to_pylist") else x.to_list()
    return _flag_array(np.asarray(values, dtype=object), "is_call")


def _flag_array(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if values.dtype.kind in "bif":
        return values
    if values.dtype.kind == "S":
        values = values.astype(str)
    unique, inverse = np.unique(np.where(_missing(values), "", values).astype(str), return_inverse=True)
    numbers = np.empty(len(unique), np.int8)
    for i, text in enumerate(unique.tolist()):
        known = {"": _UNKNOWN_FLAG, "True": 1, "False": -1, "1": 1, "-1": -1, "0": -1, "1.0": 1, "-1.0": -1, "0.0": -1}
        value = _TEXTS.get(text, known.get(text))
        if value is None:
            raise ParameterError(f"{name}: {text!r} is unknown; {_FLAGS}")
        numbers[i] = value
    return numbers[inverse].reshape(values.shape)


def _missing(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype.kind != "O":
        return np.zeros(values.shape, bool)
    return np.frompyfunc(lambda v: v is None or v != v or type(v).__name__ == "NAType", 1, 1)(values).astype(bool)


_LIBRARIES = ("pandas", "polars", "pyarrow", "xarray", "torch", "jax", "jaxlib")
_PLAIN = frozenset((float, int, bool, np.ndarray, np.float64))


def call(
    operation: str,
    arguments: Mapping[str, Any],
    outputs: Outputs,
    names: Sequence[str],
    wanted: int,
    *,
    parameters: Sequence[float] = (),
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
) -> dict[str, Any]:
    """Results of an operation by name.

    Parameters
    ----------
    operation : str
        Its name in the core.
    arguments : mapping
        Argument to value, in the order of the operation's.
    outputs, names, wanted
        What `Outputs.choose` gave.
    parameters : sequence of float
        Numbers that are the same for every row.
    out : mapping, optional
        Name to the array that takes the result.
    num_threads : int, optional
        CPU threads.

    Returns
    -------
    dict
        Name to result: a float where every argument is a number, else an array of the kind of the first argument that
        is one, of the shape that all have together.
    """
    labels = tuple(arguments)
    values = tuple(arguments.values())
    threads, simd = config._execution(num_threads)
    kind: Unpacked | None = None
    if not all(type(v) in _PLAIN for v in values):
        values, kind = _unpacked(labels, values)
    targets = None
    if out is not None:
        if not isinstance(out, Mapping):
            raise ParameterError(f"out: {type(out).__name__} is no mapping from the names of results to arrays")
        targets = {}
        for name, array in out.items():
            if name not in names:
                raise ParameterError(f"out: {name!r} is not among the outputs; those are {', '.join(names)}")
            targets[outputs.names[outputs.place(name).bit_length() - 1]] = array
    results = _core.row_call(operation, values, labels, wanted, list(parameters), targets, threads, simd, None)
    by_place = dict(zip((1 << k for k in range(len(outputs.names)) if wanted >> k & 1), results, strict=True))
    made = {name: by_place[outputs.place(name)] for name in names}
    if kind is None:
        return made
    return {n: r if out is not None and n in out else kind.wrap_named(r, n) for n, r in made.items()}


def _unpacked(labels: Sequence[str], values: Sequence[Any]) -> tuple[tuple[Any, ...], Unpacked | None]:
    """Arguments as arrays, and the first that is of another kind than NumPy."""
    arrays: list[Any] = []
    first: Unpacked | None = None
    for label, value in zip(labels, values, strict=True):
        if type(value) in _PLAIN:
            arrays.append(value)
            continue
        if isinstance(value, np.generic):
            arrays.append(np.asarray(value))
            continue
        if isinstance(value, Mapping) or value is None:
            raise DTypeError(f"{label}: cannot read numbers from {type(value).__name__}")
        one = unpack(value, label)
        if one.labels is not None:
            raise ShapeError(f"{label}: is a table of several types of columns; pass one column, or an array")
        if type(value).__module__.partition(".")[0] in (
            "pandas",
            "polars",
            "pyarrow",
            "xarray",
            "torch",
            "jax",
            "jaxlib",
        ):
            if first is None:
                first = one
            else:
                same_index(one, label, first)
        arrays.append(one.data)
    return tuple(arrays), first
