"""
CPU core of warpquant. Private: use the functions of the package.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['ATC_DETAILS', 'ATC_OUTPUTS', 'Array', 'AtcSettings', 'AtcStream', 'BACKTEST_METRICS', 'Event', 'HIGH_PRIORITY', 'MaStream', 'MemoryStack', 'OptimBuffers', 'OwnStream', 'PINN_ACTIVATIONS', 'PINN_ANSATZES', 'PINN_SOURCES', 'PinnNet', 'PinnSingle', 'PreparedCall', 'SOBOL_DIMS', 'SurfaceStream', 'atc_array', 'atc_columns', 'atc_growth', 'atc_sweep_array', 'atc_sweep_columns', 'backend_status', 'backtest', 'backtest_trades', 'best_simd', 'buffer_stats', 'build_info', 'copy_counts', 'device_info', 'effective_simd', 'equity_array', 'equity_columns', 'essvi_fit', 'heston_fit', 'ma_array', 'ma_columns', 'ma_kinds', 'mc_asian', 'mc_barrier', 'mc_basket', 'mc_brownian', 'mc_inverse_normal', 'mc_local_vol', 'mc_numbers', 'mc_philox', 'memory_frame', 'memory_live', 'memory_stack', 'memory_stats', 'open_memory_frame', 'optim_carried', 'optim_clip', 'optim_dot', 'optim_product', 'optim_rank_two', 'optim_two_loops', 'pinned_empty', 'reset_peak', 'restore_memory', 'row_call', 'row_operations', 'sabr_fit', 'scenario_sums', 'set_backend', 'set_buffer_limit', 'set_memory_limit', 'signals_array', 'signals_columns', 'ssvi_fit', 'stream_done', 'stream_wait', 'svi_certify', 'svi_cross', 'svi_fit', 'synchronize', 'thread_streams', 'to_device', 'trim', 'usable_processors', 'use_memory']
class Array:
    """
    An array in the memory of a device.
    """
    def __array__(self, dtype: typing.Any = None, copy: typing.Any = None) -> typing.Any:
        """
        Refused: it would be a copy that nobody asked for.
        """
    def __dlpack__(self, *, stream: typing.Any = None, max_version: typing.Any = None, dl_device: typing.Any = None, copy: typing.Any = None) -> typing.Any:
        """
        The array for a consumer, whose stream is made to wait for ours.
        """
    def __dlpack_device__(self) -> tuple[typing.Any, ...]:
        """
        DLPack's type and number of the device.
        """
    def __getitem__(self, index: typing.SupportsInt | typing.SupportsIndex) -> Array:
        """
        One of the arrays along the first dimension, in the same memory.
        """
    def __len__(self) -> int:
        ...
    def __repr__(self) -> str:
        ...
    def copy_to(self, target: typing.Any) -> typing.Any:
        """
        Copy to a device by name ('cpu': a new NumPy array), or into an array of the same shape and type; gives that. Between devices, and into `memory.pinned_empty` arrays, the copy is one of the streams, so that nobody waits: `wait` does.
        """
    def to_numpy(self) -> numpy.ndarray:
        """
        A copy in host memory; waits for the array's stream.
        """
    def wait(self) -> None:
        """
        Wait until the work that fills it is done.
        """
    @property
    def __cuda_array_interface__(self) -> dict[str, typing.Any]:
        """
        The array for consumers of the CUDA array interface.
        """
    @property
    def device(self) -> str:
        """
        Where it is, such as 'cuda:0'.
        """
    @property
    def dtype(self) -> numpy.dtype[typing.Any]:
        """
        Type of the values.
        """
    @property
    def nbytes(self) -> int:
        """
        Size in memory.
        """
    @property
    def ndim(self) -> int:
        """
        Number of dimensions.
        """
    @property
    def shape(self) -> tuple[typing.Any, ...]:
        """
        Size of each dimension.
        """
    @property
    def stream(self) -> int:
        """
        The stream whose work fills it, as DLPack numbers streams: 1 is the default stream, others are handles.
        """
class OwnStream:
    """
    A stream of a device, beside all others.
    """
    def __init__(self, backend: str, number: typing.SupportsInt | typing.SupportsIndex, priority: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def close(self) -> None:
        """
        Let go of it; it ends with the arrays that were made in it.
        """
    @property
    def handle(self) -> int:
        """
        As DLPack numbers streams.
        """
class Event:
    """
    A mark in a stream.
    """
    def __init__(self, backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def hold_up(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Let a stream wait for the mark.
        """
    def query(self) -> bool:
        """
        Whether the stream has come to the mark.
        """
    def record(self, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Put the mark into a stream.
        """
    def synchronize(self, timeout: typing.SupportsFloat | typing.SupportsIndex | None) -> None:
        """
        Wait until it has.
        """
class PreparedCall:
    """
    A call on arrays of a device, put off.
    """
    def __init__(self) -> None:
        ...
    def run(self, stream: typing.SupportsInt | typing.SupportsIndex | None) -> None:
        """
        Put it into a stream.
        """
    @property
    def device(self) -> str:
        """
        Where it runs.
        """
    @property
    def ready(self) -> bool:
        """
        Whether there is a call.
        """
    @property
    def stream(self) -> int:
        """
        Where it goes if nothing else is said.
        """
class MemoryStack:
    """
    Where blocks of a device come from.
    """
    def allocate(self, bytes: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex = 0) -> int:
        """
        A block, for tests.
        """
    def release(self, data: typing.SupportsInt | typing.SupportsIndex, bytes: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        """
        A block back, for tests.
        """
    def wait(self, stream: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        """
        Wait for a stream of its device, for tests.
        """
class MaStream:
    """
    State of an average over several series, fed bar by bar.
    """
    def __init__(self, kind: typing.SupportsInt | typing.SupportsIndex, length: typing.SupportsInt | typing.SupportsIndex, series: typing.SupportsInt | typing.SupportsIndex, seed_first: bool, fast: typing.SupportsFloat | typing.SupportsIndex, slow: typing.SupportsFloat | typing.SupportsIndex, nan: str) -> None:
        ...
    def load(self, words: typing.Annotated[numpy.typing.ArrayLike, numpy.uint64]) -> None:
        """
        Take over a state.
        """
    def save(self) -> numpy.typing.NDArray[numpy.uint64]:
        """
        The state as words, one row per series.
        """
    def update(self, x: typing.Any) -> numpy.typing.NDArray[numpy.float64]:
        """
        One bar of every series.
        """
class AtcSettings:
    """
    Parameters in the form that the kernels take.
    """
    def __init__(self, lengths: collections.abc.Sequence[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], numbers: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex], cutout: typing.SupportsInt | typing.SupportsIndex, strategy_mode: bool, switches: collections.abc.Mapping[str, str]) -> None:
        ...
class AtcStream:
    """
    State of ATC over several symbols, fed bar by bar.
    """
    def __init__(self, settings: AtcSettings, separate_src: bool, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> None:
        ...
    def bars(self) -> numpy.typing.NDArray[numpy.int64]:
        """
        Bars that each symbol has had.
        """
    def load(self, table: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> None:
        """
        Take over a state.
        """
    def save(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        The state, one row per symbol.
        """
    def select(self, kept: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], added: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Keep symbols by index, and add some.
        """
    def take(self, prices: typing.Any, src: typing.Any, out: collections.abc.Mapping[typing.SupportsInt | typing.SupportsIndex, typing.Any], last: collections.abc.Mapping[typing.SupportsInt | typing.SupportsIndex, typing.Any], symbols: typing.Any, commits: bool, spreads: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> None:
        """
        New bars of all symbols.
        """
    @property
    def rows(self) -> int:
        """
        Numbers remembered of each symbol.
        """
class OptimBuffers:
    """
    Parameters of an optimizer, changed in place, and its state.
    """
    def __init__(self, buffers: list[typing.Any]) -> None:
        ...
    def attach(self, index: typing.SupportsInt | typing.SupportsIndex, arrays: list[typing.Any]) -> None:
        """
        Where the state of a parameter is.
        """
    def outcome(self) -> tuple[typing.Any, ...]:
        """
        Of arrays on a device: norm, whether left out, how many were.
        """
    def step(self, groups: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, bool, bool, bool, bool, bool]], group_of: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], grads: list[typing.Any], wishes: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex | None, bool, bool], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
        """
        One step; gives the norm, and whether it was left out.
        """
    @property
    def steps(self) -> list[float]:
        """
        Steps of each parameter so far.
        """
    @steps.setter
    def steps(self, arg1: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> None:
        ...
class SurfaceStream:
    """
    Slices of a surface that quotes move as they come.
    """
    def __init__(self, essvi: bool, parameters: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], years: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], capacity: typing.SupportsInt | typing.SupportsIndex, outlier: typing.SupportsFloat | typing.SupportsIndex, patience: typing.SupportsInt | typing.SupportsIndex, simd: str) -> None:
        ...
    def advance(self, passed: typing.SupportsFloat | typing.SupportsIndex) -> None:
        """
        Lets years pass.
        """
    def remember(self, slice: typing.SupportsInt | typing.SupportsIndex, strike: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], vol: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> None:
        """
        Quotes of before.
        """
    def remembered(self, slice: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray:
        """
        ln strike, volatility and weight of quotes.
        """
    def update(self, slice: typing.SupportsInt | typing.SupportsIndex, quotes: tuple[typing.Any, typing.Any, typing.Any, typing.Any], log_forward: typing.SupportsFloat | typing.SupportsIndex, decay: typing.SupportsFloat | typing.SupportsIndex) -> tuple[int, int, float, float]:
        """
        Takes quotes of a slice: how many, steps, rmse, least g.
        """
    @property
    def parameters(self) -> numpy.ndarray:
        """
        Of each slice.
        """
    @property
    def status(self) -> numpy.ndarray:
        """
        Of each quote of the last update.
        """
    @property
    def years(self) -> numpy.ndarray:
        """
        Times to expiry.
        """
class PinnNet:
    """
    A network as the kernels want it.
    """
    def __init__(self, widths: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], activation: str, parameters: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], surface: tuple[collections.abc.Sequence[tuple[str, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]], str, typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"], typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(2)"]] | None, in_f32: bool) -> None:
        ...
    def differentiate(self, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], directions: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], order: typing.SupportsInt | typing.SupportsIndex, in_f32: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> numpy.typing.NDArray[numpy.float64]:
        """
        Streams of derivatives along directions.
        """
    def differentiate_there(self, parameters: typing.Any, x: typing.Any, directions: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], order: typing.SupportsInt | typing.SupportsIndex, out: dict[str, typing.Any], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> dict[str, typing.Any]:
        """
        As `differentiate`, of arrays on a device, by name.
        """
    def evaluate(self, x: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], in_f32: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> numpy.typing.NDArray[numpy.float64]:
        """
        Outputs for rows of inputs.
        """
    def jacobian(self, parameters: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], features: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], coefficients: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], constants: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], positive: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
        """
        Residuals, and their gradients as rows.
        """
    def loss(self, parameters: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None, features: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], coefficients: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], constants: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], weights: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], positive: bool, obstacle: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None, smoothing: typing.SupportsFloat | typing.SupportsIndex, with_gradient: bool, with_residuals: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
        """
        Loss of residuals, its gradient, the residuals.
        """
    def loss_there(self, parameters: typing.Any, features: typing.Any, coefficients: typing.Any, constants: typing.Any, weights: typing.Any, positive: bool, obstacle: typing.Any, smoothing: typing.SupportsFloat | typing.SupportsIndex, with_residuals: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> tuple[typing.Any, ...]:
        """
        As `loss`, of arrays on a device.
        """
    def place(self, parameters: typing.Any, products: str) -> None:
        """
        Where the network is on a device.
        """
    @property
    def number(self) -> float:
        ...
class PinnSingle:
    """
    Results for one contract of plain numbers, or None.
    """
    def __call__(self, *args: typing.Any) -> typing.Any:
        ...
    def __init__(self, model: PinnNet, in_f32: bool, names: collections.abc.Sequence[str], simd: str) -> None:
        ...
def atc_array(prices: typing.Any, src: typing.Any, axis: typing.SupportsInt | typing.SupportsIndex, settings: AtcSettings, outputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], last_only: bool, detail: bool, float32: bool, exact: bool, single: bool, out: dict[str, typing.Any], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    ATC of an array.
    """
def atc_columns(prices: list[typing.Any], src: list[typing.Any] | None, labels: collections.abc.Sequence[str], settings: AtcSettings, outputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], last_only: bool, detail: bool, float32: bool, exact: bool, single: bool, out: dict[str, typing.Any], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    ATC of a list[typing.Any] of one-dimensional arrays.
    """
def atc_growth(la_per_bar: typing.SupportsFloat | typing.SupportsIndex, cutout: typing.SupportsInt | typing.SupportsIndex, bars: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    Growth factor of each bar.
    """
def atc_sweep_array(prices: typing.Any, src: typing.Any, axis: typing.SupportsInt | typing.SupportsIndex, settings: collections.abc.Sequence[AtcSettings], outputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], last_only: bool, float32: bool, single: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    ATC of an array with each of several sets of parameters.
    """
def atc_sweep_columns(prices: list[typing.Any], src: list[typing.Any] | None, labels: collections.abc.Sequence[str], settings: collections.abc.Sequence[AtcSettings], outputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], last_only: bool, float32: bool, single: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    ATC of a list[typing.Any] of one-dimensional arrays with each of several sets of parameters.
    """
def backend_status(name: str) -> dict[str, typing.Any]:
    """
    Driver and number of devices of a device module.
    """
def backtest(prices: numpy.ndarray, signal: numpy.ndarray | None, metrics: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], store: bool, numbers: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex], sizing: str, every_bar: bool, delay: typing.SupportsInt | typing.SupportsIndex, window: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> list[typing.Any]:
    """
    Metrics, and positions, returns and equities if they are to be stored, of accounts that follow signals.
    """
def backtest_trades(prices: numpy.ndarray, signal: numpy.ndarray, numbers: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex], sizing: str, every_bar: bool, delay: typing.SupportsInt | typing.SupportsIndex, window: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> dict[str, typing.Any]:
    """
    Every trade of accounts that follow signals.
    """
def best_simd() -> str:
    """
    Highest instruction level that this machine can run.
    """
def buffer_stats() -> dict[str, typing.Any]:
    """
    Bytes of the pool that large results come from.
    """
def build_info() -> dict[str, typing.Any]:
    """
    What this module was built from and for.
    """
def copy_counts() -> dict[str, typing.Any]:
    """
    Copies that arguments needed since the start of the process, by reason.
    """
def device_info(name: str, index: typing.SupportsInt | typing.SupportsIndex, try_it: bool) -> dict[str, typing.Any]:
    """
    One device; if it is tried, also whether kernels run there.
    """
def effective_simd(name: str) -> str:
    """
    The level that a setting comes to on this machine.
    """
def equity_array(x: typing.Any, signal: typing.Any, axis: typing.SupportsInt | typing.SupportsIndex, from_prices: bool, starting: typing.SupportsFloat | typing.SupportsIndex, decay_per_bar: typing.SupportsFloat | typing.SupportsIndex, growth_per_bar: typing.SupportsFloat | typing.SupportsIndex, floor: typing.SupportsFloat | typing.SupportsIndex, cutout: typing.SupportsInt | typing.SupportsIndex, sticky: bool, exact: bool, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    Equity curves of arrays.
    """
def equity_columns(x: list[typing.Any], signal: list[typing.Any], labels: collections.abc.Sequence[str], from_prices: bool, starting: typing.SupportsFloat | typing.SupportsIndex, decay_per_bar: typing.SupportsFloat | typing.SupportsIndex, growth_per_bar: typing.SupportsFloat | typing.SupportsIndex, floor: typing.SupportsFloat | typing.SupportsIndex, cutout: typing.SupportsInt | typing.SupportsIndex, sticky: bool, exact: bool, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    Equity curves of lists of one-dimensional arrays.
    """
def essvi_fit(k: typing.Any, w: typing.Any, weights: typing.Any, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], start: typing.Any, simd: str) -> tuple[typing.Any, ...]:
    """
    An eSSVI surface nearest to quotes, free of arbitrage.
    """
def heston_fit(k: typing.Any, target: typing.Any, scale: typing.Any, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], years: typing.Any, start: typing.Any, starts: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
    """
    Heston's model nearest to quotes of many expiries.
    """
def ma_array(kind: typing.SupportsInt | typing.SupportsIndex, x: typing.Any, lengths: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], several: bool, seed_first: bool, fast: typing.SupportsFloat | typing.SupportsIndex, slow: typing.SupportsFloat | typing.SupportsIndex, nan: str, axis: typing.SupportsInt | typing.SupportsIndex, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    Averages of an array.
    """
def ma_columns(kind: typing.SupportsInt | typing.SupportsIndex, columns: list[typing.Any], labels: collections.abc.Sequence[str], lengths: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], several: bool, seed_first: bool, fast: typing.SupportsFloat | typing.SupportsIndex, slow: typing.SupportsFloat | typing.SupportsIndex, nan: str, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    Averages of a list[typing.Any] of one-dimensional arrays.
    """
def ma_kinds() -> list[typing.Any]:
    """
    The averages, in the order of their indices.
    """
def mc_asian(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], times: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], start_weight: typing.SupportsFloat | typing.SupportsIndex, columns: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], control: bool, greeks: bool) -> typing.Any:
    """
    Options on an average: values and errors, (results, rows).
    """
def mc_barrier(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], times: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], payoff: str, kind: str, columns: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], control: bool) -> typing.Any:
    """
    Options with a barrier: values and errors, (results, rows).
    """
def mc_basket(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], assets: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], correlation: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], terms: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], choice: str, control: str, outputs: collections.abc.Sequence[str]) -> typing.Any:
    """
    Options on several assets: values and errors of each output.
    """
def mc_brownian(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], times: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex]) -> typing.Any:
    """
    Brownian motion of paths, (paths, times).
    """
def mc_inverse_normal(p: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> typing.Any:
    """
    Quantiles of the normal law.
    """
def mc_local_vol(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], terms: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], steps: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], times: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], spots: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], vols: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], greeks: bool) -> typing.Any:
    """
    An option in a local volatility model: values and errors.
    """
def mc_numbers(plan: tuple[str, str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, str, tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None], normal: bool, dims: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    """
    Numbers of paths, (paths, dims).
    """
def mc_philox(counter: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"], key: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"]) -> tuple[int, int, int, int]:
    """
    The four words of a counter (Philox4x32-10).
    """
def memory_frame(backend: str, number: typing.SupportsInt | typing.SupportsIndex, frame: typing.SupportsInt | typing.SupportsIndex, close: bool) -> dict[str, typing.Any]:
    """
    Statistics of a frame, which may be closed.
    """
def memory_live(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> list[typing.Any]:
    """
    Address, bytes, stream and tag of each block in use.
    """
def memory_stack(backend: str, number: typing.SupportsInt | typing.SupportsIndex, of_host: bool = False) -> MemoryStack:
    """
    Where blocks come from now.
    """
def memory_stats(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> dict[str, typing.Any]:
    """
    What this process has of a device's memory, and of memory pinned for it.
    """
def open_memory_frame(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    Statistics from now on, by a number.
    """
def optim_carried(params: list[typing.Any]) -> list[typing.Any]:
    """
    The gradients that parameters carry.
    """
def optim_clip(grads: list[typing.Any], wishes: tuple[typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex | None, bool, bool], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    Clip gradients in place; gives their norm.
    """
def optim_dot(a: numpy.typing.NDArray[numpy.float64], b: numpy.typing.NDArray[numpy.float64], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> float:
    """
    Inner product.
    """
def optim_product(a: numpy.typing.NDArray[numpy.float64], x: numpy.typing.NDArray[numpy.float64], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> numpy.typing.NDArray[numpy.float64]:
    """
    Product of a matrix and a vector.
    """
def optim_rank_two(matrix: numpy.typing.NDArray[numpy.float64], factors: typing.Annotated[collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], "FixedSize(4)"], s: numpy.typing.NDArray[numpy.float64], h: numpy.typing.NDArray[numpy.float64], x: numpy.typing.NDArray[numpy.float64], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> numpy.typing.NDArray[numpy.float64]:
    """
    matrix = a matrix + ss s s^T + sh (s h^T + h s^T) + hh h h^T, in place; gives its product with x.
    """
def optim_two_loops(gradients: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]], steps: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float64]], curvatures: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], scale: typing.SupportsFloat | typing.SupportsIndex, g: numpy.typing.NDArray[numpy.float64], num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[numpy.typing.NDArray[numpy.float64], list[float]]:
    """
    Direction of L-BFGS, and the numbers of its first loop.
    """
def pinned_empty(backend: str, number: typing.SupportsInt | typing.SupportsIndex, shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], dtype: numpy.dtype[typing.Any]) -> numpy.ndarray:
    """
    An array in memory of the host that copies reach directly.
    """
def reset_peak(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Count the most memory in use from now on.
    """
def restore_memory(stack: MemoryStack) -> None:
    """
    Take blocks from a stack again.
    """
def row_call(name: str, inputs: tuple[typing.Any, ...], names: tuple[str, ...], places: tuple[int, ...], parameters: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None, unpacked: bool, kept: typing.Any = None) -> typing.Any:
    """
    Results of an operation on rows, by name: those of its results that `places` count. `kept`: an array on the device that the operation uses besides.
    """
def row_operations() -> dict[str, typing.Any]:
    """
    Names of the operations on rows, with those of their arguments and results.
    """
def sabr_fit(strike: typing.Any, vol: typing.Any, weights: typing.Any, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], forward: typing.Any, expiry: typing.Any, beta: typing.Any, start: typing.Any, variant: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
    """
    SABR slices nearest to the volatilities of many smiles.
    """
def scenario_sums(fields: tuple[typing.Any, ...], model: typing.SupportsInt | typing.SupportsIndex, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], axes: tuple[typing.Any, ...], with_greeks: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> numpy.ndarray:
    """
    Sums over groups of positions at every node of a grid of moves.
    """
def set_backend(name: str, table: typing.Any) -> None:
    """
    Take over the functions of a device module.
    """
def set_buffer_limit(bytes: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Most bytes that the pool keeps for later.
    """
def set_memory_limit(backend: str, number: typing.SupportsInt | typing.SupportsIndex, bytes: typing.SupportsInt | typing.SupportsIndex, share: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> None:
    """
    Most bytes of a device's memory, or a share of what can be had; 0: no limit.
    """
def signals_array(op: str, inputs: list[typing.Any], names: collections.abc.Sequence[str], axis: typing.SupportsInt | typing.SupportsIndex, numbers: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex], rounding: str, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    A stage of ATC, of arrays.
    """
def signals_columns(op: str, inputs: list[typing.Any], names: collections.abc.Sequence[str], labels: collections.abc.Sequence[str], numbers: collections.abc.Mapping[str, typing.SupportsFloat | typing.SupportsIndex], rounding: str, out: typing.Any, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> typing.Any:
    """
    A stage of ATC, of lists of one-dimensional arrays.
    """
def ssvi_fit(k: typing.Any, w: typing.Any, weights: typing.Any, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], shape: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
    """
    An SSVI surface nearest to quotes, free of arbitrage.
    """
def stream_done(backend: str, number: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex) -> bool:
    """
    Whether a stream has nothing to do.
    """
def stream_wait(backend: str, number: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex, timeout: typing.SupportsFloat | typing.SupportsIndex | None) -> None:
    """
    Wait for a stream.
    """
def svi_certify(parameters: typing.Any, slices: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
    """
    The least g of SVI slices, proven.
    """
def svi_cross(early: typing.Any, late: typing.Any, slices: typing.SupportsInt | typing.SupportsIndex, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str) -> tuple[typing.Any, ...]:
    """
    Where pairs of SVI slices cross.
    """
def svi_fit(k: typing.Any, w: typing.Any, weights: typing.Any, offsets: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], start: typing.Any, free_of_arbitrage: bool, num_threads: typing.SupportsInt | typing.SupportsIndex, simd: str, device: tuple[str, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex | None, typing.SupportsInt | typing.SupportsIndex | None, PreparedCall | None] | None) -> tuple[typing.Any, ...]:
    """
    SVI slices nearest to the quotes of many smiles.
    """
def synchronize(backend: str, number: typing.SupportsInt | typing.SupportsIndex, timeout: typing.SupportsFloat | typing.SupportsIndex | None) -> None:
    """
    Wait for all streams of a device.
    """
def thread_streams(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    How many streams of a device threads have had for their work.
    """
def to_device(array: numpy.ndarray, backend: str, number: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex | None = None) -> Array:
    """
    A copy of a contiguous array.
    """
def trim(backend: str, number: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Give back what is kept for later.
    """
def usable_processors() -> int:
    """
    Processors this process may use, by affinity and quota.
    """
def use_memory(backend: str, number: typing.SupportsInt | typing.SupportsIndex, resource: str, upstream: str = '', allocate: typing.Any = None, deallocate: typing.Any = None, tracking: bool = False, poison: bool = False, zero_on_free: bool = False, log: str = '', on_failure: typing.Any = None, fail_at: typing.SupportsInt | typing.SupportsIndex = 0, lasting: bool = False) -> MemoryStack:
    """
    Take blocks from another stack from now on. The one before.
    """
ATC_DETAILS: tuple[str, ...] = ('ema_ma', 'hma_ma', 'wma_ma', 'dema_ma', 'lsma_ma', 'kama_ma', 'ema_sig', 'hma_sig', 'wma_sig', 'dema_sig', 'lsma_sig', 'kama_sig', 'ema_eq', 'hma_eq', 'wma_eq', 'dema_eq', 'lsma_eq', 'kama_eq')
ATC_OUTPUTS: tuple[str, ...] = ('average', 'trend', 'direction', 'ema_signal', 'hma_signal', 'wma_signal', 'dema_signal', 'lsma_signal', 'kama_signal', 'ema_s', 'hma_s', 'wma_s', 'dema_s', 'lsma_s', 'kama_s')
BACKTEST_METRICS: tuple[str, ...] = ('total_return', 'annual_return', 'volatility', 'sharpe', 'sortino', 'max_drawdown', 'max_drawdown_bars', 'calmar', 'hit_rate', 'profit_factor', 'trades', 'turnover', 'exposure', 'var', 'cvar', 'skew', 'kurtosis')
HIGH_PRIORITY: int = -100
PINN_ACTIVATIONS: tuple[str, ...] = ('tanh', 'sin', 'silu', 'softplus', 'gelu')
PINN_ANSATZES: tuple[str, ...] = ('none', 'normal')
PINN_SOURCES: tuple[str, ...] = ('k', 'v', 'sqrt_v', 'tanh_half_d')
SOBOL_DIMS: int = 1024
__version__: str
