# SPDX-License-Identifier: Apache-2.0
"""Arrays of whatever library, as memory and as something to make others like."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from warpquant import _core
from warpquant._containers import _device_of, _library
from warpquant._devices import to_device
from warpquant.errors import DeviceUnavailableError, DTypeError, LayoutError, ParameterError, ShapeError

__all__ = [
    "as_tensor", "assign", "check_tensor", "device_of", "is_bfloat16", "is_torch", "memory", "plain", "refresh",
    "resolved", "scalar", "set_number", "state_like", "to_host", "version",
]  # fmt: skip


def is_torch(x: Any) -> bool:
    """Whether it is a tensor of PyTorch."""
    return _library(x)[0] == "torch"


def is_bfloat16(x: Any) -> bool:
    """Whether its values are bfloat16."""
    return str(getattr(x, "dtype", "")).rpartition(".")[2] == "bfloat16"


def check_tensor(x: Any, name: str) -> None:
    """Whether a tensor of PyTorch has its values in a block of memory, on the host or on a CUDA device.

    Raises
    ------
    LayoutError, DeviceUnavailableError, DTypeError
        If not: it is sparse or nested, without values yet, on another device such as 'meta', or quantized.
    """
    if not is_torch(x):
        return
    torch = sys.modules["torch"]
    if torch.nn.parameter.is_lazy(x):
        raise LayoutError(f"{name}: has no values yet; let its module compute something first")
    if x.is_nested:
        raise LayoutError(f"{name}: is a nested tensor; accepted are dense ones")
    if x.layout is not torch.strided:
        raise LayoutError(
            f"{name}: is a tensor of layout {x.layout}; accepted are dense ones, such as to_dense() gives"
        )
    if x.device.type not in ("cpu", "cuda"):
        nothing = ", where tensors have no values" if x.is_meta else ""
        raise DeviceUnavailableError(
            f"{name}: lives on device {str(x.device)!r}{nothing}; accepted are the host and CUDA",
            reason="unknown_device",
        )
    if x.is_quantized:
        raise DTypeError(f"{name}: holds {x.dtype} values; accepted are {_ACCEPTED}")


_ACCEPTED = "float64, float32 and bfloat16"


def memory(x: Any, name: str) -> Any:
    """What the core takes the memory of.

    Raises
    ------
    LayoutError, DeviceUnavailableError
        If it has no block of memory; see `check_tensor`.
    DTypeError
        If its numbers are of another type.
    """
    check_tensor(x, name)
    dtype = str(getattr(x, "dtype", "")).rpartition(".")[2]
    if dtype and dtype.lstrip("=<>|") not in ("float64", "float32", "bfloat16", "f8", "f4"):
        raise DTypeError(f"{name}: holds {dtype} values; accepted are {_ACCEPTED}")
    if not is_torch(x):
        return x
    if x.is_neg():
        raise LayoutError(f"{name}: is a negated view of other memory; accepted is what its resolve_neg() gives")
    return x.detach()


def plain(x: Any, name: str) -> Any:
    """The number in an array of one element, such as a tensor; numbers as they are.

    Raises
    ------
    ParameterError
        If there are more.
    """
    if isinstance(x, (float, int)) or not hasattr(x, "shape"):
        return x
    check_tensor(x, name)
    if tuple(x.shape) not in ((), (1,)):
        raise ParameterError(f"{name}: has shape {tuple(x.shape)}; accepted is one number")
    return to_host(x).item()


def set_number(group: dict[str, Any], name: str, value: float) -> None:
    """A flag of a group; where that is a tensor, in its memory, as PyTorch's schedules do it."""
    if is_torch(group[name]):
        group[name].detach().fill_(value)
    else:
        group[name] = value


def resolved(x: Any) -> Any:
    """The array, in memory of its own where a tensor is a negated view, whose memory has the other sign."""
    is_neg = getattr(x, "is_neg", None)
    return x.resolve_neg() if is_neg is not None and is_neg() else x


def version(x: Any) -> int | None:
    """PyTorch's count of changes of a tensor, which those by its ``data`` are not in; None if there is none."""
    return x._version if is_torch(x) and not x.is_inference() else None


def refresh(master: Any, x: Any) -> None:
    """Bring elements of a float32 copy that do not round to those of a bfloat16 array to their values."""
    if is_torch(x):
        own = x.detach()
        master.copy_(sys.modules["torch"].where(master.to(own.dtype) == own, master, own.to(master.dtype)))
    else:
        np.copyto(master, x.astype(master.dtype), where=master.astype(x.dtype) != x)


def device_of(x: Any) -> str | None:
    """The device of an array; None for host memory."""
    if is_torch(x):
        return f"cuda:{x.get_device()}" if x.is_cuda else None
    return _device_of(x)


def state_like(x: Any, *, copy: bool) -> Any:
    """A new array like `x`: a copy of its values, or zeros; of float32 where `x` has bfloat16."""
    if is_torch(x):
        torch = sys.modules["torch"]
        own = x.detach()
        dtype = torch.float32 if own.dtype == torch.bfloat16 else own.dtype
        return own.to(dtype, copy=True) if copy else torch.zeros_like(own, dtype=dtype)
    if isinstance(x, np.ndarray):
        dtype = np.float32 if is_bfloat16(x) else x.dtype
        return np.array(x, dtype) if copy else np.zeros_like(x, dtype, subok=False)
    if _library(x)[0] == "cupy":
        return x.copy(order="K") if copy else sys.modules["cupy"].zeros_like(x)
    values = to_host(x) if copy else np.zeros(x.shape, np.float32 if is_bfloat16(x) else x.dtype)
    device = device_of(x)
    return values if device is None else to_device(values, device)


def to_host(x: Any) -> np.ndarray[Any, Any]:
    """A copy as an array of NumPy; of float32 where `x` has bfloat16."""
    if is_torch(x):
        x = resolved(x.detach()).cpu()
        x = x.float().numpy() if is_bfloat16(x) else x.numpy()
    elif isinstance(x, _core.Array):
        return x.to_numpy()
    elif _library(x)[0] == "cupy":
        return np.asarray(x.get())
    return np.array(x, np.float32 if is_bfloat16(x) else None)


def assign(target: Any, value: Any, name: str) -> Any:
    """Values into an array of the optimizer's; the array that has them then.

    Raises
    ------
    ShapeError
        If it has another shape.
    LayoutError, DeviceUnavailableError, DTypeError
        If it has no values; see `check_tensor`.
    """
    check_tensor(value, name)
    if tuple(np.shape(value)) != tuple(target.shape):
        raise ShapeError(f"{name}: has shape {tuple(np.shape(value))}, but the parameter has {tuple(target.shape)}")
    if is_torch(target):
        theirs = value if is_torch(value) else sys.modules["torch"].from_numpy(to_host(value))
        return target.copy_(theirs.detach())
    if isinstance(target, np.ndarray):
        target[...] = to_host(value)
        return target
    if _library(target)[0] == "cupy":
        target.set(to_host(value).astype(target.dtype))
        return target
    device = device_of(target)
    assert device is not None
    return to_device(to_host(value).astype(target.dtype), device)


def as_tensor(values: Any, like: Any) -> Any:
    """A tensor of PyTorch with values of NumPy's and the type of `like`."""
    return sys.modules["torch"].tensor(values, dtype=like.dtype)


def scalar(value: float, like: Any) -> Any:
    """A number as PyTorch keeps it beside tensors; for other arrays a float."""
    return sys.modules["torch"].tensor(float(value)) if is_torch(like) else float(value)
