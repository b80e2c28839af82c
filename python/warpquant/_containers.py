# SPDX-License-Identifier: Apache-2.0
"""Arrays in, the same kind of array out.

`unpack` turns an argument into what `_core` takes: one array (1-D, or 2-D with time along an axis), or a list of 1-D
arrays. What comes back it can put into the caller's kind again: same library, same index, names and attributes. Types
are told by their module's name, so that no library is imported for it.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _core
from ._cost import FEW, Work
from .errors import DeviceUnavailableError, DTypeError, LayoutError, ParameterError, ShapeError

__all__ = ["Unpacked", "same_index", "shape", "unpack", "unpack_like"]

Wrap = Callable[[Any], Any]


class Unpacked:
    """An argument in the form that `_core` takes, and the way back.

    Attributes
    ----------
    data
        An array-like, or, if `labels` is not None, a list of 1-D array-likes.
    labels : list of str or None
        Names of the members of a list, for messages.
    axis : int
        The time axis of an array.
    device : str or None
        Where an array lives if not in host memory, such as 'cuda:0'.
    """

    __slots__ = ("_kind", "axis", "data", "device", "labels")

    def __init__(
        self, data: Any, kind: _Kind, labels: list[str] | None = None, axis: int = -1, device: str | None = None
    ) -> None:
        self.data = data
        self.labels = labels
        self.axis = axis
        self.device = device
        self._kind = kind

    def work(self, op: str, outputs: int = 1, inputs: int = 1) -> Work | None:
        """What a call on it has to do; None if that is hardly anything, or cannot be told from a shape."""
        if self.labels is not None:
            shapes = [column.shape for column in self.data if isinstance(column, np.ndarray)]
            return Work(op, len(shapes), sum(map(math.prod, shapes)), inputs, outputs)
        if not isinstance(self.data, np.ndarray) or self.data.size < FEW:
            return None
        size = self.data.shape
        bars = size[self.axis] if -len(size) <= self.axis < len(size) else 1
        return Work(op, self.data.size // max(bars, 1), self.data.size, inputs, outputs)

    def wrap(self, result: Any) -> Any:
        """A result with the structure of the argument."""
        return self._kind.wrap(result)

    def wrap_named(self, result: Any, name: str) -> Any:
        """One of several results, with its own name where the kind has names."""
        return self._kind.wrap_named(result, name)

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

    @property
    def has_null(self) -> bool:
        """Whether the kind tells a null from a NaN."""
        return self._kind.has_null

    def null_warmup(self, result: Any) -> Any:
        """A wrapped result with its leading NaN as null."""
        return self._kind.null_warmup(result)


class _Kind:
    """How results become an array of one kind; NumPy here."""

    #: Bars are along a fixed axis, which the caller cannot choose.
    own_axis = False
    #: Frames and tables: bars are rows, series are columns. A plain array that goes with one has its layout.
    rows_are_bars = False
    has_null = False

    def wrap(self, result: Any) -> Any:
        return result

    def wrap_named(self, result: Any, name: str) -> Any:
        return self.wrap(result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        return self.wrap(result)

    def wrap_last(self, values: Any) -> Any:
        return values[()] if isinstance(values, np.ndarray) and values.ndim == 0 else values

    def names(self) -> list[Any] | None:
        return None

    def null_warmup(self, result: Any) -> Any:
        raise NotImplementedError


_NUMPY = _Kind()
_ACCEPTED = "accepted are float64, float32 and integers"


def _text(label: Any) -> str:
    """A label for messages, which are UTF-8."""
    return str(label).encode("utf-8", "backslashreplace").decode()


def _distinct(lengths: Sequence[int]) -> list[str]:
    """Names of columns, one per length; a length that comes again gets a number."""
    return [f"{n}#{k}" if (k := list(lengths[:i]).count(n)) else str(n) for i, n in enumerate(lengths)]


def _warmup_bars(values: np.ndarray[Any, Any]) -> int:
    missing = np.isnan(values)
    return len(values) if missing.all() else int(np.argmin(missing))


# ---------------------------------------------------------------------------------------------- NumPy


def _unpack_numpy(x: Any, axis: int) -> Unpacked:
    """A subclass of ndarray; what a masked array hides is missing."""
    if isinstance(x, np.ma.MaskedArray):
        if np.ma.is_masked(x) and x.dtype.kind in "fiu":
            floats: Any = x if x.dtype.kind == "f" else x.astype(np.float64)
            x = floats.filled(np.nan)
        else:
            x = x.data
    return Unpacked(x, _NUMPY, axis=axis)


# ---------------------------------------------------------------------------------------------- tensors


class _Torch(_Kind):
    def wrap(self, result: Any) -> Any:
        torch = sys.modules["torch"]
        return torch.from_dlpack(result) if isinstance(result, _core.Array) else torch.from_numpy(np.asarray(result))

    def wrap_last(self, values: Any) -> Any:
        return self.wrap(values)


def _unpack_torch(x: Any, name: str, axis: int) -> Unpacked:
    torch = sys.modules["torch"]
    if x.requires_grad and torch.is_grad_enabled():
        raise LayoutError(f"{name}: requires grad, and gradients do not pass through; call .detach() first")
    if x.layout is not torch.strided:
        raise LayoutError(f"{name}: is a tensor of layout {x.layout}; call .to_dense() first")
    if x.device.type not in ("cpu", "cuda"):
        raise DeviceUnavailableError(
            f"{name}: lives on device {str(x.device)!r}; accepted are the host and CUDA", reason="unknown_device"
        )
    # A lazy minus sign is no part of the memory.
    there = f"cuda:{x.get_device()}" if x.is_cuda else None
    return Unpacked(x.resolve_neg() if x.is_neg() else x, _Torch(), axis=axis, device=there)


class _CuPy(_Kind):
    def wrap(self, result: Any) -> Any:
        return sys.modules["cupy"].from_dlpack(result)

    def wrap_last(self, values: Any) -> Any:
        return self.wrap(values)


class _Jax(_Kind):
    def wrap(self, result: Any) -> Any:
        jax = sys.modules["jax"]
        if isinstance(result, _core.Array):
            return jax.numpy.from_dlpack(result)
        if result.dtype == np.float64 and not jax.config.jax_enable_x64:
            result = result.astype(np.float32)  # all that JAX can hold then
        return jax.numpy.asarray(result)

    def wrap_last(self, values: Any) -> Any:
        return self.wrap(values)


# ---------------------------------------------------------------------------------------------- pandas


def _pandas_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    dtype = x.dtype
    if getattr(dtype, "kind", "O") not in "fiu":
        raise DTypeError(f"{label} has dtype {dtype}; {_ACCEPTED}")
    values: np.ndarray[Any, Any]
    if isinstance(dtype, np.dtype):
        values = x.to_numpy()
    else:  # nullable, Arrow or sparse
        single = dtype.kind == "f" and getattr(dtype, "itemsize", 8) == 4
        values = x.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)
    return values


class _PandasSeries(_Kind):
    own_axis = True

    def __init__(self, x: Any) -> None:
        self.x = x

    def _named(self, made: Any) -> Any:
        made.attrs = dict(self.x.attrs)
        return made

    def wrap(self, result: Any) -> Any:
        return self.wrap_named(result, self.x.name)

    def wrap_named(self, result: Any, name: str) -> Any:
        pd = sys.modules["pandas"]
        return self._named(pd.Series(result, index=self.x.index, name=name, copy=False))

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pd = sys.modules["pandas"]
        columns = pd.Index(lengths, name="length")
        return self._named(pd.DataFrame(result.T, index=self.x.index, columns=columns, copy=False))


class _PandasFrame(_Kind):
    own_axis = rows_are_bars = True

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


def _unpack_pandas(x: Any, kind: str, name: str) -> Unpacked | None:
    if kind == "Series":
        return Unpacked(_pandas_values(x, name), _PandasSeries(x))
    if kind != "DataFrame":
        return None
    dtypes = list(x.dtypes)
    if not dtypes:
        return Unpacked(np.empty((len(x), 0)), _PandasFrame(x), axis=0)
    first = dtypes[0]
    if isinstance(first, np.dtype) and first.kind in "fiu" and all(d == first for d in dtypes):
        return Unpacked(x.to_numpy(), _PandasFrame(x), axis=0)
    columns = [_pandas_values(x.iloc[:, i], f"{name}: column {c!r}") for i, c in enumerate(x.columns)]
    return Unpacked(columns, _PandasFrame(x), labels=[_text(c) for c in x.columns])


# ---------------------------------------------------------------------------------------------- Polars


def _polars_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    if not x.dtype.is_numeric():
        raise DTypeError(f"{label} has dtype {x.dtype}; accepted are floats and integers")
    if x.dtype.is_decimal():
        x = x.cast(sys.modules["polars"].Float64)
    values: np.ndarray[Any, Any] = x.to_numpy()
    return values


class _PolarsSeries(_Kind):
    own_axis = has_null = True

    def __init__(self, x: Any) -> None:
        self.x = x

    def wrap(self, result: Any) -> Any:
        return self.wrap_named(result, self.x.name)

    def wrap_named(self, result: Any, name: str) -> Any:
        return sys.modules["polars"].Series(name, result)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        pl = sys.modules["polars"]
        stem = f"{self.x.name}_" if self.x.name else ""
        names = _distinct(lengths)
        return pl.DataFrame([pl.Series(f"{stem}{n}", part) for n, part in zip(names, result, strict=True)])

    def null_warmup(self, result: Any) -> Any:
        return _polars_null_warmup(result)


class _PolarsFrame(_Kind):
    own_axis = rows_are_bars = has_null = True

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
                for n, part in zip(_distinct(lengths), result, strict=True)
                for i, c in enumerate(self.x.columns)
            ]
        )

    def null_warmup(self, result: Any) -> Any:
        return _polars_null_warmup(result)

    def wrap_last(self, values: Any) -> Any:
        return dict(zip(self.x.columns, values.tolist(), strict=True))

    def names(self) -> list[Any]:
        return list(self.x.columns)


def _polars_null_warmup(result: Any) -> Any:
    pl = sys.modules["polars"]
    if isinstance(result, pl.DataFrame):
        return result.with_columns([_polars_null_warmup(c) for c in result.get_columns()])
    first = _warmup_bars(result.to_numpy())
    return pl.Series(result.name, [None] * first, dtype=result.dtype).append(result[first:])


def _unpack_polars(x: Any, kind: str, name: str) -> Unpacked | None:
    if kind == "Series":
        return Unpacked(_polars_values(x, name), _PolarsSeries(x))
    if kind == "DataFrame":
        columns = [_polars_values(c, f"{name}: column {c.name!r}") for c in x.get_columns()]
        return Unpacked(columns, _PolarsFrame(x), labels=[_text(c) for c in x.columns])
    if kind == "LazyFrame":
        raise DTypeError(f"{name}: a Polars LazyFrame has no values yet; call .collect() first")
    return None


# ---------------------------------------------------------------------------------------------- Arrow


def _arrow_values(x: Any, label: str) -> np.ndarray[Any, Any]:
    types = sys.modules["pyarrow"].types
    if not (types.is_floating(x.type) or types.is_integer(x.type)) or types.is_float16(x.type):
        raise DTypeError(f"{label} has type {x.type}; {_ACCEPTED}")
    if hasattr(x, "chunks"):  # one chunk is read where it lies
        x = x.chunk(0) if x.num_chunks == 1 else x.combine_chunks()
    values: np.ndarray[Any, Any] = x.to_numpy(zero_copy_only=False)
    return values


class _ArrowArray(_Kind):
    own_axis = has_null = True

    def __init__(self, chunked: bool) -> None:
        self.chunked = chunked

    def wrap(self, result: Any) -> Any:
        return self._array(result)

    def _array(self, values: Any, mask: Any = None) -> Any:
        pa = sys.modules["pyarrow"]
        array = pa.array(values, mask=mask)
        return pa.chunked_array([array]) if self.chunked else array

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        return sys.modules["pyarrow"].table(dict(zip(_distinct(lengths), result, strict=True)))

    def null_warmup(self, result: Any) -> Any:
        if hasattr(result, "schema"):
            return _arrow_null_warmup(result)
        values = result.to_numpy() if self.chunked else result.to_numpy(zero_copy_only=False)
        return self._array(values, np.arange(len(values)) < _warmup_bars(values))


class _ArrowTable(_Kind):
    own_axis = rows_are_bars = has_null = True

    def __init__(self, x: Any) -> None:
        self.x = x

    def _table(self, names: list[str], columns: list[Any]) -> Any:
        pa = sys.modules["pyarrow"]
        return type(self.x).from_arrays([pa.array(c) for c in columns], names=names)

    def wrap(self, result: Any) -> Any:
        names = self.x.schema.names
        return self._table(names, [result[:, i] for i in range(len(names))])

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        names = self.x.schema.names
        columns = [part[:, i] for part in result for i in range(len(names))]
        return self._table([f"{c}_{n}" for n in _distinct(lengths) for c in names], columns)

    def wrap_last(self, values: Any) -> Any:
        return dict(zip(self.x.schema.names, values.tolist(), strict=True))

    def names(self) -> list[Any]:
        return list(self.x.schema.names)

    def null_warmup(self, result: Any) -> Any:
        return _arrow_null_warmup(result)


def _arrow_null_warmup(table: Any) -> Any:
    pa = sys.modules["pyarrow"]
    columns = []
    for column in table.columns:
        values = column.to_numpy(zero_copy_only=False)
        columns.append(pa.array(values, mask=np.arange(len(values)) < _warmup_bars(values)))
    return type(table).from_arrays(columns, names=table.schema.names)


def _unpack_arrow(x: Any, name: str) -> Unpacked | None:
    if hasattr(x, "schema") and hasattr(x, "column"):  # Table, RecordBatch
        names = x.schema.names
        columns = [_arrow_values(x.column(i), f"{name}: column {c!r}") for i, c in enumerate(names)]
        return Unpacked(columns, _ArrowTable(x), labels=[_text(c) for c in names])
    if hasattr(x, "to_numpy") and hasattr(x, "type"):
        return Unpacked(_arrow_values(x, name), _ArrowArray(chunked=hasattr(x, "chunks")))
    return None


# ---------------------------------------------------------------------------------------------- xarray


_TIME_NAMES = ("time", "date", "datetime", "timestamp", "ts", "bar", "bars")


class _XArray(_Kind):
    own_axis = True

    def __init__(self, x: Any, time_dim: str) -> None:
        self.x = x
        self.time_dim = time_dim

    def wrap(self, result: Any) -> Any:
        return self.x.copy(deep=False, data=result)

    def wrap_named(self, result: Any, name: str) -> Any:
        return self.wrap(result).rename(name)

    def wrap_lengths(self, result: Any, lengths: Sequence[int]) -> Any:
        xr = sys.modules["xarray"]
        parts = [self.wrap(part) for part in result]
        return xr.concat(parts, dim=xr.DataArray(list(lengths), dims="length", name="length"))

    def wrap_last(self, values: Any) -> Any:
        last = self.x.isel({self.time_dim: -1})
        return last.copy(deep=False, data=values)


def _unpack_xarray(x: Any, kind: str, name: str, axis: int | str | None) -> Unpacked:
    if kind != "DataArray":
        raise DTypeError(f"{name}: an xarray {kind} is not one array with coordinates; pass a DataArray")
    dims = list(x.dims)
    if isinstance(axis, str):
        if axis not in dims:
            raise ParameterError(f"axis: {axis!r} is not a dimension of {name}; it has {', '.join(map(repr, dims))}")
        index = dims.index(axis)
    elif axis is None:
        named = [i for i, d in enumerate(dims) if str(d).lower() in _TIME_NAMES]
        index = named[0] if len(named) == 1 else len(dims) - 1
    else:
        index = _integer_axis(axis)
        if not -len(dims) <= index < len(dims):
            raise ParameterError(f"axis: {axis} is out of range for {name} of shape {x.shape}")
    return Unpacked(x.to_numpy(), _XArray(x, dims[index] if dims else ""), axis=index)


# ---------------------------------------------------------------------------------------------- mappings


class _Mapping(_Kind):
    own_axis = True

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

    @property
    def has_null(self) -> bool:  # type: ignore[override]
        return all(member.has_null for member in self.members)

    def null_warmup(self, result: Any) -> Any:
        return {key: member.null_warmup(result[key]) for key, member in zip(self.keys, self.members, strict=True)}


def _unpack_mapping(x: Mapping[Any, Any], name: str) -> Unpacked:
    keys = list(x)
    members = []
    for key in keys:
        member = unpack(x[key], f"{name}: {_text(repr(key))}")
        if member.labels is not None or getattr(member.data, "ndim", 1) != 1:
            raise ShapeError(f"{name}: {key!r} is not one series; the values of a mapping must be one-dimensional")
        members.append(member)
    return Unpacked([m.data for m in members], _Mapping(keys, members), labels=[_text(k) for k in keys])


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
    found = _find(x, name, axis)
    if axis is not None and found._kind.own_axis and not isinstance(found._kind, _XArray):
        raise ParameterError(f"axis: {type(x).__name__} has time along its rows; leave axis out")
    return found


_LIBRARIES = ("pandas", "polars", "pyarrow", "xarray", "torch", "jax", "jaxlib", "cupy")


def _library(x: Any) -> tuple[str, str]:
    """The library that an object is from, and the name of its class there; subclasses count as their base."""
    for cls in type(x).__mro__:
        root = cls.__module__.partition(".")[0]
        if root in _LIBRARIES:
            return root, cls.__name__
    return "", ""


def _find(x: Any, name: str, axis: int | str | None) -> Unpacked:
    """As `unpack`, without a word about an axis that the argument has no use for."""
    if isinstance(x, np.ndarray):
        return _unpack_numpy(x, _integer_axis(axis))
    root, kind = _library(x)
    found: Unpacked | None = None
    if root == "pandas":
        found = _unpack_pandas(x, kind, name)
    elif root == "polars":
        found = _unpack_polars(x, kind, name)
    elif root == "pyarrow":
        found = _unpack_arrow(x, name)
    elif root == "xarray":
        found = _unpack_xarray(x, kind, name, axis)
    elif root == "torch" and kind in ("Tensor", "Parameter"):
        found = _unpack_torch(x, name, _integer_axis(axis))
    elif root in ("jax", "jaxlib") and hasattr(x, "dtype"):
        if getattr(x.dtype, "kind", "V") not in "fiu":  # bfloat16 is no type of the buffer protocol
            raise DTypeError(f"{name}: {x.dtype} values are not accepted; {_ACCEPTED}")
        found = Unpacked(x, _Jax(), axis=_integer_axis(axis), device=_device_of(x))
    elif root == "cupy" and hasattr(x, "dtype"):
        found = Unpacked(x, _CuPy(), axis=_integer_axis(axis), device=_device_of(x))
    elif isinstance(x, Mapping):
        found = _unpack_mapping(x, name)
    return Unpacked(x, _NUMPY, axis=_integer_axis(axis), device=_device_of(x)) if found is None else found


#: Names of devices by their DLPack types. The last is that of the simulated devices of the tests.
_DEVICE_TYPES = {2: "cuda", 13: "cuda", 12: "emulator"}


def _device_of(x: Any) -> str | None:
    """The device of an array that offers DLPack; None for host memory and for what only the core can judge."""
    if isinstance(x, type) or not hasattr(x, "__dlpack_device__"):
        return None
    found = x.__dlpack_device__()
    if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(n, int) for n in found):
        return None
    backend = _DEVICE_TYPES.get(found[0])
    return None if backend is None or found[1] < 0 else f"{backend}:{found[1]:d}"


def _integer_axis(axis: int | str | None) -> int:
    if axis is None:
        return -1
    try:
        value = operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        value = None
    if value is None or isinstance(axis, (bool, np.bool_)):
        raise ParameterError(f"axis: {axis!r} is not a whole number; names of dimensions go with xarray only")
    if not -8 <= value < 8:
        raise ParameterError(f"axis: {axis!r} is out of range; accepted are 0, 1, -1 and -2")
    return value


def unpack_like(x: Any, name: str, first: Unpacked, axis: int | str | None = None) -> Unpacked:
    """Take apart an argument that goes with `first`, series by series, and give it the layout of `first`.

    Named series are matched by name, so the order of columns does not matter. A plain array has the layout of `first`.

    Raises
    ------
    ShapeError
        If the series of the two do not match.
    """
    other = _find(x, name, axis if _library(x)[0] == "xarray" else None)
    if not other._kind.own_axis:
        other.axis = first.axis if first.labels is None else 0 if first._kind.rows_are_bars else -1
    same_index(other, name, first)
    _match_names(other, name, first)
    if first.labels is not None:
        if other.labels is None:
            other.data, other.labels = _split(other, name), first.labels
        if len(other.data) != len(first.data):
            raise ShapeError(f"{name}: has {len(other.data)} series, but the first argument has {len(first.data)}")
    elif other.labels is not None:
        other.data, other.labels, other.axis = _join(other, name, first), None, first.axis
    elif other.axis % 2 != first.axis % 2 and np.ndim(other.data) == 2:
        other.data, other.axis = np.asarray(other.data).T, first.axis
    return other


def same_index(other: Unpacked, name: str, first: Unpacked) -> None:
    """Two pandas objects must have the same index: bars are never moved, and a shift would go unseen.

    Raises
    ------
    ShapeError
        If they have not.
    """
    pandas = (_PandasSeries, _PandasFrame)
    if isinstance(other._kind, pandas) and isinstance(first._kind, pandas):
        a, b = first._kind.x.index, other._kind.x.index
        if len(a) == len(b) and not a.equals(b):
            raise ShapeError(f"{name}: has another index than the first argument; align the two before the call")


def _match_names(other: Unpacked, name: str, first: Unpacked) -> None:
    """Put named series into the order of `first`."""
    names, others = first.names, other.names
    if names is None or others is None or names == others:
        return
    if len(others) != len(names) or len(others) != len(set(others)) or set(names) != set(others):
        missing = [n for n in names if n not in others][:5]
        raise ShapeError(f"{name}: has other series than the first argument; missing: {missing}")
    order = [others.index(n) for n in names]
    if other.labels is None:
        other.data = other.data[:, order]
    else:
        other.data = [other.data[i] for i in order]
        other.labels = [other.labels[i] for i in order]


def _split(x: Unpacked, name: str) -> list[Any]:
    """The series of a two-dimensional array as a list."""
    array = x.data if hasattr(x.data, "ndim") else np.asarray(x.data)
    if array.ndim != 2:
        raise ShapeError(f"{name}: one array of shape {tuple(array.shape)} does not go with several named series")
    return [array[:, i] for i in range(array.shape[1])] if x.axis % 2 == 0 else list(array)


def _join(x: Unpacked, name: str, first: Unpacked) -> np.ndarray[Any, Any]:
    """The series of a list as an array with the layout of `first`."""
    size = shape(first.data, "the first argument")
    if size is None or len(size) != 2:
        raise ShapeError(f"{name}: several named series do not go with an array of shape {size}")
    series = [np.asarray(s) for s in x.data]
    if not series or len({s.shape for s in series}) != 1:
        raise ShapeError(f"{name}: series of different lengths do not go with an array of shape {size}")
    return np.stack(series, axis=1 - first.axis % 2)


def shape(x: Any, name: str) -> tuple[int, ...] | None:
    """Shape of an array-like; None if that takes an exchange by DLPack.

    Raises
    ------
    ShapeError
        If it is a sequence of sequences of different lengths.
    """
    if not hasattr(x, "shape") and hasattr(x, "__dlpack__"):
        return None
    try:
        return tuple(np.shape(x))
    except ValueError:
        raise ShapeError(f"{name}: is a sequence of sequences of different lengths") from None
