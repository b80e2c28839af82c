# SPDX-License-Identifier: Apache-2.0
"""Models of products: prices and Greeks in the product's own arguments (docs/pinn/problems.md)."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from warpquant import _rows, config
from warpquant._checks import whole
from warpquant._devices import resolve
from warpquant.errors import DTypeError, ParameterError, ShapeError

from ._jets import Array, Jet, Number, compose, softplus, variables
from .model import PinnModel, check_distinct, checked_range, write_out
from .products import PRODUCTS

__all__ = ["ProductModel"]


class ProductModel(PinnModel):
    """A model of one of the products, with prices and Greeks in the product's own arguments.

    `PinnModel.load` and `PinnModel.from_layers` make it, by the ansatz. Arguments and outputs are in `arguments` and
    `outputs`; docs/pinn/problems.md has them in a table.

    Examples
    --------
    >>> import warpquant.pinn
    >>> model = warpquant.pinn.PinnModel.load("barrier")
    >>> model.arguments
    ('S', 'K', 'tau', 'sigma', 'r', 'barrier', 'q')
    >>> round(model.price(100.0, 105.0, 0.5, 0.25, 0.03, barrier=90.0), 4)
    4.9594
    """

    def __init__(
        self, layers: Any, *, activation: str, features: Any, ansatz: str, domain: Any, metadata: Mapping[str, Any],
        dtype: str | None, on_out_of_domain: str, precision: str | None = None, allow_low_precision: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        if device not in (None, "auto", "cpu"):
            raise ParameterError(f"device: {device!r} is not accepted; models of products run on the CPU")
        super().__init__(
            layers, activation=activation, features=None, ansatz="none", domain=None, metadata=metadata, dtype=dtype,
            on_out_of_domain=on_out_of_domain, precision=precision, allow_low_precision=allow_low_precision,
            device=device,
        )  # fmt: skip
        if not isinstance(domain, Mapping):
            raise ParameterError("domain: is needed, as a mapping from coordinates to (low, high)")
        self.product = PRODUCTS[ansatz](**{n: checked_range(f"domain: {n}", ends) for n, ends in domain.items()})
        if set(domain) != set(self.product.domain):
            raise ParameterError(f"domain: has {', '.join(domain)}; accepted are {', '.join(self.product.domain)}")
        if features is None or {f.source for f in features} != set(self.product.SOURCES):
            raise ParameterError(f"features: are not those of {ansatz!r}, {', '.join(self.product.SOURCES)}")
        check_distinct(features)
        if len(features) != self.inputs:
            raise ShapeError(f"features: are {len(features)}, but the network has {self.inputs} inputs")
        self.features, self.ansatz = tuple(features), ansatz
        self.domain = dict(self.product.domain)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the arguments of `price` and `greeks`, in their order."""
        return tuple(self.product.ARGUMENTS)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names that `greeks` takes."""
        return ("price", *self.product.GREEKS, "status")

    def price(self, *arguments: Any, out: Any = None, **more: Any) -> Any:
        """Prices of the product.

        Parameters
        ----------
        *arguments : array_like
            Those of `arguments`, by position or by name; they broadcast as in NumPy, of any array kind. Yields are 0 by
            default.
        out : array, optional
            Takes the result.
        **more
            The same by name; ``is_call`` where there are puts (priced by parity); ``num_threads``; ``device`` and
            ``stream``, which are the CPU and None.

        Returns
        -------
        float or array
            A float if all arguments are numbers, else an array of the kind of the first argument that is none of
            NumPy's; of float32 if arrays are and no array is of anything else, else of float64. Rows of status 2 are
            NaN, and those of status 1, unless ``on_out_of_domain`` says otherwise; see `greeks`.

        Raises
        ------
        ParameterError
            If an argument is missing or unknown; with ``on_out_of_domain='raise'``, if a row is outside the domain.
        DTypeError, ShapeError, LayoutError
            If an argument has no numbers, or does not broadcast; if `out` is not as the result.
        """
        return self.greeks(*arguments, **more, which="price", out=None if out is None else {"price": out})["price"]

    def greeks(
        self,
        *arguments: Any,
        which: str | Iterable[str] | None = None,
        out: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Prices and their derivatives, exact derivatives of what the model says.

        Parameters
        ----------
        *arguments, **more
            As for `price`.
        which : str or sequence of str, optional
            Any of `outputs`; 'all' is all of them. By default the price, Delta and Gamma, of options on two assets all
            of these. Signs and units are those of the functions of :mod:`warpquant.options` for the product. Status is
            0 where results are good: inside the domain, and, wherever the other arguments are, at expiry (what is paid,
            with the Greeks of the last moment) and where a barrier is reached (all 0). It is 1 elsewhere outside the
            domain, 2 where a number is missing or infinite, or the arguments are none of an option.
        out : mapping, optional
            Name of a result to the array that takes it.

        Returns
        -------
        dict
            Name to result, as for `price`.

        Raises
        ------
        ParameterError, DTypeError, ShapeError, LayoutError
            As for `price`; or if a name is unknown.
        """
        names = self.product.USUAL
        if which is not None:
            names = self.outputs if which == "all" else _rows.chosen_names(which, self.outputs, "which")
        given = {} if out is None else _rows.checked_out(out, names)
        num_threads, device, stream = (more.pop(name, None) for name in ("num_threads", "device", "stream"))
        if device not in (None, "auto", "cpu"):
            raise ParameterError(f"device: {device!r} is not accepted; models of products run on the CPU")
        config._execution(num_threads)
        values, is_call = self._bound(arguments, more)
        labels = (*self.arguments, "is_call")
        found, others = _rows._unpacked(labels, (*values, _rows.flags(is_call)))
        elsewhere = next((one.device for one in others if one.device is not None), None)
        if elsewhere is not None:
            raise ParameterError(f"{labels[0]}: arguments are on {elsewhere}; models of products run on the CPU")
        resolve("cpu", None, labels[0], None, num_threads, stream)
        read = [_read(label, v) for label, v in zip(labels, found, strict=True)]
        shape = _shape_of(labels, read)
        flat = [_column(v, shape) for v in read]
        made = {name: np.empty(flat[0].size, np.uint8 if name == "status" else np.float64) for name in names}
        for first in range(0, flat[0].size, _CHUNK):
            part = slice(first, first + _CHUNK)
            for name, result in self._rows_of([v[part] for v in flat], names, num_threads).items():
                made[name][part] = result
        types = {v.dtype for v in read[:-1] if isinstance(v, np.ndarray)}
        dtype = np.float32 if types == {np.dtype(np.float32)} else np.float64
        results = {
            name: np.asarray(result if name == "status" else result.astype(dtype, copy=False)).reshape(shape)
            for name, result in made.items()
        }
        write_out(given, results)
        if others:
            return {name: given.get(name, others[0].wrap_named(r, name)) for name, r in results.items()}
        if not shape and out is None:
            if any(isinstance(v, np.ndarray) for v in read):
                return {name: r[()] for name, r in results.items()}
            return {name: r.item() for name, r in results.items()}
        return {name: given.get(name, r) for name, r in results.items()}

    def _bound(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[list[Any], Any]:
        """Values of all arguments in their order, and whether they are of calls."""
        accepted = self.product.ARGUMENTS
        if len(arguments) > len(accepted):
            raise ParameterError(f"{len(arguments)} arguments were given; accepted are {', '.join(accepted)}")
        given = dict(zip(accepted, arguments, strict=False))
        is_call = named.pop("is_call", True) if self.product.PUTS else True
        for name, value in named.items():
            if name not in accepted:
                puts = ", is_call" if self.product.PUTS else ""
                raise ParameterError(f"{name}: is unknown; accepted are {', '.join(accepted)}{puts}")
            if name in given:
                raise ParameterError(f"{name}: was given twice")
            given[name] = value
        missing = [name for name, usual in accepted.items() if usual is None and name not in given]
        if missing:
            raise ParameterError(f"{missing[0]}: is missing; a price takes {', '.join(accepted)}")
        return [given.get(name, usual) for name, usual in accepted.items()], is_call

    def _rows_of(self, values: list[Array], names: tuple[str, ...], num_threads: int | None) -> dict[str, Any]:
        """Results for rows of numbers."""
        product, labels = self.product, self.arguments
        with np.errstate(all="ignore"):
            plain = dict(zip(labels, values[:-1], strict=True))
            an_option = np.abs(np.abs(values[-1]) - 0.5) == 0.5  # of 1, 0 and -1
            for name, value in plain.items():
                low, high = _RANGES.get(name, _ANY)
                an_option &= (value >= low) & (value <= high)
            reached = an_option & product.reached(plain)
            expired = an_option & ~reached & (plain["tau"] == 0.0)
            # Derivatives of quotients and roots take numbers that are not quite 0.
            values = [*(_brought_into(_NUMBERS.get(n), v) for n, v in plain.items()), values[-1]]
            status = np.where(an_option, np.where(reached | expired | self._inside(plain), 0, 1), 2).astype(np.uint8)
            if self.on_out_of_domain == "raise" and (status == 1).any():
                raise ParameterError(
                    f"{', '.join(labels)}: {int((status == 1).sum())} of {status.size} rows are outside the domain "
                    f"{self.domain} of the model"
                )
            made: dict[str, Array] = {name: np.full(status.size, np.nan) for name in names if name != "status"}
            for result in made.values():
                result[reached] = 0.0
            live = (status < (2 if self.on_out_of_domain == "extrapolate" else 1)) & ~reached & ~expired
            for rows, network in ((expired, False), (live, True)):
                if made and rows.any():
                    self._fill(made, rows, [v[rows] for v in values], num_threads if network else None, network)
        results: dict[str, Any] = made
        return {**results, "status": status} if "status" in names else results

    def _inside(self, plain: dict[str, Array]) -> Mask:
        coordinates = np.stack(np.broadcast_arrays(*self.product.locate(plain)[0]))
        ends = np.array([self.product.domain[name] for name in self.product.DOMAIN])
        slack = 1e-12 * (ends[:, 1] - ends[:, 0])  # a rounding of the way there and back
        inside = (coordinates >= (ends[:, 0] - slack)[:, None]) & (coordinates <= (ends[:, 1] + slack)[:, None])
        return np.asarray(inside.all(axis=0))

    def _fill(
        self, made: dict[str, Array], rows: Mask, values: list[Array], num_threads: int | None, network: bool
    ) -> None:
        """Prices and Greeks of some rows."""
        greeks, labels = self.product.GREEKS, self.arguments
        by = {argument for name in made if name != "price" for argument in greeks[name][0]}
        second = any(len(greeks[name][0]) == 2 for name in made if name != "price")
        price = self._price(values, [name in by for name in labels], second, num_threads, network)
        at = {name: k for k, name in enumerate(label for label in labels if label in by)}
        for name, result in made.items():
            if name == "price":
                result[rows] = price.value if isinstance(price, Jet) else price
            else:
                arguments, sign = greeks[name]
                first, *more = (at[a] for a in arguments)
                result[rows] = sign * (price.hessian[first, more[0]] if more else price.gradient[first])

    def _price(
        self, values: list[Array], active: list[bool], second: bool, num_threads: int | None, network: bool
    ) -> Any:
        """The price as a jet in the active arguments, or as an array if there are none."""
        arguments = variables(values[:-1], active, second=second) if any(active) else list(values[:-1])
        x, scale, for_put = self.product.locate(dict(zip(self.arguments, arguments, strict=True)))
        if network:
            u0, g, sources = self.product.ansatz(*x)
            assert self.features is not None
            n = self._network([(sources[f.source] - f.shift) * f.scale for f in self.features], second, num_threads)
            u = u0 + g * (softplus(n) if self.product.POSITIVE else n)
        else:
            u = self.product.expiry(*x)
        put = values[-1] <= 0.0
        if put.any():
            u = u - for_put * put
        return scale * u

    def _network(self, inputs: list[Number], second: bool, num_threads: int | None) -> Any:
        plain = np.column_stack(
            np.broadcast_arrays(*(x.value if isinstance(x, Jet) else np.asarray(x, np.float64) for x in inputs))
        )
        if not any(isinstance(x, Jet) for x in inputs):
            return self.evaluate(plain, num_threads=num_threads)
        made = self.jets(plain, order=2 if second else 1, num_threads=num_threads)
        return compose(
            inputs, made["value"], made["gradient"].T, np.moveaxis(made["hessian"], 0, 2) if second else None
        )

    def diagnose(self, *, points: int = 4096) -> dict[str, float]:
        """Errors against the reference of the product, on its fixed grid.

        Parameters
        ----------
        points : int
            Of the grid.

        Returns
        -------
        dict
            In units of the strike: ``max_error``, ``rmse``, ``relative_l2`` of prices, and the largest errors of two
            Greeks, not on the last days.
        """
        return self.product.errors(self, whole("points", points, 16))


def _read(label: str, value: Any) -> float | np.ndarray[Any, Any]:
    """An argument as a number, or as an array of NumPy's."""
    try:
        if isinstance(value, (float, int)):
            return float(value)
        only_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
        array = np.from_dlpack(value) if only_dlpack else np.asarray(value)
    except OverflowError:
        raise ParameterError(f"{label}: is too large for a float64") from None
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise DTypeError(f"{label}: cannot read numbers from {type(value).__name__}: {error}") from None
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise DTypeError(f"{label}: {array.dtype} values are not accepted; accepted are float64, float32 and integers")
    return array


def _shape_of(labels: Iterable[str], values: list[Any]) -> tuple[int, ...]:
    """The shape that arguments have together."""
    shapes = [() if isinstance(v, float) else v.shape for v in values]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        pass
    shape: tuple[int, ...] = ()
    for label, own in zip(labels, shapes, strict=True):
        if any(1 != m != n != 1 for m, n in zip(own[::-1], shape[::-1], strict=False)):
            raise ShapeError(
                f"{label}: has shape {own}, which does not broadcast with the {shape} of the arguments before"
            )
        shape = np.broadcast_shapes(shape, own)
    raise AssertionError


def _column(value: Any, shape: tuple[int, ...]) -> Array:
    if isinstance(value, float):
        return np.full(math.prod(shape), value)
    return np.ascontiguousarray(np.broadcast_to(value, shape), np.float64).reshape(-1)


Mask = np.ndarray[Any, np.dtype[np.bool_]]
_CHUNK = 32768
_MOST = np.finfo(np.float64).max
_ANY, _ABOVE, _FROM, _SIGNED = (-_MOST, _MOST), (sys.float_info.min, _MOST), (0.0, _MOST), (-1.0, 1.0)
#: What arguments of an option may be; others are any number.
_RANGES = {
    "S": _ABOVE, "K": _ABOVE, "S1": _ABOVE, "S2": _ABOVE, "barrier": _ABOVE, "kappa": _ABOVE, "tau": _FROM,
    "sigma": _FROM, "sigma1": _FROM, "sigma2": _FROM, "v0": _FROM, "theta": _FROM, "xi": _FROM, "intensity": _FROM,
    "jump_vol": _FROM, "rho": _SIGNED, "correlation": _SIGNED,
}  # fmt: skip
#: What is computed with, where that is not all of it.
_NUMBERS = {
    "tau": (1e-24, _MOST), "sigma": (1e-9, _MOST), "sigma1": (1e-9, _MOST), "sigma2": (1e-9, _MOST),
    "v0": (1e-18, _MOST), "theta": (1e-18, _MOST), "correlation": (-1.0 + 1e-9, 1.0 - 1e-9),
}  # fmt: skip


def _brought_into(bounds: tuple[float, float] | None, x: Array) -> Array:
    return x if bounds is None else np.maximum(np.minimum(x, bounds[1]), bounds[0])
