# SPDX-License-Identifier: Apache-2.0
"""Arrays in, the same kind of array out.

`unpack` turns an argument into what `_core` takes: one array (1-D, or 2-D with time along an axis), or a list of 1-D
arrays. What comes back it can put into the caller's kind again: same library, same index, names and attributes. Types
are told by their module's name, so that no library is imported for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import DTypeError, ParameterError, ShapeError

__all__ = ["Unpacked", "unpack", "unpack_like"]

Wrap = Callable[[Any], Any]


class Unpacked:
    """An argument in the form that `_core` takes, and the way back.

    Attributes
    ----------
    data
        An array-like, or, if `labels` is not None, a list of 1-D array-likes.
    labels : list of str or None
        Names of the members of a list.
    axis : int
        The time axis of an array.
    rows_are_bars : bool
        Whether the argument is a frame, a table or a mapping, so that symbols have names.
    """

    __slots__ = ("_kind", "axis", "data", "labels")

    def __init__(self, data: Any, kind: _Kind, labels: list[str] | None = None, axis: int = -1) -> None:
        self.data = data
        self.labels = labels
        self.axis = axis
        self._kind = kind

    def wrap(self, result: Any) -> Any:
        """A result with the structure of the argument."""
        return self._kind.wrap(result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        """A result with one more, leading axis: one entry per length."""
        return self._kind.wrap_lengths(result, lengths)

    def wrap_last(self, values: Any) -> Any:
        """One value per series."""
        return self._kind.wrap_last(values)

    @property
    def names(self) -> list[Any] | None:
        """Names of the series, if they have any."""
        return self._kind.names()


class _Kind:
    """How results become an array of one kind; NumPy here."""

    def wrap(self, result: Any) -> Any:
        return result

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        return self.wrap(result)

    def wrap_last(self, values: Any) -> Any:
        return values[()] if isinstance(values, np.ndarray) and values.ndim == 0 else values

    def names(self) -> list[Any] | None:
        return None


_NUMPY = _Kind()


# ---------------------------------------------------------------------------------------------- tensors


class _Torch(_Kind):
    def wrap(self, result: Any) -> Any:
        return sys.modules["torch"].from_numpy(np.asarray(result))

    wrap_last = wrap


class _Jax(_Kind):
    def wrap(self, result: Any) -> Any:
        jax = sys.modules["jax"]
        if result.dtype == np.float64 and not jax.config.jax_enable_x64:
            result = result.astype(np.float32)  # all that JAX can hold then
        return jax.numpy.asarray(result)

    wrap_last = wrap


# ---------------------------------------------------------------------------------------------- pandas


def _pandas_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    dtype = x.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind not in "fiu":
            raise DTypeError(f"{label} has dtype {dtype}; accepted are float64, float32 and integers")
        return x.to_numpy()
    if getattr(dtype, "kind", "O") not in "fiu" or not getattr(dtype, "_is_numeric", False):
        raise DTypeError(f"{label} has dtype {dtype}; accepted are float64, float32 and integers")
    kind = np.float32 if getattr(dtype, "itemsize", 8) == 4 and dtype.kind == "f" else np.float64
    return x.to_numpy(dtype=kind, na_value=np.nan)


class _PandasSeries(_Kind):
    def __init__(self, x: Any) -> None:
        self.x = x

    def _named(self, made: Any) -> Any:
        made.attrs = dict(self.x.attrs)
        return made

    def wrap(self, result: Any) -> Any:
        pd = sys.modules["pandas"]
        return self._named(pd.Series(result, index=self.x.index, name=self.x.name, copy=False))

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pd = sys.modules["pandas"]
        columns = pd.Index(lengths, name="length")
        return self._named(pd.DataFrame(result.T, index=self.x.index, columns=columns, copy=False))


class _PandasFrame(_Kind):
    def __init__(self, x: Any) -> None:
        self.x = x

    def wrap(self, result: Any) -> Any:
        pd = sys.modules["pandas"]
        made = pd.DataFrame(result, index=self.x.index, columns=self.x.columns, copy=False)
        made.attrs = dict(self.x.attrs)
        return made

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pd = sys.modules["pandas"]
        frames = [self.wrap(part) for part in result]
        made = pd.concat(frames, axis=1, keys=list(lengths), names=["length", *self.x.columns.names])
        made.attrs = dict(self.x.attrs)
        return made

    def wrap_last(self, values: Any) -> Any:
        return sys.modules["pandas"].Series(values, index=self.x.columns, copy=False)

    def names(self) -> list[Any]:
        return list(self.x.columns)


def _unpack_pandas(x: Any, name: str) -> Unpacked | None:
    kind = type(x).__name__
    if kind == "Series":
        return Unpacked(_pandas_values(x, name), _PandasSeries(x))
    if kind != "DataFrame":
        return None
    dtypes = list(x.dtypes)
    first = dtypes[0] if dtypes else np.dtype(np.float64)
    if isinstance(first, np.dtype) and first.kind in "fiu" and all(d == first for d in dtypes):
        return Unpacked(x.to_numpy(), _PandasFrame(x), axis=0)
    columns = [_pandas_values(x.iloc[:, i], f"{name}: column {c!r}") for i, c in enumerate(x.columns)]
    return Unpacked(columns, _PandasFrame(x), labels=[str(c) for c in x.columns])


# ---------------------------------------------------------------------------------------------- Polars


def _polars_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    if not x.dtype.is_numeric():
        raise DTypeError(f"{label} has dtype {x.dtype}; accepted are floats and integers")
    if x.dtype.is_decimal():
        x = x.cast(sys.modules["polars"].Float64)
    return x.to_numpy()


class _PolarsSeries(_Kind):
    def __init__(self, x: Any) -> None:
        self.x = x

    def wrap(self, result: Any) -> Any:
        return sys.modules["polars"].Series(self.x.name, result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pl = sys.modules["polars"]
        stem = f"{self.x.name}_" if self.x.name else ""
        return pl.DataFrame([pl.Series(f"{stem}{n}", part) for n, part in zip(lengths, result, strict=True)])


class _PolarsFrame(_Kind):
    def __init__(self, x: Any) -> None:
        self.x = x

    def wrap(self, result: Any) -> Any:
        pl = sys.modules["polars"]
        return pl.DataFrame([pl.Series(c, result[:, i]) for i, c in enumerate(self.x.columns)])

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pl = sys.modules["polars"]
        return pl.DataFrame(
            [
                pl.Series(f"{c}_{n}", part[:, i])
                for n, part in zip(lengths, result, strict=True)
                for i, c in enumerate(self.x.columns)
            ]
        )

    def wrap_last(self, values: Any) -> Any:
        return dict(zip(self.x.columns, values.tolist(), strict=True))

    def names(self) -> list[Any]:
        return list(self.x.columns)


def _unpack_polars(x: Any, name: str) -> Unpacked | None:
    kind = type(x).__name__
    if kind == "Series":
        return Unpacked(_polars_values(x, name), _PolarsSeries(x))
    if kind == "DataFrame":
        columns = [_polars_values(c, f"{name}: column {c.name!r}") for c in x.get_columns()]
        return Unpacked(columns, _PolarsFrame(x), labels=list(x.columns))
    if kind == "LazyFrame":
        raise DTypeError(f"{name}: a Polars LazyFrame has no values yet; call .collect() first")
    return None


# ---------------------------------------------------------------------------------------------- Arrow


def _arrow_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    types = sys.modules["pyarrow"].types
    if not (types.is_floating(x.type) or types.is_integer(x.type)) or types.is_float16(x.type):
        raise DTypeError(f"{label} has type {x.type}; accepted are float64, float32 and integers")
    values: np.ndarray[Any, Any] = (
        x.to_numpy(zero_copy_only=False) if type(x).__name__ != "ChunkedArray" else x.to_numpy()
    )
    return values


class _ArrowArray(_Kind):
    def wrap(self, result: Any) -> Any:
        return sys.modules["pyarrow"].array(result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pa = sys.modules["pyarrow"]
        return pa.table({str(n): part for n, part in zip(lengths, result, strict=True)})


class _ArrowTable(_Kind):
    def __init__(self, x: Any) -> None:
        self.x = x

    def _table(self, names: list[str], columns: list[Any]) -> Any:
        pa = sys.modules["pyarrow"]
        return pa.Table.from_arrays([pa.array(c) for c in columns], names=names)

    def wrap(self, result: Any) -> Any:
        names = self.x.schema.names
        return self._table(names, [result[:, i] for i in range(len(names))])

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        names = self.x.schema.names
        columns = [part[:, i] for part in result for i in range(len(names))]
        return self._table([f"{c}_{n}" for n in lengths for c in names], columns)

    def wrap_last(self, values: Any) -> Any:
        return dict(zip(self.x.schema.names, values.tolist(), strict=True))

    def names(self) -> list[Any]:
        return list(self.x.schema.names)


def _unpack_arrow(x: Any, name: str) -> Unpacked | None:
    kind = type(x).__name__
    if kind in ("Table", "RecordBatch"):
        names = x.schema.names
        columns = [_arrow_values(x.column(i), f"{name}: column {c!r}") for i, c in enumerate(names)]
        return Unpacked(columns, _ArrowTable(x), labels=list(names))
    if hasattr(x, "to_numpy") and hasattr(x, "type"):
        return Unpacked(_arrow_values(x, name), _ArrowArray())
    return None


# ---------------------------------------------------------------------------------------------- xarray


_TIME_NAMES = ("time", "date", "datetime", "timestamp", "ts", "bar", "bars")


class _XArray(_Kind):
    def __init__(self, x: Any, time_dim: str) -> None:
        self.x = x
        self.time_dim = time_dim

    def wrap(self, result: Any) -> Any:
        return self.x.copy(deep=False, data=result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        xr = sys.modules["xarray"]
        parts = [self.wrap(part) for part in result]
        return xr.concat(parts, dim=xr.DataArray(list(lengths), dims="length", name="length"))

    def wrap_last(self, values: Any) -> Any:
        last = self.x.isel({self.time_dim: -1})
        return last.copy(deep=False, data=values)


def _unpack_xarray(x: Any, name: str, axis: int | str | None) -> Unpacked | None:
    if type(x).__name__ != "DataArray":
        raise DTypeError(f"{name}: an xarray {type(x).__name__} holds several arrays; pass one of its variables")
    dims = list(x.dims)
    if isinstance(axis, str):
        if axis not in dims:
            raise ParameterError(f"axis: {axis!r} is not a dimension of {name}; it has {', '.join(map(repr, dims))}")
        index = dims.index(axis)
    elif axis is None:
        named = [i for i, d in enumerate(dims) if str(d).lower() in _TIME_NAMES]
        index = named[0] if len(named) == 1 else len(dims) - 1
    else:
        index = axis
    return Unpacked(x.to_numpy(), _XArray(x, dims[index] if dims else ""), axis=index)


# ---------------------------------------------------------------------------------------------- mappings


class _Mapping(_Kind):
    def __init__(self, keys: list[Any], members: list[Unpacked]) -> None:
        self.keys = keys
        self.members = members

    def _each(self, result: Any, lead: int, wrap: Callable[[Unpacked, Any], Any]) -> dict[Any, Any]:
        def part(i: int) -> Any:
            if isinstance(result, list):
                return result[i]
            return result[:, :, i] if lead else result[:, i]

        return {key: wrap(member, part(i)) for i, (key, member) in enumerate(zip(self.keys, self.members, strict=True))}

    def wrap(self, result: Any) -> Any:
        return self._each(result, 0, lambda member, part: member.wrap(part))

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        return self._each(result, 1, lambda member, part: member.wrap_lengths(part, lengths))

    def wrap_last(self, values: Any) -> Any:
        return dict(zip(self.keys, values.tolist(), strict=True))

    def names(self) -> list[Any]:
        return self.keys


def _unpack_mapping(x: Mapping[Any, Any], name: str) -> Unpacked:
    keys = list(x)
    members = []
    for key in keys:
        member = unpack(x[key], f"{name}: {key!r}")
        if member.labels is not None or getattr(member.data, "ndim", 1) != 1:
            raise ShapeError(f"{name}: {key!r} is not one series; the values of a mapping must be one-dimensional")
        members.append(member)
    return Unpacked([m.data for m in members], _Mapping(keys, members), labels=[str(k) for k in keys])


# ---------------------------------------------------------------------------------------------- the way in


def unpack(x: Any, name: str, axis: int | str | None = None) -> Unpacked:
    """Take an argument apart.

    Parameters
    ----------
    x
        The argument.
    name : str
        What to call it in messages.
    axis : int, str or None
        Time axis of an array; the name of a dimension for xarray. Frames, tables and mappings have their own.

    Raises
    ------
    DTypeError, ShapeError, ParameterError
        If the argument is of a kind, type or shape that is not accepted.
    """
    if type(x) is np.ndarray:
        return Unpacked(x, _NUMPY, axis=_integer_axis(axis))
    root = type(x).__module__.partition(".")[0]
    found: Unpacked | None = None
    if root == "pandas":
        found = _unpack_pandas(x, name)
    elif root == "polars":
        found = _unpack_polars(x, name)
    elif root == "pyarrow":
        found = _unpack_arrow(x, name)
    elif root == "xarray":
        return _unpack_xarray(x, name, axis)  # type: ignore[return-value]
    elif root == "torch":
        found = Unpacked(x, _Torch(), axis=_integer_axis(axis))
        axis = None
    elif root in ("jax", "jaxlib"):
        found = Unpacked(x, _Jax(), axis=_integer_axis(axis))
        axis = None
    elif isinstance(x, Mapping):
        found = _unpack_mapping(x, name)
    if found is None:
        return Unpacked(x, _NUMPY, axis=_integer_axis(axis))
    if axis is not None:
        raise ParameterError(f"axis: {type(x).__name__} has time along its rows; leave axis out")
    return found


def _integer_axis(axis: int | str | None) -> int:
    if axis is None:
        return -1
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ParameterError(f"axis: {axis!r} is not a whole number; names of dimensions go with xarray only")
    return axis.__index__()  # type: ignore[union-attr]


def unpack_like(x: Any, name: str, first: Unpacked, axis: int | str | None = None) -> Unpacked:
    """Take apart an argument that goes with `first`, series by series.

    Named series are matched by name, so the order of columns does not matter.

    Raises
    ------
    ShapeError
        If the series of the two do not match.
    """
    if isinstance(first._kind, (_PandasSeries, _PolarsSeries, _ArrowArray)):
        axis = None
    other = unpack(x, name, axis)
    names, others = first.names, other.names
    if names is not None and others is not None and names != others:
        if len(others) != len(set(others)) or set(names) != set(others):
            missing = [n for n in names if n not in others]
            raise ShapeError(f"{name}: has other series than the first argument; missing: {missing[:5]}")
        order = [others.index(n) for n in names]
        if other.labels is None:
            other.data = other.data[:, order]
        else:
            other.data = [other.data[i] for i in order]
            other.labels = [other.labels[i] for i in order]
    if (first.labels is None) != (other.labels is None):
        _to_list(first, name)
        _to_list(other, name)
    return other


def _to_list(x: Unpacked, name: str) -> None:
    """The series of a two-dimensional array as a list, so that it goes with another list."""
    if x.labels is not None:
        return
    array = np.asarray(x.data)
    if array.ndim != 2:
        raise ShapeError(f"{name}: several named series do not go with one array of shape {array.shape}")
    axis = x.axis % 2
    x.data = [array[:, i] if axis == 0 else array[i] for i in range(array.shape[1 - axis])]
    x.labels = [str(n) for n in (x.names or range(len(x.data)))]
