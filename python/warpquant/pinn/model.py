# SPDX-License-Identifier: Apache-2.0
"""Trained networks and what they compute (docs/pinn/index.md)."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from warpquant import _core, _rows, config
from warpquant._checks import choice, flag, number, overlaps_itself, whole
from warpquant._containers import Unpacked, unpack
from warpquant._devices import Choice, resolve
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError, StateError

from . import _exchange, _file

__all__ = ["SHIPPED", "Feature", "PinnModel"]

_OUTPUTS = _rows.Outputs("pinn_european", {"vomma": "volga"})
_USUAL = ("price", "delta", "gamma", "theta", "vega", "rho")
_DTYPES = ("float64", "float32")
_OUTSIDE = ("nan", "raise", "extrapolate")
#: Of a precision the type of numbers, and how devices make products of them.
_PRECISIONS = {
    "f64": ("float64", "full"), "f32": ("float32", "full"), "tf32x3": ("float32", "tf32x3"),
    "bf16x6": ("float32", "bf16x6"), "tf32": ("float32", "tf32"), "bf16": ("float32", "bf16"),
}  # fmt: skip
_LOW = ("tf32", "bf16")
_MOST_WIDTH, _MOST_FEATURES = 4096, 8


@dataclasses.dataclass(frozen=True)
class Feature:
    """An input of a network: ``(source - shift) * scale``.

    Parameters
    ----------
    source : {'k', 'v', 'sqrt_v', 'tanh_half_d'}
        The log of the forward over the strike; total variance ``sigma**2 * tau``; its square root; ``tanh(d / 2)`` with
        ``d = k / sqrt(v)``.
    shift, scale : float
        The affine map, which the network was trained with.
    """

    source: str
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        choice("source", self.source, _sources())
        number("shift", self.shift)
        number("scale", self.scale)


def _checked_layers(layers: Iterable[Any]) -> _file.Layers:
    """Layers as float64, each fitting the one before."""
    made: _file.Layers = []
    for i, pair in enumerate(layers):
        try:
            weight, bias = pair
            weight, bias = np.array(weight, np.float64), np.array(bias, np.float64)
        except (TypeError, ValueError):
            raise ParameterError(f"layers: number {i} is no pair of a weight matrix and a bias of numbers") from None
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or not weight.size:
            raise ShapeError(
                f"layers: number {i} has shapes {weight.shape} and {bias.shape}; accepted are (out, in), (out,)"
            )
        if made and weight.shape[1] != len(made[-1][1]):
            raise ShapeError(
                f"layers: number {i} takes {weight.shape[1]} inputs, but the one before gives {len(made[-1][1])}"
            )
        if max(weight.shape) > _MOST_WIDTH:
            raise ShapeError(f"layers: number {i} has shape {weight.shape}; accepted are up to {_MOST_WIDTH} neurons")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ParameterError(f"layers: number {i} has numbers that are not finite")
        made.append((weight, bias))
    if not made:
        raise ParameterError("layers: there are none")
    if len(made[-1][1]) != 1:
        raise ShapeError(f"layers: the last has {len(made[-1][1])} outputs; a network has one")
    return made


def checked_range(name: str, value: Any) -> tuple[float, float]:
    """Two finite numbers, the lower one first."""
    try:
        ends = list(value)
        if isinstance(value, (str, bytes)) or any(isinstance(x, (str, bytes, bool, np.bool_)) for x in ends):
            raise TypeError  # texts of digits are no numbers here
        low, high = map(float, ends)
    except (TypeError, ValueError):
        raise ParameterError(f"{name}: {value!r} is no pair of numbers") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ParameterError(f"{name}: {value!r} is no range; accepted are two finite numbers, the lower one first")
    return low, high


def check_distinct(features: Sequence[Feature]) -> None:
    """Each feature once.

    Raises
    ------
    ParameterError
        If one is repeated.
    """
    if len(set(features)) != len(features):
        raise ParameterError("features: one is repeated")


def _numbers(dtype: str | None, precision: str | None, allow_low_precision: bool) -> tuple[str, str]:
    """Type of numbers and precision, of which either or none may be given."""
    if dtype is not None:
        choice("dtype", dtype, _DTYPES)
    if precision is None:
        return dtype or "float64", "f32" if dtype == "float32" else "f64"
    choice("precision", precision, tuple(_PRECISIONS))
    own = _PRECISIONS[precision][0]
    if dtype not in (None, own):
        raise ParameterError(f"dtype: {dtype!r} does not go with precision={precision!r}, which is of {own!r}")
    if precision in _LOW and flag("allow_low_precision", allow_low_precision) is False:
        raise ParameterError(
            f"precision: {precision!r} rounds every operand to {11 if precision == 'tf32' else 8} bits; it takes "
            "allow_low_precision=True"
        )
    return own, precision


def flat(layers: _file.Layers) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Weights and biases, layer by layer, as one vector."""
    return np.concatenate([part.ravel() for layer in layers for part in layer])


def norms(error: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> dict[str, float]:
    """The norms by which errors are reported."""
    return {
        "max_error": float(np.max(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "relative_l2": float(np.linalg.norm(error) / np.linalg.norm(exact)),
    }


@functools.cache
def _sources() -> tuple[str, ...]:
    """What features may be made of: of European options, and of the products."""
    from .products import PRODUCTS

    return tuple(dict.fromkeys((*_core.PINN_SOURCES, *(s for kind in PRODUCTS.values() for s in kind.SOURCES))))


def _class_of(cls: type[PinnModel], ansatz: str) -> type[PinnModel]:
    """Models of products have a class of their own."""
    from .product_model import ProductModel
    from .products import PRODUCTS

    return ProductModel if ansatz in PRODUCTS else cls


class PinnModel:
    """A trained network; see `load`, `from_layers`, `from_torch` and `from_onnx` for ways to one.

    A model whose features are given prices European options for all volatilities and rates, through the two coordinates
    ``k = ln(S / K) + (r - q) tau`` and ``v = sigma**2 tau``. A model without is a plain function of its inputs, for
    `evaluate` and `jets`.

    Prices outside the ranges of k and v that the network was trained on are not numbers it knows anything about. They
    are NaN, or an error, or what the network says, as `on_out_of_domain` tells.

    Examples
    --------
    >>> import warpquant.pinn
    >>> model = warpquant.pinn.PinnModel.load("european")
    >>> round(model.price(100.0, 105.0, 0.5, 0.25, 0.03), 4)
    5.576
    """

    def __init__(
        self,
        layers: Iterable[Any],
        *,
        activation: str,
        features: Sequence[Feature] | None,
        ansatz: str,
        domain: Mapping[str, Any] | None,
        metadata: Mapping[str, Any],
        dtype: str | None,
        on_out_of_domain: str,
        precision: str | None = None,
        allow_low_precision: bool = False,
        device: str | None = None,
    ) -> None:
        choice("activation", activation, _core.PINN_ACTIVATIONS)
        dtype, self.precision = _numbers(dtype, precision, allow_low_precision)
        self.device = None if device is None else config._device("device", device)
        choice("on_out_of_domain", on_out_of_domain, _OUTSIDE)
        choice("ansatz", ansatz, _core.PINN_ANSATZES)
        self._layers = _checked_layers(layers)
        self.activation, self.dtype, self.on_out_of_domain = activation, dtype, on_out_of_domain
        self.features = None if features is None else tuple(features)
        self.ansatz = ansatz
        self._metadata = dict(metadata)
        self.domain: dict[str, tuple[float, float]] | None = None
        surface = None
        if self.features is not None:
            if len(self.features) > _MOST_FEATURES:
                raise ParameterError(f"features: are {len(self.features)}; accepted are up to {_MOST_FEATURES}")
            if len(self.features) != self.inputs:
                raise ShapeError(f"features: are {len(self.features)}, but the network has {self.inputs} inputs")
            for feature in self.features:
                choice("features", feature.source, _core.PINN_SOURCES)
            check_distinct(self.features)
            if domain is None or set(domain) != {"k", "v"}:
                raise ParameterError("domain: is needed with features, as {'k': (low, high), 'v': (low, high)}")
            self.domain = {name: checked_range(f"domain: {name}", domain[name]) for name in ("k", "v")}
            if self.domain["v"][0] < 0:
                raise ParameterError(f"domain: v: {self.domain['v']} begins below 0")
            described = [(f.source, float(f.shift), float(f.scale)) for f in self.features]
            surface = (described, ansatz, list(self.domain["k"]), list(self.domain["v"]))
        widths = [self.inputs, *(len(bias) for _, bias in self._layers)]
        self._f32 = dtype == "float32"
        self._placed: dict[str, Any] = {}
        self._placing = threading.Lock()
        self._net = _core.PinnNet(widths, activation, flat(self._layers), surface, self._f32)
        if surface is not None:
            simd = config.get("simd")
            self._one_price = _core.PinnSingle(self._net, self._f32, ["price"], simd)
            self._one_set = _core.PinnSingle(self._net, self._f32, list(_USUAL), simd)

    @property
    def inputs(self) -> int:
        """How many inputs the network has."""
        return int(self._layers[0][0].shape[1])

    @property
    def layers(self) -> _file.Layers:
        """Copies of weights, shape (out, in), and biases, shape (out,), layer by layer."""
        return [(weight.copy(), bias.copy()) for weight, bias in self._layers]

    # ------------------------------------------------------------------------------------------ ways in and out

    @classmethod
    def from_layers(
        cls,
        layers: Iterable[Any],
        *,
        activation: str = "tanh",
        features: Sequence[Feature] | None = None,
        ansatz: str = "normal",
        domain: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        dtype: str | None = None,
        on_out_of_domain: str = "nan",
        precision: str | None = None,
        allow_low_precision: bool = False,
        device: str | None = None,
    ) -> PinnModel:
        """A model of weights and biases.

        Parameters
        ----------
        layers : sequence of (weight, bias)
            Arrays of shapes (out, in) and (out,), as `torch.nn.Linear` has them. The last layer is linear, with one
            output.
        activation : {'tanh', 'sin', 'silu', 'softplus', 'gelu'}
            Between the layers; 'gelu' is the exact one.
        features : sequence of Feature, optional
            What the inputs are made of, for a model of European prices.
        ansatz : {'normal', 'none', 'american', 'barrier', 'exchange', 'heston', 'merton'}
            With features: the forward price over the strike is ``c = c0 + v N`` of the network N, c0 being the price
            under a normal distribution of the same variance; or ``c = N``; or the ansatz of a product, which makes a
            `ProductModel`.
        domain : mapping, optional
            With features: ranges of ``k`` and ``v``, or of the product's coordinates, that the network was trained on.
        metadata : mapping, optional
            What else to store with the model: 'problem', 'norms', 'training', each of what JSON can hold.
        dtype : {'float64', 'float32'}, optional
            What the network computes in; float64 unless `precision` says otherwise. Features and ansatz are float64
            either way.
        on_out_of_domain : {'nan', 'raise', 'extrapolate'}
            What becomes of prices outside of the domain.
        precision : {'f64', 'f32', 'tf32x3', 'bf16x6', 'tf32', 'bf16'}, optional
            How devices make products of numbers of the dtype: as they are; of float32 from parts that tensor cores
            take, with about the error of float32; or from rounded operands. The CPU has no such units, and makes those
            of float32 as they are.
        allow_low_precision : bool
            Whether 'tf32' and 'bf16' may be asked for, whose prices are wrong in the third digit after the point.
        device : str, optional
            Where calls on arrays in host memory go if they do not say, such as 'cuda'.

        Raises
        ------
        ParameterError, ShapeError
            If something of this is not accepted.

        Examples
        --------
        >>> import numpy as np, warpquant.pinn
        >>> weights = [(np.eye(3), np.zeros(3)), (np.ones((1, 3)), np.zeros(1))]
        >>> model = warpquant.pinn.PinnModel.from_layers(weights)
        >>> model.evaluate(np.array([[0.0, 0.5, -0.5]])).tolist()
        [0.0]
        """
        return _class_of(cls, ansatz)(
            layers, activation=activation, features=features, ansatz=ansatz, domain=domain,
            metadata=metadata or {}, dtype=dtype, on_out_of_domain=on_out_of_domain,
            precision=precision, allow_low_precision=allow_low_precision, device=device,
        )  # fmt: skip

    @classmethod
    def from_torch(cls, source: Any, *, activation: str | None = None, **more: Any) -> PinnModel:
        """A model of a torch module of linear layers and activations, or of its ``state_dict``.

        Parameters
        ----------
        source : torch.nn.Module or mapping
            A file of torch's goes through ``torch.load(..., weights_only=True)`` first: nothing is unpickled here. A
            module is run on a few rows, and has to give what the model gives.
        activation : str, optional
            As for `from_layers`; needed for a ``state_dict``, and for activations that only ``forward`` names.
        **more
            As for `from_layers`.

        Raises
        ------
        ParameterError, ShapeError
            If it has, or computes, anything else.
        """
        layers, found = _exchange.read_torch(source, activation)
        if found is None and len(layers) > 1:
            raise ParameterError("activation: is needed, neither a state_dict nor code says")
        found = found or "tanh"
        if not isinstance(source, Mapping):
            plain = PinnModel.from_layers(layers, activation=found)
            _exchange.check_torch(source, plain.evaluate, plain.inputs)
        return cls.from_layers(layers, activation=found, **more)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str], **more: Any) -> PinnModel:
        """A model of an ONNX file: a chain of Gemm, or MatMul and Add, with the same activation between all layers.

        Parameters
        ----------
        path : path
            The file.
        **more
            As for `from_layers`.

        Raises
        ------
        ImportError
            Without the package onnx.
        ParameterError
            If the graph is anything else.
        StateError
            If the file is damaged, or none of ONNX's.
        """
        layers, found = _exchange.read_onnx(path)
        return cls.from_layers(layers, activation=found or "tanh", **more)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the network, from features to its output, as an ONNX file (opset 17) in the model's dtype.

        Raises
        ------
        ImportError
            Without the package onnx.
        """
        _exchange.write_onnx(path, self._layers, self.activation, self.dtype)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        dtype: str | None = None,
        on_out_of_domain: str = "nan",
        precision: str | None = None,
        allow_low_precision: bool = False,
        device: str | None = None,
    ) -> PinnModel:
        """Read a model file, or one of the models that come with the package.

        Parameters
        ----------
        path : path
            A file that `save` wrote; or a name of `SHIPPED`, such as 'european'.
        dtype, on_out_of_domain, precision, allow_low_precision, device
            As for `from_layers`.

        Raises
        ------
        ParameterError
            If one of these is not accepted.
        StateError
            If the file is anything but a complete model; nothing in it is executed.
        OSError
            If it cannot be read.
        """
        _numbers(dtype, precision, allow_low_precision)
        choice("on_out_of_domain", on_out_of_domain, _OUTSIDE)
        if device is not None:
            config._device("device", device)
        name = os.fspath(path)
        if name in SHIPPED:
            path = os.path.join(os.path.dirname(__file__), "models", f"{name}.safetensors")
        elif not os.path.exists(path):
            raise FileNotFoundError(f"{name}: is no file, and none of the models of the package: {', '.join(SHIPPED)}")
        from .products import PROBLEMS

        layers, metadata = _file.read(path)
        try:
            described = {key: json.loads(metadata[key]) for key in _JSON if key in metadata}
            features = described.pop("features", None)
            domain = described.pop("domain", None)
            lacking = {"activation", "ansatz"} - set(metadata)
            if lacking or (features is None) != (domain is None):
                raise ParameterError(f"metadata: lack {', '.join(sorted(lacking)) or 'features or domain'}")
            if features is None and dict(described.get("problem", {})).get("name") in PROBLEMS:
                raise ParameterError("metadata: are those of prices, but lack features and domain")
            if features is not None and not isinstance(features, list):
                raise ParameterError("metadata: features are no list")
            return _class_of(cls, metadata.get("ansatz", ""))(
                layers,
                activation=metadata.get("activation", ""),
                features=None if features is None else [Feature(**f) for f in features],
                ansatz=metadata.get("ansatz", ""),
                domain=domain, metadata=described, dtype=dtype, on_out_of_domain=on_out_of_domain,
                precision=precision, allow_low_precision=allow_low_precision, device=device,
            )  # fmt: skip
        except (ValueError, TypeError, RecursionError) as error:
            raise StateError(f"{name}: is no model file: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, whole or not at all.

        Parameters
        ----------
        path : path
            A safetensors file, with the suffix that pleases.
        """
        metadata = {"activation": self.activation, "ansatz": self.ansatz}
        if self.features is not None:
            metadata["features"] = json.dumps([dataclasses.asdict(f) for f in self.features], allow_nan=False)
            metadata["domain"] = json.dumps(self.domain, allow_nan=False)
        for key, value in self._metadata.items():
            if key not in _JSON:
                raise ParameterError(f"metadata: {key!r} is unknown; accepted are {', '.join(map(repr, _JSON))}")
            metadata[key] = json.dumps(value, allow_nan=False)
        _file.write(path, self._layers, metadata)

    # ------------------------------------------------------------------------------------------ prices

    def price(
        self,
        S: Any,
        K: Any,
        tau: Any,
        sigma: Any,
        r: Any,
        q: Any = 0.0,
        *,
        is_call: Any = True,
        out: Any = None,
        num_threads: int | None = None,
        device: str | None = None,
        stream: Any = None,
    ) -> Any:
        """Prices of European options.

        Parameters
        ----------
        S, K : array_like
            Spot and strike, above 0. All arguments broadcast as in NumPy, of any array kind.
        tau : array_like
            Years to expiry, at least 0.
        sigma : array_like
            Volatility per square root of a year, at least 0.
        r, q : array_like
            Rate and dividend yield, continuously compounded, per year.
        is_call : array_like, default True
            As for `warpquant.options.price`. Puts are priced by parity.
        out : array, optional
            Takes the result.
        num_threads : int, optional
            CPU threads; they change no bit.
        device, stream
            As for every function of the package. With ``on_out_of_domain='raise'`` a call on arrays of a device waits
            for it.

        Returns
        -------
        float or array
            A float if all arguments are numbers, else an array of the kind of the first argument that is none of
            NumPy's; of float32 if arrays are and no array is of anything else, else of float64. Rows of status 2 are
            NaN, and those of status 1, unless ``on_out_of_domain`` says otherwise; see `greeks`.

        Raises
        ------
        ParameterError
            With ``on_out_of_domain='raise'``, if a row is outside the model's domain; or if the model has no features.
        """
        plain = out is None and num_threads is None and device is self.device is None and stream is None
        if plain and self.features is not None:
            one = self._one_price(S, K, tau, sigma, r, q, 1 if is_call is True else -1 if is_call is False else None)
            if one is not None:
                return one
        made = self._rows(
            (S, K, tau, sigma, r, q, is_call), ("price",), None if out is None else {"price": out},
            num_threads, device, stream,
        )  # fmt: skip
        return made["price"]

    def greeks(
        self,
        S: Any,
        K: Any,
        tau: Any,
        sigma: Any,
        r: Any,
        q: Any = 0.0,
        *,
        is_call: Any = True,
        which: str | Iterable[str] | None = _USUAL,
        out: Mapping[str, Any] | None = None,
        num_threads: int | None = None,
        device: str | None = None,
        stream: Any = None,
    ) -> dict[str, Any]:
        """Prices and their derivatives, exact derivatives of what the network says.

        Parameters
        ----------
        S, K, tau, sigma, r, q, is_call
            As for `price`.
        which : str or sequence of str
            Any of price, delta, gamma, theta, vega, rho, vanna, charm, volga (vomma), speed, status; 'all' is all of
            them. Signs and units as for `warpquant.options.greeks`. Status is 0 where results are good: inside the
            domain, and, wherever the spot is, at expiry or without volatility (what is paid, with the Greeks of the
            last moment). It is 1 elsewhere outside the domain, 2 where a number is missing or infinite, or the
            arguments are none of an option.
        out : mapping, optional
            Name of a result to the array that takes it.
        num_threads, device, stream
            As for `price`.

        Returns
        -------
        dict
            Name, as asked for, to result, as for `price`.

        Raises
        ------
        ParameterError
            As for `price`; or if a name is unknown.

        Examples
        --------
        >>> import warpquant.pinn
        >>> model = warpquant.pinn.PinnModel.load("european")
        >>> g = model.greeks(100.0, 105.0, 0.5, 0.25, 0.03, which=("delta", "gamma"))
        >>> {name: round(value, 4) for name, value in g.items()}
        {'delta': 0.4591, 'gamma': 0.0224}
        """
        plain = out is None and num_threads is None and device is self.device is None and stream is None
        if which is _USUAL and plain and self.features is not None:
            one = self._one_set(S, K, tau, sigma, r, q, 1 if is_call is True else -1 if is_call is False else None)
            if one is not None:
                made: dict[str, Any] = one
                return made
        names = _OUTPUTS.choose(_USUAL if which is None else which, argument="which")
        return self._rows((S, K, tau, sigma, r, q, is_call), names, out, num_threads, device, stream)

    def _rows(
        self,
        arguments: tuple[Any, ...],
        names: tuple[str, ...],
        out: Mapping[str, Any] | None,
        num_threads: int | None,
        device: str | None,
        stream: Any,
    ) -> dict[str, Any]:
        if self.features is None:
            raise ParameterError("model: was made without features, so it has no prices; see evaluate and jets")
        guarded = self.on_out_of_domain == "raise"
        asked = (*names, "status") if guarded and "status" not in names else names
        made = _rows.call(
            "pinn_european", (*arguments[:-1], _rows.flags(arguments[-1])), _OUTPUTS, asked,
            parameters=(self._net.number, float(self._f32), float(self.on_out_of_domain == "extrapolate")),
            out=out, num_threads=num_threads, device=self._device(device, arguments), stream=stream, kept=self._kept,
        )  # fmt: skip
        if guarded:
            status = _on_host(made["status"])
            outside = int(np.count_nonzero(status == 1))
            if outside:
                raise ParameterError(
                    f"S, K, tau, sigma, r, q: {outside} of {status.size} rows are outside the domain {self.domain} of "
                    "the model in k = ln(S / K) + (r - q) tau and v = sigma**2 tau"
                )
            if asked is not names:
                del made["status"]
        return made

    # ------------------------------------------------------------------------------------------ the network

    def _device(self, device: str | None, arguments: tuple[Any, ...]) -> str | None:
        """The model's device, unless the call says one, or arrays say it."""
        if device is not None or self.device is None or any(_device_of(a) for a in arguments):
            return device
        return self.device

    def _kept(self, place: Choice) -> Any:
        """Parameters on a device, where they stay."""
        with self._placing:
            name = f"{place.backend}:{place.number}"
            kept = self._placed.get(name)
            if kept is None:
                values = flat(self._layers).astype(self.dtype)
                kept = _core.to_device(values, place.backend, place.number, None)
                kept.wait()
                self._net.place(kept, _PRECISIONS[self.precision][1])
                self._placed[name] = kept
            return kept

    def _points(self, X: Any, name: str) -> tuple[Any, Unpacked]:
        """Points in host memory as float64, or as they are on a device."""
        taken = unpack(X, name)
        if taken.device is not None:
            shape = tuple(taken.data.shape)
            if len(shape) != 2 or shape[1] != self.inputs:
                raise ShapeError(f"{name}: has shape {shape}; accepted is (n, {self.inputs})")
            return taken.data, taken
        if taken.labels is not None:
            points = np.column_stack([np.asarray(c, np.float64) for c in taken.data])
        else:
            try:
                points = np.asarray(taken.data, dtype=np.float64)
            except (TypeError, ValueError):
                raise DTypeError(f"{name}: cannot read numbers from {type(X).__name__}") from None
        if points.ndim != 2 or points.shape[1] != self.inputs:
            raise ShapeError(f"{name}: has shape {points.shape}; accepted is (n, {self.inputs})")
        return points, taken

    def _derivatives(
        self,
        X: Any,
        directions: Any,
        order: int,
        out: Mapping[str, Any] | None,
        num_threads: int | None,
        device: str | None,
        stream: Any,
    ) -> dict[str, Any]:
        points, taken = self._points(X, "X")
        along = np.eye(self.inputs) if directions is None else self._points(directions, "directions")[0]
        if not isinstance(along, np.ndarray):
            raise LayoutError("directions: are on a device; accepted are arrays in host memory")
        names = ("value", "gradient", "hessian", "third")[: order + 1]
        given = {} if out is None else _rows.checked_out(out, names)
        how = config._execution(num_threads)
        place = resolve(self._device(device, (X,)), taken.device, "X", None, num_threads, stream)
        single = _is_single(taken)
        if place is not None:
            kept = self._kept(place)
            there = points if taken.device is not None else _core.to_device(
                np.ascontiguousarray(points, np.float32 if single else None), place.backend, place.number, None
            )  # fmt: skip
            targets = given if taken.device is not None else {}
            made = self._net.differentiate_there(kept, there, along, order, targets, *how, place)
            if taken.device is not None:
                return {n: given[n] if n in given else taken.wrap_last(y) for n, y in made.items()}
            made = {name: y.to_numpy() for name, y in made.items()}
        elif order == 0:
            made = {"value": self._net.evaluate(points, self._f32, *how)}
        else:
            if len(along) > 64:
                raise ShapeError(f"directions: are {len(along)}; accepted are up to 64")
            made = _named(self._net.differentiate(points, along, order, self._f32, *how), len(along), order)
        if single:
            made = {name: y.astype(np.float32) for name, y in made.items()}
        write_out(given, made)
        return {name: given[name] if name in given else _wrapped(X, taken, y, name) for name, y in made.items()}

    def evaluate(
        self, X: Any, *, out: Any = None, num_threads: int | None = None, device: str | None = None, stream: Any = None
    ) -> Any:
        """The network's output.

        Parameters
        ----------
        X : array, shape (n, inputs)
            Values of its inputs: features, scaled. Of any array kind.
        out : array, shape (n,), optional
            Takes the result.
        num_threads : int, optional
            CPU threads.
        device, stream
            As for every function of the package.

        Returns
        -------
        array, shape (n,)
            Of the kind of `X`: of frames a series with their index. float64, or float32 if `X` is.

        Raises
        ------
        ShapeError, DTypeError, ParameterError
            If an argument is not accepted.
        """
        made = self._derivatives(
            X, np.empty((0, self.inputs)), 0, None if out is None else {"value": out}, num_threads, device, stream
        )
        return made["value"]

    def jets(
        self,
        X: Any,
        directions: Any = None,
        order: int = 2,
        *,
        out: Mapping[str, Any] | None = None,
        num_threads: int | None = None,
        device: str | None = None,
        stream: Any = None,
    ) -> dict[str, Any]:
        """Derivatives of the network along directions, forwards and exact.

        Parameters
        ----------
        X : array, shape (n, inputs)
            Values of its inputs. Of any array kind.
        directions : array, shape (m, inputs), optional
            By default the inputs themselves. In host memory; up to 64, on a device up to 5.
        order : int
            0 to 3.
        out : mapping, optional
            Name of a result to the array that takes it.
        num_threads : int, optional
            CPU threads.
        device, stream
            As for every function of the package.

        Returns
        -------
        dict
            ``value``, shape (n,); from order 1 ``gradient``, shape (n, m); from order 2 ``hessian``, shape (n, m, m);
            from order 3 ``third``, shape (n, m), the third derivatives along each direction alone. Arrays of the kind
            of `X`; of frames the value is a series, and the others are NumPy's.

        Raises
        ------
        ShapeError, DTypeError, LayoutError, ParameterError
            If an argument is not accepted.

        Examples
        --------
        >>> import numpy as np, warpquant.pinn
        >>> layers = [(np.ones((1, 2)), np.zeros(1)), (np.ones((1, 1)), np.zeros(1))]
        >>> model = warpquant.pinn.PinnModel.from_layers(layers)
        >>> model.jets([[0.25, 0.25]], order=1)["gradient"].round(6).tolist()
        [[0.786448, 0.786448]]
        """
        if isinstance(order, bool) or order not in (0, 1, 2, 3):
            raise ParameterError(f"order: {order!r} is out of range; accepted are 0, 1, 2 and 3")
        return self._derivatives(X, directions, order, out, num_threads, device, stream)

    # ------------------------------------------------------------------------------------------ what it is worth

    def diagnose(self, *, points: int = 60) -> dict[str, float]:
        """How far prices are from what every European price obeys, and from the closed form.

        Parameters
        ----------
        points : int
            Numbers of k, and of v, of the grid, which covers the domain.

        Returns
        -------
        dict
            In units of the strike: ``max_error``, ``rmse``, ``relative_l2`` (of the norms), ``delta_error`` and
            ``gamma_error`` (both for variances of at least 2 % of the largest) against the closed form; the largest
            violations of bounds (``below_intrinsic``, ``above_forward``), of monotony in the spot (``delta_range``), of
            convexity (``negative_gamma``) and of put-call parity (``parity``).

        Raises
        ------
        ParameterError
            If the model has no features.
        """
        if self.domain is None:
            raise ParameterError("model: was made without features, so there are no prices to judge")
        from warpquant import options

        whole("points", points, 2)
        k_low, k_high = self.domain["k"]
        v_low, v_high = self.domain["v"]
        k, v = np.meshgrid(
            np.linspace(k_low, k_high, points), np.geomspace(max(v_low, 1e-5 * v_high), v_high, points), indexing="ij"
        )
        # A forward of e^k on a strike of 1, without rates, over a year.
        spot, vol = np.exp(k), np.sqrt(v)
        names = ("price", "delta", "gamma")
        inside = {"spot": spot, "vol": vol}
        mine = self.greeks(inside["spot"], 1.0, 1.0, inside["vol"], 0.0, which=names)
        puts = self.price(spot, 1.0, 1.0, vol, 0.0, is_call=False)
        exact = options.greeks(spot, 1.0, 1.0, 0.0, 0.0, vol, True, outputs=names)
        known = np.isfinite(mine["price"])
        late = known & (v >= 0.02 * v_high)

        def most(x: Any, where: Any = known) -> float:
            return float(np.max(x[where], initial=0.0))

        return {
            **norms((mine["price"] - exact["price"])[known], exact["price"][known]),
            "delta_error": most(np.abs(mine["delta"] - exact["delta"]), late),
            "gamma_error": most(np.abs(mine["gamma"] - exact["gamma"]), late),
            "below_intrinsic": most(np.maximum(spot - 1.0, 0.0) - mine["price"]),
            "above_forward": most(mine["price"] - spot),
            "delta_range": max(most(mine["delta"] - 1.0), most(-mine["delta"])),
            "negative_gamma": most(-mine["gamma"]),
            "parity": most(np.abs(mine["price"] - puts - (spot - 1.0))),
        }

    def info(self) -> dict[str, Any]:
        """What the model is: its network, features and ansatz, the domain, how it was trained and how good it is."""
        return {
            "widths": [self.inputs, *(len(bias) for _, bias in self._layers)],
            "parameters": int(flat(self._layers).size),
            "activation": self.activation,
            "dtype": self.dtype,
            "precision": self.precision,
            "features": None if self.features is None else [dataclasses.asdict(f) for f in self.features],
            "ansatz": None if self.features is None else self.ansatz,
            "domain": self.domain,
            "on_out_of_domain": self.on_out_of_domain,
            **self._metadata,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        how: dict[str, Any] = {
            "activation": self.activation, "features": self.features, "ansatz": self.ansatz, "domain": self.domain,
            "metadata": self._metadata, "dtype": self.dtype, "on_out_of_domain": self.on_out_of_domain,
            "precision": self.precision, "allow_low_precision": True, "device": self.device,
        }  # fmt: skip
        return functools.partial(type(self), **how), (self._layers,)

    def __repr__(self) -> str:
        shape = "-".join(map(str, self.info()["widths"]))
        kind = "" if self.features is None else f" {self.ansatz}"
        return f"<{type(self).__name__}{kind} {shape} {self.activation} {self.dtype}>"


def _device_of(x: Any) -> str | None:
    """Where an array is, if on a device."""
    if isinstance(x, (int, float, np.ndarray)) or x is None:
        return None
    return unpack(x, "argument").device if not isinstance(x, (list, tuple, str)) else None


def _on_host(x: Any) -> np.ndarray[Any, Any]:
    """A copy in host memory of an array of any kind."""
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    elif hasattr(x, "cpu"):
        x = x.cpu()
    elif type(x).__module__.partition(".")[0] == "cupy":
        x = x.get()
    return np.asarray(x)


def _is_single(taken: Unpacked) -> bool:
    """Whether numbers are float32, and nothing wider."""
    columns = taken.data if taken.labels is not None else [taken.data]
    return bool(columns) and all(str(getattr(c, "dtype", "")).endswith("float32") for c in columns)


def _named(streams: np.ndarray[Any, Any], m: int, order: int) -> dict[str, Any]:
    """Streams of derivatives by their names."""
    made: dict[str, Any] = {"value": streams[0], "gradient": np.ascontiguousarray(streams[1 : 1 + m].T)}
    if order >= 2:
        rows, columns = np.triu_indices(m)
        second = streams[1 + m : 1 + m + len(rows)].T
        made["hessian"] = np.empty((streams.shape[1], m, m))
        made["hessian"][:, rows, columns] = second
        made["hessian"][:, columns, rows] = second
    if order >= 3:
        made["third"] = np.ascontiguousarray(streams[-m:].T) if m else np.empty((streams.shape[1], 0))
    return made


def read_numbers(name: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """An argument of any kind of array in host memory, as float64.

    Raises
    ------
    DTypeError, LayoutError, DeviceUnavailableError
        If it has no numbers there.
    """
    taken = unpack(value, name)
    if taken.device is not None:
        raise LayoutError(f"{name}: is on {taken.device}; accepted are arrays in host memory")
    try:
        found = np.asarray(taken.data)
        if found.dtype.kind not in "biuf":
            raise TypeError(f"{found.dtype} values")
        return np.asarray(found, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DTypeError(f"{name}: cannot be read as float64: {error}") from None


def write_out(given: Mapping[str, Any], made: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Copy results to arrays of the caller's, all of them or none.

    Raises
    ------
    DTypeError, ShapeError, LayoutError
        If one of those is not as its result, cannot be written to, or shares memory with another.
    """
    targets: dict[str, np.ndarray[Any, Any]] = {}
    for name, target in given.items():
        label, values = f"out[{name}]", made[name]
        taken = unpack(target, label)
        if taken.device is not None:
            raise LayoutError(f"{label}: is on {taken.device}, but the result is in host memory")
        if taken.labels is not None or isinstance(target, (list, tuple)):
            raise DTypeError(f"{label}: {type(target).__name__} is no array to write to")
        to = np.asarray(taken.data)
        if to.dtype != values.dtype and not (to.dtype == np.int8 and values.dtype == np.uint8):
            raise DTypeError(f"{label}: holds {to.dtype} values, but the result is {values.dtype}")
        if to.shape != values.shape:
            raise ShapeError(f"{label}: has shape {to.shape}, but the result has {values.shape}")
        if overlaps_itself(to):
            raise LayoutError(f"{label}: several elements share one place (by its strides), so results would be lost")
        if not to.flags.writeable or (to.size and not np.shares_memory(to, np.asarray(taken.data))):
            raise LayoutError(f"{label}: cannot be written to")
        for other, memory in targets.items():
            if np.shares_memory(to, memory):
                raise LayoutError(f"{label}: shares memory with out[{other}]; they must be apart")
        targets[name] = to
    for name, to in targets.items():
        np.copyto(to, made[name], casting="unsafe")


def _wrapped(X: Any, taken: Unpacked, values: np.ndarray[Any, Any], name: str) -> Any:
    """A result as an array of the caller's kind; of frames what has one number for each row."""
    root = type(X).__module__.partition(".")[0]
    if root not in ("pandas", "polars", "pyarrow", "xarray"):
        return values if isinstance(X, (list, tuple)) else taken.wrap_last(values)
    if values.ndim > 1 or root == "xarray" or not taken.names:
        return values
    column = X.iloc[:, 0] if root == "pandas" else X.get_columns()[0] if root == "polars" else X.column(0)
    return unpack(column, "X").wrap_named(values, name)


_JSON = ("features", "domain", "problem", "norms", "training")
#: Models that come with the package.
SHIPPED = ("european", "american", "barrier", "exchange", "heston", "merton")
