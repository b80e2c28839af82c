# SPDX-License-Identifier: Apache-2.0
"""ATC bar by bar; public as `warpquant.atc.Stream`."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import io
import itertools
import json
import os
import pathlib
import stat
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, atc, config
from ._checks import choice, flag, whole
from ._containers import unpack
from ._devices import resolve
from .errors import DTypeError, ParameterError, ShapeError, StateError

Values = dict[str, npt.NDArray[Any]]

# What reading a damaged archive raises; RuntimeError where it seems encrypted.
_DAMAGE = (ValueError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile)

_FORMAT = "warpquant.atc.Stream"
_VERSION = 1


class Stream:
    """ATC of many symbols, bar by bar.

    A bar costs the same however many went before. The values are those of `run` for the bars so far, bit for bit. A bar
    that a symbol does not have leaves that symbol as it is. (`run` refuses symbols with no more bars than `cutout`, or
    leaves them without results; a stream gives for them what it would once there are more.) Threads take turns; the
    handler of a signal that comes during a call cannot use the stream.

    Parameters
    ----------
    params : Params or mapping, optional
        Parameters, as for `run`.
    symbols : sequence of str, or int
        Names of the symbols, or their number, which names them "0", "1" and so on.
    outputs : sequence of str, default ('average',)
        What updates return, ``"all"`` for everything: see `run`.
    nan_policy : {'skip', 'raise'}, default 'skip'
        What a missing price (NaN, infinite, or of a symbol that a mapping does not name) is: no bar of that symbol, or
        a mistake. It counts whatever `params` say, unless they are a mapping that names it.
    src : bool, default False
        Whether updates also bring the series that the averages follow.
    device : str, default 'cpu'
        Where the state is and bars are computed. Prices and values are in host memory in any case.
    num_threads : int, optional
        As for `run`.

    Attributes
    ----------
    params : Params
    symbols : tuple of str
    outputs : tuple of str

    Raises
    ------
    ParameterError
        If a parameter is not accepted, or a symbol is named twice.
    DeviceUnavailableError
        If a device was asked for and cannot be used.

    Examples
    --------
    >>> import numpy as np, warpquant
    >>> prices = 100 + 10 * np.sin(np.arange(2000).reshape(2, 1000) / 20.0)
    >>> stream = warpquant.atc.Stream(symbols=["A", "B"], outputs=("average", "direction"))
    >>> for bar in prices.T:
    ...     values = stream.update(bar)
    >>> whole = warpquant.atc.run(prices, {"nan_policy": "skip"}, last_only=True)
    >>> bool((values["average"] == whole["average"]).all()), values["direction"].tolist()
    (True, [-1, -1])
    """

    def __init__(
        self,
        params: atc.Params | Mapping[str, Any] | None = None,
        symbols: Iterable[str] | int = (),
        *,
        outputs: str | Iterable[str] = ("average",),
        nan_policy: str = "skip",
        src: bool = False,
        device: str | None = "cpu",
        num_threads: int | None = None,
    ) -> None:
        if isinstance(params, Mapping) and "nan_policy" in params:
            nan_policy = params["nan_policy"]
        choice("nan_policy", nan_policy, ("skip", "raise"))
        self.params = dataclasses.replace(atc._checked(params), nan_policy=nan_policy)
        self.outputs, indices = atc._chosen((outputs,) if isinstance(outputs, str) else tuple(outputs))
        self._indices = dict(zip(self.outputs, indices, strict=True))
        self._src = flag("src", src)
        self._num_threads = num_threads
        self._lock, self._process, self._busy = threading.RLock(), os.getpid(), False
        config._execution(num_threads)
        self.symbols: tuple[str, ...] = ()
        self._place: dict[str, int] = {}
        self._core = _core.AtcStream(self.params._settings, self._src, resolve(device))
        self._last = self._nothing(1)
        self.add(symbols)

    def __repr__(self) -> str:
        return f"<warpquant.atc.Stream of {len(self.symbols)} symbols: {', '.join(self.outputs)}>"

    @property
    def bars(self) -> npt.NDArray[np.int64]:
        """How many bars each symbol has had."""
        with self._turn():
            return self._core.bars()

    @property
    def nbytes(self) -> int:
        """Bytes that are remembered, last values apart."""
        return 8 * int(self._core.rows) * len(self.symbols)

    def last(self) -> Values:
        """The values of the last bar of each symbol; NaN, or 0 of a class, before its first."""
        with self._turn():
            return self._newest()

    def update(self, prices: Any, src: Any = None) -> Values:
        """Take in one bar.

        Parameters
        ----------
        prices : array, shape (symbols,), or mapping from symbol to price
            Closes. A symbol that is missing keeps its state and its values.
        src : like `prices`
            What the averages follow, of a stream with ``src=True``; a symbol with one of the two missing has no bar.

        Returns
        -------
        dict of str to ndarray, shape (symbols,)
            For each output the value of each symbol: float64, classes int8.

        Raises
        ------
        ParameterError, ShapeError, DTypeError
            If there are not as many prices as symbols, a name is unknown, a price is too large, or missing under
            ``nan_policy='raise'``; the stream is then unchanged.
        """
        with self._turn():
            close, follow = self._bar(prices, src)
            self._take(close, follow, self._last, commits=True)
            return self._newest()

    def peek(self, prices: Any, src: Any = None) -> Values:
        """What `update` would return, while the stream stays as it is: for a bar that is not over yet."""
        with self._turn():
            close, follow = self._bar(prices, src)
            values = {name: last.copy() for name, last in self._last.items()}
            self._take(close, follow, values, commits=False)
            return {name: column[:, 0] for name, column in values.items()}

    def update_many(self, prices: Any, src: Any = None) -> Values:
        """Take in several bars.

        Parameters
        ----------
        prices : array, shape (symbols, bars), or mapping from symbol to series, or frame with a column for each symbol
            Closes, oldest first.
        src : like `prices`
            As for `update`.

        Returns
        -------
        dict of str to ndarray, shape (symbols, bars)
            What `run` gives for these bars. At missing ones floats are NaN and classes repeat.

        Raises
        ------
        ParameterError, ShapeError, DTypeError
            As `update` does. A KeyboardInterrupt may come between two bars, all symbols having had the same ones.
        """
        with self._turn():
            self._check_src(src)
            close, follow = self._panel(prices, "prices"), None
            if self._src:
                follow = self._panel(src, "src")
                if follow.shape != close.shape:
                    raise ShapeError(f"src: has shape {follow.shape}, but prices have {close.shape}")
            values = self._nothing(close.shape[1])
            self._take(close, follow, values, self._last, commits=True, spreads=True)
            return values

    def add(self, symbols: Iterable[str] | int, history: Any = None) -> None:
        """Add symbols behind those that are there.

        Parameters
        ----------
        symbols : sequence of str, or int
            Names, or how many, which continues the numbers with those that are free.
        history : array, shape (symbols, bars), or mapping, optional
            Closes that they have had; not for a stream with ``src=True``. Lengths in a mapping may differ.

        Raises
        ------
        ParameterError
            If a name is there already.
        """
        if isinstance(symbols, (int, np.integer)) and not isinstance(symbols, bool):
            free = (name for name in map(str, itertools.count(len(self.symbols))) if name not in self._place)
            names = list(itertools.islice(free, whole("symbols", symbols, 0)))
        elif isinstance(symbols, str) or not isinstance(symbols, Iterable):
            raise ParameterError(f"symbols: {symbols!r} is neither a sequence of names nor a number")
        else:
            names = list(symbols)
        seen = set(self._place)
        for name in names:
            if not isinstance(name, str):
                raise ParameterError(f"symbols: {name!r} is a {type(name).__name__}; accepted are names of type str")
            if name in seen:
                raise ParameterError(f"symbols: {name!r} is there already")
            seen.add(name)
        if history is None:
            with self._turn():
                return self._select(range(len(self.symbols)), names)
        if self._src:
            raise ParameterError("history: is not for a stream with src=True; use update_many")
        newcomers = Stream(self.params, names, outputs=self.outputs)
        if hasattr(history, "keys"):
            series = {name: _vector(history[name], f"history[{name!r}]") for name in history.keys()}  # noqa: SIM118
            # A shorter one begins later.
            bars = max(map(len, series.values()), default=0)
            history = {n: np.concatenate([np.full(bars - len(one), np.nan), one]) for n, one in series.items()}
        else:
            series = dict(enumerate(newcomers._panel(history, "history")))
        if self.params.nan_policy == "raise" and not all(np.isfinite(one).all() for one in series.values()):
            raise ParameterError("history: has missing values, and nan_policy='raise' accepts present values only")
        newcomers.update_many(history)
        with self._turn():
            table = np.concatenate([self._core.save(), newcomers._core.save()])
            self._select(range(len(self.symbols)), names, newcomers._last)
            self._core.load(table)
        return None

    def remove(self, symbols: str | Iterable[str]) -> None:
        """Remove symbols; the others keep their order.

        Raises
        ------
        ParameterError
            If a name is not there.
        """
        if not isinstance(symbols, Iterable):
            raise ParameterError(f"symbols: {symbols!r} is neither a name nor a sequence of names")
        with self._turn():
            gone = {self._at(name) for name in ([symbols] if isinstance(symbols, str) else symbols)}
            self._select([i for i in range(len(self.symbols)) if i not in gone], [])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a file (NumPy's npz; no pickles), which is complete or not there.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        path = pathlib.Path(path)
        with self._turn():
            head = {
                "format": _FORMAT,
                "version": _VERSION,
                "warpquant": _core.__version__,
                "params": self.params.to_dict(),
                "symbols": self.symbols,
                "outputs": self.outputs,
                "src": self._src,
            }
            table, last = self._core.save(), self._newest()
        arrays: dict[str, Any] = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8), "table": table}
        arrays |= {f"last_{name}": values for name, values in last.items()}
        arrays["digest"] = np.frombuffer(_digest(arrays), np.uint8)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                np.savez(file, **arrays)
                file.flush()
                os.fchmod(file.fileno(), _mode(path))
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(file.name)
                raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str | None = "cpu", num_threads: int | None = None
    ) -> Stream:
        """A stream from a file that `save` wrote, which goes on with the same bits, on whatever device.

        Raises
        ------
        StateError
            If the file is not one, cut short, changed, or of a later version.
        OSError
            If it cannot be read.
        """
        content = pathlib.Path(path).read_bytes()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            digest = arrays.pop("digest").tobytes()
            head = json.loads(arrays["head"].tobytes())
            if head["format"] != _FORMAT:
                raise ValueError(f"its format is {head['format']!r}")
        except (*_DAMAGE, KeyError, TypeError, OSError, EOFError) as error:
            raise StateError(f"{path}: is not the state of a stream, or cut short, or changed: {error}") from error
        if head["version"] != _VERSION:
            raise StateError(f"{path}: has version {head['version']!r}; this warpquant knows version {_VERSION}")
        if digest != _digest(arrays):
            raise StateError(f"{path}: has been changed since it was written")
        stream = cls(
            head["params"],
            head["symbols"],
            outputs=head["outputs"],
            src=head["src"],
            device=device,
            num_threads=num_threads,
        )
        stream._core.load(arrays["table"])
        stream._last = {name: arrays[f"last_{name}"][:, None] for name in stream.outputs}
        return stream

    # ---------------------------------------------------------------- inside

    def _nothing(self, bars: int, symbols: int | None = None) -> Values:
        """Values of bars that nobody has had."""
        size = (len(self.symbols) if symbols is None else symbols, bars)
        of = {n: np.int8 if atc.OUTPUTS[i] in ("trend", "direction") else np.float64 for n, i in self._indices.items()}
        return {n: np.full(size, 0 if kind is np.int8 else np.nan, kind) for n, kind in of.items()}

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else uses the stream meanwhile."""
        if self._process != os.getpid():  # a forked child has its own threads
            if self._busy:
                raise StateError("the process was forked while another thread used the stream; load a saved one")
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            if self._busy:
                raise StateError("the stream is in use by a call that a signal's handler came into")
            self._busy = True
            try:
                yield
            finally:
                self._busy = False

    def _newest(self) -> Values:
        return {name: values[:, 0].copy() for name, values in self._last.items()}

    def _select(self, kept: Iterable[int], added: list[str], values: Values | None = None) -> None:
        kept = list(kept)
        fresh = values or self._nothing(1, len(added))
        self._core.select(kept, len(added))
        self._last = {n: np.concatenate([values[kept], fresh[n]]) for n, values in self._last.items()}
        self.symbols = (*(self.symbols[i] for i in kept), *added)
        self._place = {name: i for i, name in enumerate(self.symbols)}

    def _at(self, name: Any) -> int:
        try:
            return self._place[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(name), self._place, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ParameterError(f"{name!r}: is not a symbol of this stream{hint}") from None

    def _bar(self, prices: Any, src: Any) -> tuple[Any, Any]:
        self._check_src(src)
        return self._column(prices, "prices"), self._column(src, "src") if self._src else None

    def _check_src(self, src: Any) -> None:
        if self._src and src is None:
            raise ParameterError("src: is missing; this stream was made with src=True")
        if not self._src and src is not None:
            raise ParameterError("src: is not for this stream, which was made without src=True")

    def _column(self, values: Any, name: str) -> Any:
        """One bar as an array of one column."""
        if hasattr(values, "keys"):
            if hasattr(values, "to_numpy"):  # a pandas Series
                symbols, numbers = list(values.index), values.to_numpy()
            else:
                symbols = list(values.keys())
                numbers = _numbers([values[symbol] for symbol in symbols], symbols, name)
            if len(set(symbols)) < len(symbols):
                raise ParameterError(f"{name}: name a symbol twice")
            bar = np.full(len(self.symbols), np.nan)
            bar[[self._at(symbol) for symbol in symbols]] = _vector(numbers, name)
        else:
            bar = _vector(values, name)
        if len(bar) != len(self.symbols):
            raise ShapeError(f"{name}: has {len(bar)} values, but the stream has {len(self.symbols)} symbols")
        return bar[:, None]

    def _panel(self, values: Any, name: str) -> Any:
        """Several bars as an array (symbols, bars)."""
        columns = getattr(values, "columns", None)
        if not hasattr(values, "keys") and columns is None:
            panel = _array(values, name)
            if panel.ndim != 2 or len(panel) != len(self.symbols):
                raise ShapeError(f"{name}: has shape {panel.shape}; accepted is ({len(self.symbols)}, bars)")
            return panel
        series = {
            key: _vector(values[key], f"{name}[{key!r}]") for key in (values.keys() if columns is None else columns)
        }
        sizes = {len(one) for one in series.values()}
        if len(sizes) > 1:
            raise ShapeError(f"{name}: have different numbers of bars, {sorted(sizes)}; accepted is one")
        panel = np.full((len(self.symbols), *sizes) if sizes else (len(self.symbols), 0), np.nan)
        for key, one in series.items():
            panel[self._at(key)] = one
        return panel

    def _take(
        self,
        close: Any,
        src: Any,
        values: Values,
        last: Values | None = None,
        *,
        commits: bool,
        spreads: bool = False,
    ) -> None:
        out: dict[Any, Any] = {self._indices[name]: array for name, array in values.items()}
        newest: dict[Any, Any] = {self._indices[name]: array for name, array in (last or {}).items()}
        self._core.take(close, src, out, newest, self.symbols, commits, spreads, *config._execution(self._num_threads))


def _array(values: Any, name: str) -> npt.NDArray[Any]:
    """Numbers in host memory."""
    plain = type(values) is np.ndarray  # a masked array is not
    data = values if plain else unpack(values, name).data
    array = data if isinstance(data, np.ndarray) else np.asarray(data)
    if array.dtype.kind not in "fiu" and array.size:
        raise DTypeError(f"{name}: holds {array.dtype} values; accepted are numbers")
    return array


def _vector(values: Any, name: str) -> npt.NDArray[Any]:
    """The same in one dimension."""
    array = _array(values, name)
    if array.ndim != 1:
        raise ShapeError(f"{name}: has {array.ndim} dimensions; accepted is one")
    return array


def _numbers(values: list[Any], symbols: list[Any], name: str) -> npt.NDArray[np.float64]:
    """Single prices."""
    for symbol, value in zip(symbols, values, strict=True):
        if value is not None and (
            isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number))
        ):
            raise DTypeError(f"{name}[{symbol!r}]: {value!r} is not a number")
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _mode(path: pathlib.Path) -> int:
    """Permissions of a file that is written anew: those that it has, or that others would get."""
    with contextlib.suppress(FileNotFoundError):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
