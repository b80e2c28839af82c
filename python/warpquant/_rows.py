# SPDX-License-Identifier: Apache-2.0
"""Calls of functions of rows: arguments that broadcast as in NumPy, results in the caller's kind of array."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core, config
from ._containers import Unpacked, same_index, unpack
from ._devices import Choice, resolve
from .errors import DTypeError, ParameterError, ShapeError

__all__ = ["Outputs", "call", "checked_out", "chosen_names", "flags"]

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
        self._places = {name: k for k, name in enumerate(self.names)}
        self._places.update({alias: self._places[name] for alias, name in (aliases or {}).items()})
        self._chosen: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._names: dict[Any, tuple[str, ...]] = {}  # by what was asked for

    def choose(self, outputs: str | Iterable[str], status: bool = False, argument: str = "outputs") -> tuple[str, ...]:
        """Names that are asked for, as they are written; 'all' are all. `status`: that too.

        Raises
        ------
        ParameterError
            If there is no such result.
        """
        key: Any = (outputs, status)
        try:
            if (found := self._names.get(key)) is not None:
                return found
        except TypeError:  # a list, or something else that does not hash
            key = None
        names = (
            self.names
            if isinstance(outputs, str) and outputs == "all"
            else chosen_names(outputs, self._places, argument)
        )
        if status and "status" not in names:
            names = (*names, "status")
        if key is not None and type(outputs) in (str, tuple):  # an iterator is another one each time
            self._names[key] = names
        return names

    def places(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Which of the operation's results they are."""
        found = self._chosen.get(names)
        if found is None:
            found = self._chosen[names] = tuple(self._places[name] for name in names)
        return found


def chosen_names(outputs: str | Iterable[str], accepted: Collection[str], argument: str = "outputs") -> tuple[str, ...]:
    """Names of results out of those that there are.

    Raises
    ------
    ParameterError
        If one is unknown, or none is given.
    """
    if not isinstance(outputs, Iterable):
        raise ParameterError(f"{argument}: {outputs!r} names nothing; accepted are {', '.join(accepted)}, or 'all'")
    names: tuple[Any, ...] = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if not isinstance(name, str) or name not in accepted:
            raise ParameterError(f"{argument}: {name!r} is unknown; accepted are {', '.join(accepted)}, or 'all'")
    if not names:
        raise ParameterError(f"{argument}: is empty; accepted are {', '.join(accepted)}, or 'all'")
    return names


_TEXTS = {
    spelled: number
    for text, number in {"c": 1, "call": 1, "p": -1, "put": -1}.items()
    for spelled in (text, text.upper(), text.capitalize())
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
    if isinstance(is_call, str):
        if is_call not in _TEXTS:
            raise ParameterError(f"{name}: {is_call!r} is unknown; {_FLAGS}")
        return _TEXTS[is_call]
    if kind is np.ndarray and is_call.dtype.kind in "bif":
        return is_call
    root = kind.__module__.partition(".")[0]
    if root in ("pandas", "polars", "pyarrow"):
        if getattr(getattr(is_call, "dtype", None), "kind", "O") in "if":
            return is_call
        values = _texts(is_call, name)
        index = getattr(is_call, "index", None) if root == "pandas" else None
        return values if index is None else sys.modules["pandas"].Series(values, index=index)
    if isinstance(is_call, (list, tuple)) or (kind is np.ndarray and is_call.dtype.kind in "USO"):
        return _flag_array(np.asarray(is_call), name)
    return is_call


_FLAGS = "accepted are True or 1 for a call, False, 0 or -1 for a put, and the texts 'c', 'call', 'p', 'put'"


def _texts(x: Any, name: str) -> np.ndarray[Any, Any]:
    """The values of a column that is no column of numbers."""
    if type(x).__module__.startswith("pandas"):
        return _flag_array(x.to_numpy(dtype=object), name)
    values = x.to_pylist() if hasattr(x, "to_pylist") else x.to_list()
    return _flag_array(np.asarray(values, dtype=object), name)


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
    found: np.ndarray[Any, Any] = numbers[inverse].reshape(values.shape)
    return found


def _missing(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if values.dtype.kind != "O":
        return np.zeros(values.shape, bool)
    missing = np.frompyfunc(lambda v: v is None or type(v).__name__ == "NAType" or v != v, 1, 1)(values)
    return np.asarray(missing, dtype=bool)


_PLAIN = (float, int, bool, np.ndarray)


def call(
    operation: str,
    arguments: tuple[Any, ...],
    outputs: Outputs,
    names: tuple[str, ...],
    *,
    parameters: Sequence[float] = (),
    out: Mapping[str, Any] | None = None,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
    kept: Callable[[Choice], Any] | None = None,
) -> dict[str, Any]:
    """Results of an operation by name.

    Parameters
    ----------
    operation : str
        Its name in the core.
    arguments : tuple
        Values of its arguments, in its order.
    outputs : Outputs
        What it has.
    names : tuple of str
        What `Outputs.choose` gave.
    parameters : sequence of float
        Numbers that are the same for every row.
    out : mapping, optional
        Name to the array that takes the result.
    num_threads : int, optional
        CPU threads.
    device, stream
        Where to compute, as for every function of the package.
    kept : callable, optional
        Gives an array on the device that is chosen, which the operation uses besides its arguments.

    Returns
    -------
    dict
        Name to result: a float where every argument is a number, else an array of the kind of the first argument that
        is none of NumPy's, of the shape that all have together.
    """
    threads, simd = config._execution(num_threads)
    places = outputs.places(names)
    targets = None if out is None else _targets(out, outputs, names)
    # On its own accord nothing is sent to a device: a pass over rows takes less than the copies.
    if stream is None and (config._value("device") if device is None else device) in ("auto", "cpu"):
        made = _core.row_call(operation, arguments, names, places, parameters, targets, threads, simd, None, False)
        if made is not None:
            return _with_codes(made, out)
    values, others = _unpacked(_OPERATIONS[operation][0], arguments)
    lives_on = next((one.device for one in others if one.device is not None), None)
    place = resolve(device, lives_on, _OPERATIONS[operation][0][0], None, num_threads, stream)
    own = None if place is None or kept is None else kept(place)
    made = _core.row_call(operation, values, names, places, parameters, targets, threads, simd, place, True, own)
    assert made is not None
    made = _with_codes(made, out)
    if not others:
        return made
    return {n: r if out is not None and n in out else others[0].wrap_named(r, n) for n, r in made.items()}


def checked_out(out: Any, names: Sequence[str]) -> dict[str, Any]:
    """Arrays that take results, by names that are asked for.

    Raises
    ------
    ParameterError
        If it is no mapping, or has another name.
    """
    if not isinstance(out, Mapping):
        raise ParameterError(f"out: {type(out).__name__} is no mapping from the names of results to arrays")
    for name in out:
        if name not in names:
            raise ParameterError(f"out: {name!r} is not among the outputs; those are {', '.join(names)}")
    return dict(out)


def _targets(out: Mapping[str, Any], outputs: Outputs, names: tuple[str, ...]) -> dict[str, Any]:
    """Arrays to write to by the operation's own names."""
    own: dict[str, Any] = {}
    for name, array in checked_out(out, names).items():
        result = outputs.names[outputs.places((name,))[0]]
        if own.setdefault(result, array) is not array:
            raise ParameterError(f"out: {name!r} is another name of a result that has an array already")
    return {name: _reinterpreted(array, np.uint8, np.int8) for name, array in own.items()}


def _with_codes(made: dict[str, Any], out: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same with status codes as unsigned integers."""
    if "status" in made:
        given = None if out is None else out.get("status")
        made["status"] = _reinterpreted(made["status"], np.int8, np.uint8) if given is None else given
    return made


def _reinterpreted(array: Any, before: Any, after: Any) -> Any:
    """The core has no unsigned integers; codes are small."""
    return array.view(after) if isinstance(array, np.ndarray) and array.dtype == before else array


def _unpacked(labels: Sequence[str], values: Sequence[Any]) -> tuple[tuple[Any, ...], list[Unpacked]]:
    """Arguments as arrays, and those that are of another kind than NumPy."""
    arrays: list[Any] = []
    others: list[Unpacked] = []
    for label, value in zip(labels, values, strict=True):
        if type(value) in _PLAIN:
            arrays.append(value)
        elif isinstance(value, np.generic):
            arrays.append(float(value) if isinstance(value, float) else np.asarray(value))
        elif isinstance(value, Mapping) or value is None:
            raise DTypeError(f"{label}: cannot read numbers from {type(value).__name__}")
        else:
            one = unpack(value, label)
            if one.labels is not None:
                raise ShapeError(f"{label}: is a table of several types of columns; pass one column, or an array")
            if not isinstance(value, (list, tuple, np.ndarray)):
                if others:
                    same_index(one, label, others[0])
                others.append(one)
            arrays.append(one.data)
    return tuple(arrays), others
