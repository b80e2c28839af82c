"""Moving averages."""
# Written by python/make_stubs.py.

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ['Info', 'Stream', 'info', 'kinds', 'sma', 'ema', 'wma', 'hma', 'dema', 'tema', 'kama', 'lsma', 'rma', 'roc']

@dataclasses.dataclass(frozen=True)
class Info:
    """What there is to know about a kind of average."""
    name: str
    title: str
    formula: str
    notes: str
    recurrent: bool
    options: dict[str, Any]

def kinds() -> tuple[str, ...]:
    """Names of all averages."""

def info(kind: str) -> Info:
    """Description of one kind."""

def sma(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Simple moving average."""

def ema(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    seed: Literal['sma', 'first'] = 'sma',
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    exact: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Exponential moving average."""

def wma(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Linearly weighted moving average."""

def hma(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Hull moving average."""

def dema(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    seed: Literal['sma', 'first'] = 'sma',
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    exact: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Double exponential moving average."""

def tema(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    seed: Literal['sma', 'first'] = 'sma',
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    exact: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Triple exponential moving average."""

def kama(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    fast: float = 2,
    slow: float = 30,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    exact: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Kaufman's adaptive moving average."""

def lsma(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Least-squares moving average (linear regression end point)."""

def rma(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    seed: Literal['sma', 'first'] = 'sma',
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    exact: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Wilder's moving average."""

def roc(
    x: Any,
    length: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    *,
    nan: Literal['window', 'propagate', 'raise'] = 'window',
    axis: int | str | None = None,
    out: Any = None,
    warmup: Literal['nan', 'null'] = 'nan',
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> Any:
    """Rate of change, in percent."""

class Stream:
    """An average computed bar by bar, for several series at once."""
    def __init__(self, kind: str, length: int, n_series: int = 1, *, nan: str = 'window', **options: Any) -> None:
        ...
    @property
    def kind(self) -> str:
        """Name of the average."""
    @property
    def length(self) -> int:
        """Bars."""
    @property
    def n_series(self) -> int:
        """Number of series."""
    def update(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Take in one bar."""
    def state_dict(self) -> dict[str, Any]:
        """The state as plain values and one array, to be saved with any tool (`numpy.savez`, safetensors, JSON)."""
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state from `state_dict`."""
