# SPDX-License-Identifier: Apache-2.0
"""Loss of residuals and its gradient on a device."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from warpquant import _core, config
from warpquant._containers import Unpacked, unpack
from warpquant._devices import Choice, resolve
from warpquant.errors import LayoutError

__all__ = ["arguments", "loss_grad", "on_device"]

_NAMES = ("weights", "features", "coefficients", "constants", "loss_weights", "obstacle")


def on_device(x: Any) -> bool:
    """Whether an array is in the memory of a device."""
    return not isinstance(x, (np.ndarray, list, tuple)) and unpack(x, "weights").device is not None


def arguments(
    values: tuple[Any, ...], device: str | None, stream: Any, num_threads: int | None
) -> tuple[Choice | None, list[Unpacked | None]]:
    """Where to compute, None being the CPU, and what on."""
    taken = [None if x is None else unpack(x, name) for name, x in zip(_NAMES, values, strict=True)]
    first = taken[0]
    assert first is not None
    place = resolve(device, first.device, "weights", None, num_threads, stream)
    for name, one in zip(_NAMES, taken, strict=True):
        if place is not None and one is not None and (one.device is None) != (first.device is None):
            raise LayoutError(f"{name}: is not where weights are; move it first")
    return place, taken


def loss_grad(
    taken: list[Unpacked | None],
    widths: list[int],
    activation: str,
    positive: bool,
    smoothing: float,
    with_residuals: bool,
    num_threads: int | None,
    place: Choice,
) -> tuple[Any, ...]:
    """As `residual_loss_grad`."""
    first = taken[0]
    assert first is not None
    assert taken[1] is not None
    resident = first.device is not None
    single = str(first.data.dtype).endswith("float32") if resident else False
    dtype = np.float32 if single else np.float64
    points = taken[1].data.shape[-1] if resident else np.shape(taken[1].data)[-1]

    def there(values: Any) -> Any:
        return _core.to_device(np.ascontiguousarray(values, dtype), place.backend, place.number, None)

    weights, features, coefficients, constants, loss_weights, obstacle = (
        None if one is None else one.data if resident else there(one.data) for one in taken
    )
    if loss_weights is None:
        loss_weights = there(np.full(points, 1.0 / max(points, 1)))
    count = sum((i + 1) * o for i, o in itertools.pairwise(widths))
    net = _core.PinnNet(widths, activation, np.zeros(count), None, False)
    threads, simd = config._execution(num_threads)
    made = net.loss_there(
        weights, features, coefficients, constants, loss_weights, positive, obstacle, smoothing, with_residuals,
        threads, simd, place,
    )  # fmt: skip
    results = made if with_residuals else made[:2]
    if resident:
        return tuple(first.wrap_last(result) for result in results)
    host = [result.to_numpy() for result in results]
    return (float(host[0]), *host[1:])
