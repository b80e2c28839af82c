# SPDX-License-Identifier: Apache-2.0
"""Models of products: prices and Greeks in the product's own arguments (docs/pinn/problems.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from warpquant import _rows
from warpquant.errors import ParameterError, ShapeError

from ._jets import Array, Jet, Number, compose, softplus, variables
from .model import PinnModel, check_distinct, checked_range
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

    def price(self, *arguments: Any, **more: Any) -> Any:
        """Prices of the product.

        Parameters
        ----------
        *arguments : array_like
            Those of `arguments`, by position or by name; they broadcast as in NumPy, of any array kind. Yields are 0 by
            default.
        **more
            The same by name; ``is_call`` where there are puts (priced by parity); ``num_threads``; ``device``, which is
            the CPU or nothing.

        Returns
        -------
        float or array
            A float if all arguments are numbers, else an array of the kind of the first argument that is none of
            NumPy's. Rows with NaN or without a meaning are NaN, and those outside the domain, if ``on_out_of_domain``
            says so.

        Raises
        ------
        ParameterError
            If an argument is missing or unknown; with ``on_out_of_domain='raise'``, if a row is outside the domain.
        """
        return self.greeks(*arguments, **more, which="price")["price"]

    def greeks(
        self, *arguments: Any, which: str | Iterable[str] = ("price", "delta", "gamma"), **more: Any
    ) -> dict[str, Any]:
        """Prices and their derivatives, exact derivatives of what the model says.

        Parameters
        ----------
        *arguments, **more
            As for `price`.
        which : str or sequence of str
            Any of `outputs`; 'all' is all of them. Signs and units are those of the functions of
            :mod:`warpquant.options` for the product. Status is 0 inside the domain, 1 outside, 2 where the arguments
            are none of an option.

        Returns
        -------
        dict
            Name to result, as for `price`.

        Raises
        ------
        ParameterError
            As for `price`; or if a name is unknown.
        """
        names = self.outputs if which == "all" else _rows.chosen_names(which, self.outputs, "which")
        num_threads, device = more.pop("num_threads", None), more.pop("device", None)
        if device not in (None, "auto", "cpu"):
            raise ParameterError(f"device: {device!r} is not accepted; models of products run on the CPU")
        values, is_call = self._bound(arguments, more)
        labels = (*self.arguments, "is_call")
        found, others = _rows._unpacked(labels, (*values, _rows.flags(is_call)))
        elsewhere = next((one.device for one in others if one.device is not None), None)
        if elsewhere is not None:
            raise ParameterError(f"{labels[0]}: arguments are on {elsewhere}; models of products run on the CPU")
        try:
            rows = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in found))
        except ValueError:
            shapes = ", ".join(f"{name} {np.shape(v)}" for name, v in zip(labels, found, strict=True))
            raise ShapeError(f"{labels[0]}: shapes do not broadcast: {shapes}") from None
        shape = rows[0].shape
        flat = [np.ascontiguousarray(v).reshape(-1) for v in rows]
        made = {name: np.empty(flat[0].size, np.uint8 if name == "status" else np.float64) for name in names}
        for first in range(0, flat[0].size, _CHUNK):
            part = slice(first, first + _CHUNK)
            for name, result in self._rows_of([v[part] for v in flat], names, num_threads).items():
                made[name][part] = result
        wrapped = {name: result.reshape(shape) for name, result in made.items()}
        if others:
            return {name: others[0].wrap_named(result, name) for name, result in wrapped.items()}
        if not shape and not any(isinstance(v, np.ndarray) for v in values):
            return {name: int(r) if name == "status" else float(r) for name, r in wrapped.items()}
        return wrapped

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

    def _rows_of(self, values: list[Array], names: tuple[str, ...], num_threads: int | None) -> dict[str, Array]:
        product, labels = self.product, self.arguments
        wanted = [name for name in names if name in product.GREEKS]
        by = {argument for name in wanted for argument in product.GREEKS[name][0]}
        second = any(len(product.GREEKS[name][0]) == 2 for name in wanted)
        with np.errstate(all="ignore"):
            plain, _, _ = product.locate(dict(zip(labels, values[:-1], strict=True)))
            coordinates = np.stack(np.broadcast_arrays(*plain))
            status = self._status(coordinates, values)
            keep = status < (2 if self.on_out_of_domain == "extrapolate" else 1)
            if self.on_out_of_domain == "raise" and (status == 1).any():
                raise ParameterError(
                    f"{', '.join(labels)}: {int((status == 1).sum())} of {status.size} rows are outside the domain "
                    f"{self.domain} of the model"
                )
            made = {name: np.full(status.size, np.nan) for name in names}
            if "status" in made:
                made["status"] = status
            kept = [v[keep] for v in values]
            if kept[0].size and set(names) != {"status"}:
                active = [name in by for name in labels]
                price = self._price(kept, active, second, num_threads)
                at = {name: k for k, name in enumerate(label for label in labels if label in by)}
                for name in names:
                    if name == "price":
                        made[name][keep] = price.value if isinstance(price, Jet) else price
                    elif name != "status":
                        arguments, sign = product.GREEKS[name]
                        first, *more = (at[a] for a in arguments)
                        made[name][keep] = sign * (price.hessian[first, more[0]] if more else price.gradient[first])
        return made

    def _status(self, coordinates: Array, values: list[Array]) -> np.ndarray[Any, np.dtype[np.uint8]]:
        ends = np.array([self.product.domain[name] for name in self.product.DOMAIN])
        slack = 1e-12 * (ends[:, 1] - ends[:, 0])  # a rounding of the way there and back
        inside = (coordinates >= (ends[:, 0] - slack)[:, None]) & (coordinates <= (ends[:, 1] + slack)[:, None])
        status = np.where(inside.all(axis=0), 0, 1).astype(np.uint8)
        known = np.isfinite(coordinates).all(axis=0) & np.isfinite(np.stack(values[:-1])).all(axis=0)
        for name, value in zip(self.arguments, values, strict=False):
            if name in _POSITIVE:
                known &= value > 0.0
        known &= np.isin(values[-1], (1.0, 0.0, -1.0))
        status[~known] = 2
        return status

    def _price(self, values: list[Array], active: list[bool], second: bool, num_threads: int | None) -> Any:
        """The price as a jet in the active arguments, or as an array if there are none."""
        arguments = variables(values[:-1], active, second=second) if any(active) else list(values[:-1])
        x, scale, for_put = self.product.locate(dict(zip(self.arguments, arguments, strict=True)))
        u0, g, sources = self.product.ansatz(*x)
        assert self.features is not None
        inputs = [(sources[f.source] - f.shift) * f.scale for f in self.features]
        n = self._network(inputs, second, num_threads)
        if self.product.POSITIVE:
            n = softplus(n)
        u = u0 + g * n
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
        return self.product.errors(self, points)


_CHUNK = 32768
_POSITIVE = ("S", "K", "S1", "S2", "tau", "sigma", "sigma1", "sigma2", "kappa", "barrier")
