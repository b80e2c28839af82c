# SPDX-License-Identifier: Apache-2.0
"""Networks from and to other libraries."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from warpquant.errors import ParameterError, ShapeError

from ._file import Layers

__all__ = ["read_onnx", "read_torch", "write_onnx"]

_TORCH = {"Tanh": "tanh", "SiLU": "silu", "Softplus": "softplus", "GELU": "gelu"}


def _array(x: Any) -> np.ndarray[Any, Any]:
    x = x.detach() if hasattr(x, "detach") else x
    x = x.cpu() if hasattr(x, "cpu") else x
    return np.asarray(x.numpy() if hasattr(x, "numpy") else x, dtype=np.float64)


def read_torch(source: Any, activation: str | None) -> tuple[Layers, str | None]:
    """Layers of a module of linear layers and activations, or of its state_dict; the activation, if it says so."""
    found = set()
    if not isinstance(source, Mapping):
        for module in source.modules():
            kind = type(module).__name__
            if kind == "GELU" and getattr(module, "approximate", "none") != "none":
                raise ParameterError("module: its GELU is the approximate one; accepted is approximate='none'")
            if kind == "Softplus" and (module.beta, module.threshold) != (1, 20):
                raise ParameterError("module: its Softplus has another beta or threshold than 1 and 20")
            if kind in _TORCH:
                found.add(_TORCH[kind])
            elif kind != "Linear" and not list(module.children()):
                raise ParameterError(f"module: {kind} is no linear layer and none of {', '.join(_TORCH)}")
        if len(found) > 1:
            raise ParameterError(f"module: has several kinds of activations: {', '.join(sorted(found))}")
        source = source.state_dict()
    names = [name for name in source if name.endswith("weight")]
    layers: Layers = []
    for name in names:
        bias = name[: -len("weight")] + "bias"
        weight = _array(source[name])
        if weight.ndim != 2:
            raise ShapeError(f"{name}: has shape {weight.shape}; accepted are weights of linear layers")
        layers.append((weight, _array(source[bias]) if bias in source else np.zeros(len(weight))))
    return layers, found.pop() if found else activation


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
    """
    onnx = _onnx()
    model = onnx.load(os.fspath(path))
    onnx.checker.check_model(model)
    graph = model.graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    nodes = [node for node in graph.node if node.op_type not in ("Constant", "Identity")]
    value = [i.name for i in graph.input if i.name not in constants]
    if len(value) != 1 or len(graph.output) != 1:
        raise ParameterError(
            f"{os.fspath(path)}: has {len(value)} inputs and {len(graph.output)} outputs, not one each"
        )
    layers: Layers = []
    kinds: list[str] = []
    k = 0

    def operators(*ops: str) -> bool:
        return [n.op_type for n in nodes[k : k + len(ops)]] == list(ops)

    def constant(node: Any) -> np.ndarray[Any, Any]:
        (found,) = [constants[name] for name in node.input if name in constants]
        return np.asarray(found, np.float64)

    plain = {"Tanh": "tanh", "Sin": "sin", "Softplus": "softplus", "Gelu": "gelu"}
    try:
        while k < len(nodes):
            node = nodes[k]
            if node.op_type == "Gemm":
                settings = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                if settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0 or settings.get("transA", 0):
                    raise ParameterError(f"{os.fspath(path)}: a Gemm that scales or turns its input")
                weight = np.asarray(constants[node.input[1]], np.float64)
                weight = weight if settings.get("transB", 0) else weight.T
                bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
                layers.append((weight, np.asarray(bias, np.float64).ravel()))
                k += 1
            elif operators("MatMul", "Add"):
                layers.append((constant(node).T, constant(nodes[k + 1]).ravel()))
                k += 2
            elif node.op_type in plain:
                if node.op_type == "Gelu" and any(a.s == b"tanh" for a in node.attribute):
                    raise ParameterError(f"{os.fspath(path)}: its Gelu is the approximate one")
                kinds.append(plain[node.op_type])
                k += 1
            elif operators("Sigmoid", "Mul"):
                kinds.append("silu")
                k += 2
            elif operators("Mul", "Erf", "Add", "Mul", "Mul") or operators("Div", "Erf", "Add", "Mul", "Mul"):
                kinds.append("gelu")
                k += 5
            else:
                raise ParameterError(
                    f"{os.fspath(path)}: {node.op_type} does not belong to a chain of Gemm, or MatMul and Add, with "
                    "Tanh, Sin, Softplus, Sigmoid * x or Gelu between"
                )
    except (KeyError, ValueError, IndexError) as error:
        raise ParameterError(f"{os.fspath(path)}: its graph is no chain of layers: {error}") from None
    if len(set(kinds)) > 1 or len(kinds) != max(len(layers) - 1, 0):
        raise ParameterError(f"{os.fspath(path)}: needs the same activation between all layers, and none behind them")
    return layers, kinds[0] if kinds else None


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
