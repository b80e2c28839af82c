# SPDX-License-Identifier: Apache-2.0
"""Model files: safetensors with the model's description in its metadata (docs/pinn/index.md, "Model files").

They are read here and not by a library, so that a file from anywhere is either exactly what it says, or refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from warpquant import _statefile
from warpquant.errors import StateError

__all__ = ["FORMAT", "Layers", "read", "write"]

Layers = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]

FORMAT = "pinn-1"
_MOST_HEADER = 100 * 2**20
_MOST_FILE = 2**30
_TYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4")}
_NAME = re.compile(r"net\.(0|[1-9][0-9]{0,3})\.(weight|bias)")


def _refuse(path: str, why: str) -> StateError:
    return StateError(f"{path}: is no model file: {why}")


def read(path: str | os.PathLike[str]) -> tuple[Layers, dict[str, str]]:
    """Layers, and the metadata, of a model file.

    Raises
    ------
    StateError
        If the file is anything but a complete model.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_FILE:
            raise _refuse(name, f"it has {size} bytes")
        content = file.read(_MOST_FILE + 1)
    if len(content) < 8:
        raise _refuse(name, "it is cut short")
    (length,) = struct.unpack("<Q", content[:8])
    if length > _MOST_HEADER or 8 + length > len(content):
        raise _refuse(name, f"its header would have {length} bytes")
    header = _header(name, content[8 : 8 + length])
    data = memoryview(content)[8 + length :]
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _refuse(name, "its metadata are not texts")
    if metadata.get("format") != FORMAT:
        raise _refuse(name, f"its format is {metadata.get('format')!r}; known is {FORMAT!r}")
    layers = _layers(name, _tensors(name, header, data))
    if metadata.get("sha256") != hashlib.sha256(data).hexdigest():
        raise _refuse(name, "its numbers are not those that were written (sha256)")
    return layers, metadata


def _header(name: str, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a name appears twice")
        return made

    def constant(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise _refuse(name, f"its header cannot be read: {error}") from None
    if not text.startswith(b"{") or not isinstance(header, dict):
        raise _refuse(name, "its header is no JSON object")
    return header


def _whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x <= _MOST_FILE


def _tensors(name: str, header: dict[str, Any], data: memoryview) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays by name: those of the header fill the data from its start to its end, without gaps or overlaps."""
    places = []
    for key, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _refuse(name, f"{key[:80]!r} is not described as a tensor")
        dtype = _TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        shape, offsets = entry["shape"], entry["data_offsets"]
        if dtype is None or not isinstance(shape, list) or not 1 <= len(shape) <= 2 or not all(map(_whole, shape)):
            raise _refuse(name, f"{key[:80]!r} has a type or a shape that no layer has")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_whole, offsets)):
            raise _refuse(name, f"{key[:80]!r} has offsets that are none")
        if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
            raise _refuse(name, f"{key[:80]!r} has other bytes than its shape")
        places.append((offsets[0], offsets[1], key, dtype, shape))
    places.sort(key=lambda place: place[:2])
    end, tensors = 0, {}
    for begin, stop, key, dtype, shape in places:
        if begin != end:
            raise _refuse(name, f"{key[:80]!r} does not begin where the tensor before it ends")
        if stop > len(data):
            raise _refuse(name, f"{key[:80]!r} reaches beyond the end")
        tensors[key] = np.frombuffer(bytes(data[begin:stop]), dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise _refuse(name, "there are bytes behind its tensors")
    return tensors


def _layers(name: str, tensors: dict[str, np.ndarray[Any, Any]]) -> Layers:
    for key in tensors:
        if not _NAME.fullmatch(key):
            raise _refuse(name, f"{key[:80]!r} is no weight and no bias of a layer")
    layers: Layers = []
    for i in range(len(tensors) // 2):
        weight, bias = tensors.get(f"net.{i}.weight"), tensors.get(f"net.{i}.bias")
        if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise _refuse(name, f"layer {i} is incomplete, or its weight and bias do not fit")
        if layers and weight.shape[1] != len(layers[-1][1]):
            raise _refuse(name, f"layer {i} does not fit the one before")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise _refuse(name, f"layer {i} has numbers that are not finite")
        layers.append((weight.astype(np.float64), bias.astype(np.float64)))
    if not layers or 2 * len(layers) != len(tensors):
        raise _refuse(name, "its layers are not numbered 0, 1, ...")
    return layers


def write(path: str | os.PathLike[str], layers: Layers, metadata: Mapping[str, str]) -> None:
    """Write a model file, whole or not at all."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    end = 0
    for i, pair in enumerate(layers):
        for kind, array in zip(("weight", "bias"), pair, strict=True):
            part = np.ascontiguousarray(array, "<f8").tobytes()
            header[f"net.{i}.{kind}"] = {
                "dtype": "F64",
                "shape": list(array.shape),
                "data_offsets": [end, end + len(part)],
            }
            parts.append(part)
            end += len(part)
    data = b"".join(parts)
    described = {**metadata, "format": FORMAT, "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({"__metadata__": described, **header}, ensure_ascii=False, allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    with _statefile.replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
