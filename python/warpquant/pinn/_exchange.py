# SPDX-License-Identifier: Apache-2.0
"""Networks from and to other libraries."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError

from ._file import Layers

__all__ = ["check_torch", "read_onnx", "read_torch", "write_onnx"]

_TORCH = {"Tanh": "tanh", "SiLU": "silu", "Softplus": "softplus", "GELU": "gelu"}


def _array(x: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        x = x.detach() if hasattr(x, "detach") else x
        x = x.cpu() if hasattr(x, "cpu") else x
        x = x.double() if hasattr(x, "double") else x  # NumPy knows no bfloat16
        return np.asarray(x.numpy() if hasattr(x, "numpy") else x, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ParameterError(f"{name}: cannot be read as float64: {error}") from None


def read_torch(source: Any, activation: str | None) -> tuple[Layers, str | None]:
    """Layers of a module of linear layers and activations, or of its state_dict; the activation, if it says so."""
    if isinstance(source, Mapping):
        return _state_layers(source), activation
    if not hasattr(source, "modules"):
        raise DTypeError(f"source: {type(source).__name__} is neither a module of torch nor a state_dict")
    linears, found = [], set()
    leaves = list(_leaves(source))
    for module in leaves:
        kind = type(module).__name__
        if kind == "GELU" and getattr(module, "approximate", "none") != "none":
            raise ParameterError("module: its GELU is the approximate one; accepted is approximate='none'")
        if kind == "Softplus" and (module.beta, module.threshold) != (1, 20):
            raise ParameterError("module: its Softplus has another beta or threshold than 1 and 20")
        if kind in _TORCH:
            found.add(_TORCH[kind])
        elif kind == "Linear":
            linears.append(module)
        else:
            raise ParameterError(f"module: {kind} is no linear layer and none of {', '.join(_TORCH)}")
    if len(found) > 1:
        raise ParameterError(f"module: has several kinds of activations: {', '.join(sorted(found))}")
    if _is_sequential(source):
        order = [type(module).__name__ for module in leaves]
        if len(order) % 2 == 0 or any((kind == "Linear") != (i % 2 == 0) for i, kind in enumerate(order)):
            raise ParameterError(
                f"module: has {', '.join(order) or 'nothing'}; accepted are linear layers with an activation between "
                "each two, and none before or behind"
            )
    if activation is not None and found and activation not in found:
        raise ParameterError(f"activation: {activation!r} is not that of the module, {found.pop()!r}")
    layers: Layers = []
    for module in linears:
        weight = _array(module.weight, "weight")
        layers.append((weight, np.zeros(len(weight)) if module.bias is None else _array(module.bias, "bias")))
    return layers, found.pop() if found else activation


def _is_sequential(module: Any) -> bool:
    kind = type(module)
    return kind.__name__ == "Sequential" and kind.__module__.startswith("torch.")


def _leaves(module: Any) -> Iterator[Any]:
    """Modules without others inside, in the order in which a Sequential applies them, which may repeat one."""
    if _is_sequential(module):
        for inside in module:
            yield from _leaves(inside)
    else:
        yield from (m for m in module.modules() if not list(m.children()))


def _state_layers(state: Mapping[str, Any]) -> Layers:
    layers: Layers = []
    left = dict(state)
    for name in state:
        if not str(name).endswith("weight"):
            continue
        weight = _array(left.pop(name), name)
        if weight.ndim != 2:
            raise ShapeError(f"{name}: has shape {weight.shape}; accepted are weights of linear layers")
        bias = name[: -len("weight")] + "bias"
        layers.append((weight, _array(left.pop(bias), bias) if bias in left else np.zeros(len(weight))))
    if left:
        raise ParameterError(f"state_dict: {next(iter(left))!r} is no weight and no bias of a linear layer")
    return layers


def check_torch(module: Any, evaluate: Callable[[Any], Any], inputs: int) -> None:
    """Whether a module computes what was read from it: `forward` is code, which its layers do not tell.

    Raises
    ------
    ParameterError
        If it does not.
    """
    torch = sys.modules["torch"]
    points = np.random.default_rng(0).normal(size=(64, inputs))
    try:
        with torch.no_grad():
            found = _array(copy.deepcopy(module).cpu().double().eval()(torch.from_numpy(points)), "module")
    except Exception as error:  # of code of the user's
        raise ParameterError(f"module: its forward does not take rows of {inputs} inputs: {error}") from None
    known = evaluate(points)
    # Softplus of torch's leaves 2e-9 out, where it turns linear.
    if found.shape not in ((64,), (64, 1)) or not (
        np.max(np.abs(found.ravel() - known)) <= 1e-6 * np.max(np.abs(known))
    ):
        raise ParameterError("module: its forward is something else than its linear layers with activations between")


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ImportError("ONNX files need the package onnx: pip install 'warpquant[onnx]'") from None
    return onnx


def read_onnx(path: str | os.PathLike[str]) -> tuple[Layers, str | None]:
    """Layers and activation of a chain of Gemm, or MatMul and Add, and activations.

    Raises
    ------
    ParameterError
        If the graph is anything else.
    StateError
        If the file is damaged, or none of ONNX's.
    """
    onnx = _onnx()
    name = os.fspath(path)
    try:
        model = onnx.load(name)
        onnx.checker.check_model(model)
    except OSError:
        raise
    except Exception as error:  # of protobuf's and of the checker's
        raise StateError(f"{name}: is no ONNX file: {error}") from None
    graph = model.graph
    chain = _Chain(onnx, name)
    for tensor in graph.initializer:
        chain.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    value = [i.name for i in graph.input if i.name not in chain.constants]
    if len(value) != 1 or len(graph.output) != 1:
        raise ParameterError(f"{name}: has {len(value)} inputs and {len(graph.output)} outputs, not one each")
    chain.terms[value[0]] = (1.0, (("value", 0),))
    for node in graph.node:
        chain.add(node)
    stages = chain.stages
    if len(stages) % 2 == 0 or chain.terms.get(graph.output[0].name) != (1.0, (("value", len(stages)),)):
        raise ParameterError(f"{name}: its output {graph.output[0].name!r} is not that of a linear layer at the end")
    kinds = stages[1::2]
    if len(set(kinds)) > 1:
        raise ParameterError(f"{name}: has several kinds of activations: {', '.join(sorted(set(kinds)))}")
    return chain.layers, kinds[0] if kinds else None


#: What a tensor is: a factor, and what it is a factor of: ('value', k), the k-th stage of the chain; of such a stage
#: 'sigmoid', 'erf' of its multiple with sqrt(1/2), 'erf1', which is 1 more; 'product' with a matrix, by name.
_Term = tuple[float, tuple[tuple[Any, ...], ...]]


class _Chain:
    """Follows tensors from the input through the nodes; linear layers and activations take turns."""

    _PLAIN: ClassVar[dict[str, str]] = {"Tanh": "tanh", "Sin": "sin", "Softplus": "softplus", "Gelu": "gelu"}

    def __init__(self, onnx: Any, path: str) -> None:
        self.onnx, self.path = onnx, path
        self.constants: dict[str, Any] = {}
        self.terms: dict[str, _Term] = {}
        self.stages: list[str] = []
        self.layers: Layers = []
        self._matrices: dict[str, np.ndarray[Any, Any]] = {}

    def add(self, node: Any) -> None:
        """Take in the next node."""
        if node.op_type == "Constant" and node.attribute[0].name in ("value", "value_float"):
            a = node.attribute[0]
            self.constants[node.output[0]] = self.onnx.numpy_helper.to_array(a.t) if a.name == "value" else a.f
            return
        if node.op_type == "Identity":
            for known in (self.constants, self.terms):
                if node.input[0] in known:
                    known[node.output[0]] = known[node.input[0]]
            return
        try:
            made = self._term(node) if node.domain in ("", "ai.onnx") else None
        except (ValueError, TypeError) as error:
            raise ParameterError(f"{self.path}: {self._name(node)} has constants of no layer: {error}") from None
        if made is None:
            raise ParameterError(
                f"{self.path}: {self._name(node)} does not belong to a chain of Gemm, or MatMul and Add, with one of "
                "Tanh, Sin, Softplus, Sigmoid * x and Gelu between each two"
            )
        self.terms[node.output[0]] = made

    @staticmethod
    def _name(node: Any) -> str:
        return f"{node.op_type} {node.name or node.output[0]!r}"

    def _term(self, node: Any) -> _Term | None:
        """What the node gives; None if that belongs to no chain."""
        op, inputs = node.op_type, list(node.input)
        settings = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        terms = [self.terms.get(i) for i in inputs]
        first = terms[0] if terms else None
        at = len(self.stages)
        now: _Term = (1.0, (("value", at),))
        if op == "Gemm":
            plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
            if first != now or not plain or any(i not in self.constants for i in inputs[1:] if i):
                return None
            weight = np.asarray(self.constants[inputs[1]], np.float64)
            bias = self.constants[inputs[2]] if len(inputs) > 2 and inputs[2] else 0.0
            return self._linear(weight if settings.get("transB", 0) else weight.T, bias)
        if op == "MatMul":
            if first != now or inputs[1] not in self.constants:
                return None
            self._matrices[node.output[0]] = np.asarray(self.constants[inputs[1]], np.float64).T
            return 1.0, (("product", at, node.output[0]),)
        if op in self._PLAIN or op in ("Sigmoid", "Erf"):
            return self._function(op, settings, first, now)
        if op not in ("Add", "Mul", "Div") or len(inputs) != 2:
            return None
        if op == "Mul" and terms[0] is not None and terms[1] is not None:
            return self._known(terms[0][0] * terms[1][0], terms[0][1] + terms[1][1])
        # What is left has a constant on one side, of a quotient below.
        side = 1 if first is not None else 0
        term = terms[1 - side]
        if term is None or inputs[side] not in self.constants or (op == "Div" and side == 0):
            return None
        constant = np.asarray(self.constants[inputs[side]], np.float64)
        if op == "Add" and term[0] == 1.0 and term[1][0][:2] == ("product", at) and len(term[1]) == 1:
            return self._linear(self._matrices[term[1][0][2]], constant)
        if constant.size != 1 or constant.ndim > 2:
            return None
        number = float(constant.ravel()[0])
        if op == "Add":
            is_erf = term == (1.0, (("erf", at),)) and math.isclose(number, 1.0, rel_tol=1e-6)
            return (1.0, (("erf1", at),)) if is_erf else None
        return self._known(term[0] * number if op == "Mul" else term[0] / number if number else math.nan, term[1])

    def _function(self, op: str, settings: dict[str, Any], term: _Term | None, now: _Term) -> _Term | None:
        if op == "Erf":
            scaled = term is not None and term[1] == now[1] and math.isclose(term[0], math.sqrt(0.5), rel_tol=1e-6)
            return (1.0, (("erf", now[1][0][1]),)) if scaled else None
        if term != now:
            return None
        if op == "Sigmoid":
            return 1.0, (("sigmoid", now[1][0][1]),)
        return None if settings.get("approximate", b"none") != b"none" else self._stage(self._PLAIN[op])

    def _known(self, factor: float, parts: tuple[tuple[Any, ...], ...]) -> _Term | None:
        """A product; where it is an activation of the last stage, the next one."""
        at = len(self.stages)
        parts = tuple(sorted(parts))
        if parts == (("sigmoid", at), ("value", at)) and math.isclose(factor, 1.0, rel_tol=1e-6):
            return self._stage("silu")
        if parts == (("erf1", at), ("value", at)) and math.isclose(factor, 0.5, rel_tol=1e-6):
            return self._stage("gelu")
        # Another order of the same factors may still come to one.
        return (factor, parts) if len(parts) <= 2 and len(set(parts)) == len(parts) else None

    def _linear(self, weight: np.ndarray[Any, Any], bias: Any) -> _Term | None:
        if weight.ndim != 2:
            return None
        # A bias that would make rows or neurons of its own does not broadcast.
        self.layers.append((weight, np.broadcast_to(np.asarray(bias, np.float64), (1, len(weight)))[0]))
        return self._stage("linear")

    def _stage(self, kind: str) -> _Term | None:
        if (kind == "linear") != (len(self.stages) % 2 == 0):
            return None
        self.stages.append(kind)
        return 1.0, (("value", len(self.stages)),)


def write_onnx(path: str | os.PathLike[str], layers: Layers, activation: str, dtype: str) -> None:
    """The network alone, from features to its output."""
    onnx = _onnx()
    helper, kind = onnx.helper, onnx.TensorProto.DOUBLE if dtype == "float64" else onnx.TensorProto.FLOAT
    nodes, initializers = [], []

    def keep(name: str, array: Any) -> str:
        initializers.append(onnx.numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    at = "features"
    for i, (weight, bias) in enumerate(layers):
        last = i + 1 == len(layers)
        z = "output" if last else f"z{i}"
        inputs = [at, keep(f"net.{i}.weight", weight), keep(f"net.{i}.bias", bias)]
        nodes.append(helper.make_node("Gemm", inputs, [z], transB=1))
        if last:
            break
        at = f"h{i}"
        if activation in ("tanh", "sin", "softplus"):
            nodes.append(helper.make_node(activation.capitalize(), [z], [at]))
        elif activation == "silu":
            nodes.append(helper.make_node("Sigmoid", [z], [f"s{i}"]))
            nodes.append(helper.make_node("Mul", [z, f"s{i}"], [at]))
        else:
            nodes.append(helper.make_node("Mul", [z, keep(f"scale{i}", math.sqrt(0.5))], [f"a{i}"]))
            nodes.append(helper.make_node("Erf", [f"a{i}"], [f"b{i}"]))
            nodes.append(helper.make_node("Add", [f"b{i}", keep(f"one{i}", 1.0)], [f"c{i}"]))
            nodes.append(helper.make_node("Mul", [z, f"c{i}"], [f"d{i}"]))
            nodes.append(helper.make_node("Mul", [f"d{i}", keep(f"half{i}", 0.5)], [at]))
    width = layers[0][0].shape[1]
    graph = helper.make_graph(
        nodes,
        "pinn",
        [helper.make_tensor_value_info("features", kind, ["points", width])],
        [helper.make_tensor_value_info("output", kind, ["points", 1])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, os.fspath(path))
