# SPDX-License-Identifier: Apache-2.0
"""What products share: calls of core operations, and words for what those know by numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from warpquant import _rows
from warpquant.errors import ParameterError

__all__ = ["ALIASES", "USUAL", "Product", "code", "outputs_of"]

USUAL = ("price", "delta", "gamma", "vega", "theta", "rho")

#: Other names of Greeks.
ALIASES = {
    "psi": "epsilon",
    "vomma": "volga",
    "elasticity": "lambda_",
    "omega": "lambda_",
    "rhova": "vera",
    "DdeltaDvol": "vanna",
    "DgammaDspot": "speed",
    "DgammaDtime": "color",
}


def outputs_of(operation: str) -> _rows.Outputs:
    """What a core operation has, with the aliases of that."""
    names = _rows.Outputs(operation).names
    return _rows.Outputs(operation, {alias: name for alias, name in ALIASES.items() if name in names})


class Product:
    """A core operation, as a function of its arguments."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.outputs = outputs_of(operation)

    def __call__(
        self,
        arguments: tuple[Any, ...],
        outputs: str | Iterable[str],
        out: Mapping[str, Any] | None,
        num_threads: int | None,
        device: str | None,
        stream: Any,
        parameters: tuple[float, ...] = (),
    ) -> dict[str, Any]:
        return _rows.call(
            self.operation, arguments, self.outputs, self.outputs.choose(outputs), parameters=parameters, out=out,
            num_threads=num_threads, device=device, stream=stream,
        )  # fmt: skip


def code(value: Any, words: Mapping[str, float], name: str) -> Any:
    """The number of a word, or an array of those of an array of words.

    Raises
    ------
    ParameterError
        If a word is unknown.
    """
    if isinstance(value, str):
        texts = np.asarray([value])
    else:
        texts = np.asarray(value)
        if texts.dtype.kind == "O":
            texts = texts.astype(str)
    if texts.dtype.kind != "U":
        raise ParameterError(f"{name}: {value!r} is no text; {_accepted(words)}")
    unique, inverse = np.unique(texts, return_inverse=True)
    for text in unique.tolist():
        if text not in words:
            raise ParameterError(f"{name}: {text!r} is unknown; {_accepted(words)}")
    if isinstance(value, str):
        return float(words[value])
    return np.array([words[t] for t in unique.tolist()], float)[inverse].reshape(texts.shape)


def _accepted(words: Mapping[str, float]) -> str:
    return f"accepted are {', '.join(map(repr, words))}"
