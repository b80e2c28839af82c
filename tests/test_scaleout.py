# SPDX-License-Identifier: Apache-2.0
"""Ray and Dask: the bits of a local run, errors by symbol, killed workers, order, limits, and nothing left behind."""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import uuid
import warnings

import numpy as np
import pytest

import scaleout_tasks as tasks
import warpquant.ext
from scaleout_tasks import OUTPUTS
from warpquant import atc
from warpquant.errors import (
    BatchError,
    DeviceUnavailableError,
    DTypeError,
    ParameterError,
    TooSmallWarning,
    WarpquantError,
    WorkerLostError,
)
from warpquant.ext import _common
from warpquant.ext._common import ATCBatch

TESTS = pathlib.Path(__file__).parent

# Sockets of the engines that are closed by the collector, and their own deprecations, are not ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:tasks take about:warpquant.errors.TooSmallWarning"),
]


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else some versions warn
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))  # workers import scaleout_tasks
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=1,  # that Ray believes in
            include_dashboard=False,
            logging_level="error",
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
        ray.shutdown()


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("dask.dataframe")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["ray", "dask"])
def engine(request):
    """The adapter, with two workers that the test has started."""
    request.getfixturevalue(f"{request.param}_cluster")
    return getattr(warpquant.ext, request.param)


def same(a, b):
    """Equal to the last bit, NaN included."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def panel(count, bars, seed=0):
    """Walks of ragged lengths; some have missing bars, leading ones too, one is empty and one all NaN."""
    rng = np.random.default_rng(seed)
    found = {f"S{i}": 100 + np.cumsum(rng.normal(size=bars + 7 * i)) for i in range(count)}
    found["S1"][:40] = np.nan
    found["S2"][rng.integers(0, bars, 25)] = np.nan
    found["S4"] = np.empty(0)
    found["S5"][:] = np.nan
    return found


def batches_of(symbols, size):
    names = list(symbols)
    return [{name: symbols[name] for name in names[i : i + size]} for i in range(0, len(names), size)]


def kill_when_there(folder, name, deaths=1):
    """A thread that kills the process that computes `name`, as soon as it does."""

    def watch():
        killed = set()
        end = time.monotonic() + 30
        while len(killed) < deaths and time.monotonic() < end:
            for path in folder.glob(f"{name}.*"):
                text = path.read_text(encoding="utf-8")
                if text and path not in killed:
                    killed.add(path)
                    os.kill(int(text), signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


# ---------------------------------------------------------------------------------------------- batches


def test_batches_have_the_bits_of_a_local_run(engine):
    symbols = panel(30, 400)
    results = list(engine.map_batches(tasks.atc_of, batches_of(symbols, 7)))
    local = atc.run(symbols, outputs=OUTPUTS)
    assert [list(r["average"]) for r in results] == [list(b) for b in batches_of(symbols, 7)]
    for result in results:
        for output in OUTPUTS:
            assert all(same(x, local[output][name]) for name, x in result[output].items())


def test_order_limit_and_laziness(engine):
    taken = []

    def source():
        for i in range(20):
            taken.append(i)
            yield i

    results = engine.map_batches(tasks.double, source(), max_in_flight=3)
    assert taken == []
    for k in range(20):
        assert next(results) == 2 * k
        assert k + 1 <= len(taken) <= k + 3
    assert list(results) == []
    results = engine.map_batches(tasks.double, source())
    next(results)
    results.close()  # the rest is neither taken nor computed
    assert len(taken) < 20 + 6
    assert list(engine.map_batches(tasks.double, [])) == []


def test_a_killed_worker_loses_nothing(engine, tmp_path):
    symbols = panel(24, 300)
    numbered = list(enumerate(batches_of(symbols, 3)))
    killer = kill_when_there(tmp_path, "batch3")
    results = list(engine.map_batches(tasks.Numbered(tmp_path, "batch3"), numbered, workers=2))
    killer.join()
    assert [number for number, _ in results] == list(range(8))
    local = atc.run(symbols, outputs=OUTPUTS)
    for output in OUTPUTS:
        merged = {name: x for _, result in results for name, x in result[output].items()}
        assert list(merged) == list(symbols)
        assert all(same(merged[name], local[output][name]) for name in symbols)
    # Only what was under way in the killed worker was computed again.
    assert tasks.computations(tmp_path) == {f"batch{i}": 2 if i == 3 else 1 for i in range(8)}


def test_a_batch_that_kills_its_workers(ray_cluster, tmp_path):
    """After the retries it is given up, by its number, and results before it come first."""
    killer = kill_when_there(tmp_path, "batch1", deaths=2)
    numbered = list(enumerate(batches_of(panel(6, 80), 3)))
    results = warpquant.ext.ray.map_batches(tasks.Numbered(tmp_path, "batch1", deaths=2), numbered, retries=1)
    assert next(results)[0] == 0
    with pytest.raises(WorkerLostError, match="batch 1: its worker was lost") as caught:
        next(results)
    killer.join()
    assert caught.value.batch == 1
    assert tasks.computations(tmp_path) == {"batch0": 1, "batch1": 2}


def test_what_the_function_raises_names_the_batch(engine):
    results = engine.map_batches(tasks.unhappy, range(6))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(BatchError, match=r"batch 2: Unhappy: of 2") as caught:
        next(results)
    assert caught.value.batch == 2
    assert type(caught.value.__cause__).__name__ == "Unhappy"
    assert not isinstance(caught.value, WorkerLostError)
    assert list(results) == []


def test_a_batch_that_cannot_be_sent(engine):
    results = engine.map_batches(tasks.double, [1, threading.Lock(), 3])
    assert next(results) == 2
    with pytest.raises(BatchError, match=r"(?s)batch 1: TypeError.*(serialize|pickle)"):
        next(results)


def test_errors_come_from_workers_as_they_are(engine):
    """With their attributes, whatever they take to be made."""
    with pytest.raises(BatchError) as caught:
        list(engine.map_batches(tasks.unavailable, [0]))
    cause = caught.value.__cause__
    assert isinstance(cause, DeviceUnavailableError)
    assert (str(cause), cause.reason) == ("none here", "no_device")


@pytest.mark.parametrize("name", warpquant.errors.__all__)
def test_errors_survive_a_copy(name):
    kind = getattr(warpquant.errors, name)
    extra = {"DeviceUnavailableError": {"reason": "busy"}, "BatchError": {"batch": 3}, "WorkerLostError": {"batch": 4}}
    error = kind("what happened", **extra.get(name, {}))
    again = copy.copy(error)
    assert type(again) is kind
    assert str(again) == "what happened"
    assert vars(again) == vars(error)


def test_a_source_that_raises(engine):
    def source():
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(engine.map_batches(tasks.double, source()))


def test_ctrl_c(engine):
    results = engine.map_batches(time.sleep, [0.01, 2, 2])  # Dask cannot end them early
    next(results)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert time.monotonic() - begin < 1.5
    timer.join()


def test_threads_of_a_task(engine):
    one, two = (list(engine.map_batches(tasks.threads, range(4), workers=2, num_cpus=n)) for n in (1, 2))
    assert {n for n, _ in one} == {1}
    assert {n for n, _ in two} == {2}
    assert os.getpid() not in {pid for _, pid in one}


def test_small_batches(engine):
    with pytest.warns(TooSmallWarning, match=r"batches [\d,]+ times as large would pay .*50 ms") as caught:
        assert list(engine.map_batches(tasks.double, range(12))) == list(range(0, 24, 2))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(engine.map_batches(time.sleep, [0.06] * 6)) == [None] * 6


def test_arguments(engine):
    for arguments, message in (
        ({"fn": 3}, "fn: 3 cannot be called"),
        ({"batches": 3}, "batches: int cannot be iterated"),
        ({"workers": 0}, "workers"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"retries": -1}, "retries"),
        ({"num_cpus": 1.5}, "num_cpus"),
    ):
        with pytest.raises(ParameterError, match=message):
            engine.map_batches(**{"fn": tasks.double, "batches": [1], **arguments})


def test_a_library_that_is_not_there(monkeypatch):
    for module, extra in (("ray", "ray"), ("distributed", "dask")):
        monkeypatch.setitem(sys.modules, module, None)
        adapter = getattr(warpquant.ext, extra)
        with pytest.raises(ImportError, match=rf"needs {module}: pip install 'warpquant\[{extra}\]'"):
            adapter.map_batches(tasks.double, [1])


OWN = """
import os, sys
sys.path.insert(0, {tests!r})
import scaleout_tasks as tasks
from warpquant.ext import {name}

if __name__ == "__main__":
    results = {name}.map_batches(tasks.threads, range(100), workers=2)
    found = [next(results) for _ in range(6)]
    print({{n for n, _ in found}}, os.getpid() not in {{pid for _, pid in found}})
    results.close()
    {check}
"""
CHECKS = {
    "ray": "import ray as engine; assert not engine.is_initialized()",
    "dask": "import distributed as engine; assert not engine.client._global_clients",
}


@pytest.mark.parametrize("name", ["ray", "dask"])
def test_a_cluster_of_its_own_ends_with_the_call(name, tmp_path):
    """Without a cluster one is started, and no process of it is left."""
    pytest.importorskip({"dask": "distributed"}.get(name, name))
    mark = f"WQ_TEST_MARK={uuid.uuid4().hex}"
    script = tmp_path / "own.py"
    script.write_text(OWN.format(name=name, tests=str(TESTS), check=CHECKS[name]), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "DASK_SCHEDULER_ADDRESS")}
    environment |= dict([mark.split("=")])
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[0] == "{1} True"
    end = time.monotonic() + 10
    while (left := _marked(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


THERE = """
import scaleout_tasks as tasks
from warpquant.ext import {name}

if __name__ == "__main__":
    print(*{{*{name}.map_batches(tasks.{name}_address, range(3))}})
"""


def test_the_cluster_that_an_address_names(engine, dask_cluster, tmp_path):
    """It is used, and goes on."""
    name = engine.__name__.rpartition(".")[2]
    if name == "ray":
        variable, address = "RAY_ADDRESS", sys.modules["ray"].get_runtime_context().gcs_address
    else:
        variable, address = "DASK_SCHEDULER_ADDRESS", dask_cluster.scheduler.address
    script = tmp_path / "there.py"
    script.write_text(THERE.format(name=name), encoding="utf-8")
    environment = {**os.environ, variable: address, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.stdout.splitlines()[-1:] == [address], done.stderr[-3000:]
    assert list(engine.map_batches(tasks.double, [1, 2])) == [2, 4]


def _marked(mark):
    """Command lines of processes with that in their environment."""
    return [line for process in pathlib.Path("/proc").glob("[0-9]*") if (line := _line(process, mark)) is not None]


def _line(process, mark):
    with contextlib.suppress(OSError):  # gone by now, or of somebody else
        if mark.encode() in (process / "environ").read_bytes().split(b"\0"):
            return (process / "cmdline").read_text()
    return None


# ---------------------------------------------------------------------------------------------- symbols


def hostile():
    """Rows that cannot be computed among others."""
    symbols = {**panel(12, 200), "text": "no prices", "none": None, "flat": np.ones((3, 4)), "huge": np.full(90, 1e305)}
    return list(symbols.items())


def local_of(symbols, last_only):
    """Each symbol alone, so that one does not stop the others; None if it cannot be computed."""
    found = dict.fromkeys(name for name, _ in symbols)
    for name, prices in symbols:
        with contextlib.suppress(WarpquantError):
            result = atc.run({name: prices}, outputs=OUTPUTS, last_only=last_only)
            found[name] = tuple(np.asarray(result[o][name], t) for o, t in zip(OUTPUTS, ("f8", "i1"), strict=True))
    return found


def check_rows(rows, symbols, last_only):
    """Rows (symbol, average, trend, error) against local runs."""
    local = local_of(symbols, last_only)
    assert sorted(r[0] for r in rows) == sorted(local)
    assert sum(want is None for want in local.values()) == 5
    for name, average, trend, error in rows:
        if local[name] is None:
            assert name in error
            assert np.isnan(average) if last_only else len(average) == 0
            assert trend == 0 if last_only else len(trend) == 0
        else:
            assert not isinstance(error, str)
            assert same(np.asarray(average, np.float64), local[name][0])
            assert same(np.asarray(trend, np.int8), local[name][1])


@pytest.mark.parametrize("last_only", [True, False])
def test_a_batch_of_columns(last_only):
    symbols = hostile()
    batch = {"symbol": [name for name, _ in symbols], "close": [prices for _, prices in symbols]}
    columns = ATCBatch(outputs=OUTPUTS, last_only=last_only)(batch)
    assert list(columns) == ["symbol", *OUTPUTS, "error"]
    assert all(isinstance(column, np.ndarray) and len(column) == len(symbols) for column in columns.values())
    check_rows(list(zip(*columns.values(), strict=True)), symbols, last_only)


def test_a_batch_with_the_same_symbol_twice():
    walk = panel(6, 100)
    columns = ATCBatch(last_only=True)({"symbol": ["A", "A", "A (2)"], "close": [walk["S0"], walk["S3"], walk["S0"]]})
    local = atc.run({"a": walk["S0"], "b": walk["S3"], "c": walk["S0"]}, last_only=True)["average"]
    assert columns["symbol"].tolist() == ["A", "A", "A (2)"]
    assert columns["average"].tolist() == list(local.values())
    assert columns["error"].tolist() == [None, None, None]


def test_an_empty_batch():
    columns = ATCBatch(outputs="all")({"symbol": [], "close": []})
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(
        ("symbol", *atc.OUTPUTS, "error"), 0
    )


def test_trouble_of_a_device_is_no_error_of_a_symbol():
    if warpquant.doctor()["cuda"]["devices"]:
        pytest.skip("there is a device")
    batch = ATCBatch(device="cuda", last_only=True)
    with pytest.raises(DeviceUnavailableError):
        batch({"symbol": ["A"], "close": [np.arange(90.0)]})


def test_arguments_of_a_batch():
    with pytest.raises(ParameterError, match="meta: is needed"):
        ATCBatch(tasks.picky)
    with pytest.raises(ParameterError, match="meta: goes with"):
        ATCBatch(meta={"a": "f8"})
    with pytest.raises(ParameterError, match="is not an output"):
        ATCBatch(outputs="averages")
    with pytest.raises(ParameterError, match="'average' is the name of another column"):
        ATCBatch(prices="average")
    with pytest.raises(ParameterError, match="La"):
        ATCBatch({"La": "x"})


def dataset(ray, symbols):
    return ray.data.from_items([{"symbol": name, "close": prices} for name, prices in symbols])


@pytest.mark.parametrize("last_only", [True, False])
def test_symbols_of_a_ray_dataset(ray_cluster, last_only, tmp_path):
    """From files, by as many actors as there are processors, which must not starve the reading; and from memory."""
    pa = pytest.importorskip("pyarrow")

    symbols = [(name, x) for name, x in panel(40, 300).items() if len(x)]
    if last_only:
        for i in range(0, len(symbols), 10):
            names, prices = zip(*symbols[i : i + 10], strict=True)
            pa.parquet.write_table(pa.table({"symbol": names, "close": prices}), tmp_path / f"{i}.parquet")
        ds = ray_cluster.data.read_parquet(str(tmp_path))
    else:
        ds = dataset(ray_cluster, symbols)
    found = warpquant.ext.ray.map_symbols(
        ds, batch_size=8, outputs=OUTPUTS, last_only=last_only, bars=300, workers=2 if last_only else 1
    )
    rows = [tuple(row.values()) for row in found.take_all()]
    local = local_of(symbols, last_only)
    assert sorted(row[0] for row in rows) == sorted(local)
    for name, average, trend, error in rows:
        assert error is None
        assert same(np.asarray(average, np.float64), local[name][0])
        assert same(np.asarray(trend, np.int8), local[name][1])
    if not last_only:
        assert str(found.schema().types[1]) == "large_list<item: double>"


def test_errors_of_symbols_on_ray(ray_cluster):
    """And a function of the user's; a killed actor is replaced and loses nothing."""
    ds = dataset(ray_cluster, [(name, x) for name, x in panel(8, 90).items() if len(x)])
    found = warpquant.ext.ray.map_symbols(
        ds, tasks.picky, meta={"last": "f8"}, last_only=True, batch_size=4, workers=1
    ).to_pandas()
    error = dict(zip(found["symbol"], found["error"], strict=True))
    assert "no S3 today" in error.pop("S3")
    assert len(error) == 6
    assert found["error"].isna().sum() == 6


def test_a_killed_actor_loses_nothing(ray_cluster, tmp_path):
    symbols = {name: x for name, x in panel(13, 90).items() if len(x)}
    killer = kill_when_there(tmp_path, "S7")
    found = warpquant.ext.ray.map_symbols(
        ray_cluster.data.from_items([{"symbol": n, "close": x} for n, x in symbols.items()], override_num_blocks=4),
        tasks.Named(tmp_path, "S7"), meta={"average": "f8", "trend": "i1"}, last_only=True, batch_size=3, workers=1,
    ).take_all()  # fmt: skip
    killer.join()
    local = atc.run(symbols, outputs=OUTPUTS, last_only=True)
    assert sorted(row["symbol"] for row in found) == sorted(symbols)
    for row in found:
        assert row["error"] is None
        assert all(row[o] == local[o][row["symbol"]] or np.isnan(local[o][row["symbol"]]) for o in OUTPUTS)
    assert tasks.computations(tmp_path) == {"S0": 1, "S10": 1, "S3": 1, "S7": 2}


def test_gpus(ray_cluster):
    """An actor goes where a GPU is, and computes there or says why it cannot."""
    symbols = [(name, x) for name, x in panel(8, 90).items() if len(x)]
    found = warpquant.ext.ray.map_symbols(
        dataset(ray_cluster, symbols), batch_size=10**6, num_gpus=1, last_only=True, bars=10**6
    )
    bag = pytest.importorskip("dask.bag").from_sequence(symbols, npartitions=1)
    same_with_dask = warpquant.ext.dask.map_symbols(bag, num_gpus=1, last_only=True)
    if warpquant.doctor()["cuda"]["devices"]:
        local = atc.run(dict(symbols), last_only=True)["average"]
        assert {row["symbol"]: row["average"] for row in found.take_all()} == local
        assert same_with_dask.compute(scheduler="synchronous")["average"].tolist() == list(local.values())
        return
    with pytest.raises(ray_cluster.exceptions.RayError, match="device='cuda:0' is not available"):
        found.take_all()
    with pytest.raises(DeviceUnavailableError):
        same_with_dask.compute(scheduler="synchronous")
    with pytest.raises(ParameterError, match="num_gpus: 2"):
        warpquant.ext.ray.map_symbols(found, batch_size=1, num_gpus=2)
    with pytest.raises(ParameterError, match="ds: list is no dataset"):
        warpquant.ext.ray.map_symbols([], batch_size=1)


def test_small_batches_of_symbols(ray_cluster):
    ds = dataset(ray_cluster, list(panel(8, 90).items()))
    with pytest.warns(TooSmallWarning, match=r"[\d,]+ symbols of 90 bars in each would pay"):
        warpquant.ext.ray.map_symbols(ds, batch_size=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warpquant.ext.ray.map_symbols(ds, batch_size=10**6)
    with pytest.raises(ParameterError, match="no column 'last'"):
        warpquant.ext.ray.map_symbols(ds, batch_size=10**6, prices="last")


def test_the_size_that_would_pay():
    """The number of symbols in the message is the smallest that brings no message."""
    for threads, gpus in ((1, 0), (4, 0), (1, 1)):
        text = _common.predict_too_small(3, 250, threads, gpus)
        least = int(text.partition("; ")[2].partition(" ")[0].replace(",", ""))
        assert _common.predict_too_small(least, 250, threads, gpus) is None
        assert _common.predict_too_small(least - 1, 250, threads, gpus) is not None


def frame(symbols):
    pandas = pytest.importorskip("pandas")
    names = [name for name, _ in symbols]
    return pandas.DataFrame(
        {"symbol": names, "close": _common.objects([prices for _, prices in symbols])},
        index=pandas.Index(range(100, 100 + len(names)), name="row"),
    )


@pytest.mark.parametrize("kind", ["frame", "bag", "pairs", "delayed"])
@pytest.mark.parametrize("last_only", [True, False])
def test_symbols_of_dask(kind, last_only):
    """In threads of this process; every partition has the types that were promised."""
    dask = pytest.importorskip("dask")
    frames, bags = pytest.importorskip("dask.dataframe"), pytest.importorskip("dask.bag")
    symbols = hostile()
    with dask.config.set({"dataframe.convert-string": False}):
        ds = frames.from_pandas(frame(symbols), npartitions=3)
    records = [{"symbol": name, "close": prices} for name, prices in symbols]
    if kind == "bag":
        ds = bags.from_sequence(records, npartitions=3)
    elif kind == "pairs":
        ds = bags.from_sequence(symbols, npartitions=3)
    elif kind == "delayed":
        ds = [dask.delayed(records[:7]), dask.delayed(frame(symbols[7:]))]
    result = warpquant.ext.dask.map_symbols(ds, outputs=OUTPUTS, last_only=last_only, batch_size=2)
    found = result.compute(scheduler="synchronous")
    assert found.dtypes.to_dict() == result.dtypes.to_dict() or kind == "delayed"
    assert found["symbol"].tolist() == [name for name, _ in symbols]
    if kind == "frame":
        assert found.index.tolist() == list(range(100, 100 + len(symbols)))
    check_rows(list(found[["symbol", *OUTPUTS, "error"]].itertuples(index=False, name=None)), symbols, last_only)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # in Dask's reading
def test_arrow_lists_in_a_frame(tmp_path):
    pa, frames = pytest.importorskip("pyarrow"), pytest.importorskip("dask.dataframe")

    symbols = {name: x for name, x in panel(9, 120).items() if len(x)}
    table = pa.table({"symbol": list(symbols), "close": pa.array(list(symbols.values()))})
    pa.parquet.write_table(table, tmp_path / "prices.parquet")
    local = atc.run(symbols)["average"]
    for backend in ({}, {"dtype_backend": "pyarrow"}):
        ds = frames.read_parquet(tmp_path, **backend)
        found = warpquant.ext.dask.map_symbols(ds).compute(scheduler="synchronous")
        assert found["symbol"].tolist() == list(symbols)
        assert all(same(x, local[name]) for name, x in zip(found["symbol"], found["average"], strict=True))


def test_dask_workers_and_their_warning(dask_cluster, tmp_path):
    """A killed worker loses no partition; a worker's warning of small partitions comes to the client."""
    bags = pytest.importorskip("dask.bag")
    symbols = {name: x for name, x in panel(13, 90).items() if len(x)}
    bag = bags.from_sequence(symbols.items(), npartitions=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = warpquant.ext.dask.map_symbols(bag, last_only=True).compute()
        end = time.monotonic() + 5
        while not any(w.category is TooSmallWarning for w in caught) and time.monotonic() < end:
            time.sleep(0.02)
    (text,) = {str(w.message) for w in caught if w.category is TooSmallWarning}
    assert "symbols of" in text
    local = atc.run(symbols, outputs=OUTPUTS, last_only=True)
    assert same(found["average"].to_numpy(), np.array([local["average"][n] for n in found["symbol"]]))

    killer = kill_when_there(tmp_path, "S7")
    found = warpquant.ext.dask.map_symbols(
        bag, tasks.Named(tmp_path, "S7"), meta={"average": "f8", "trend": "i1"}, last_only=True
    ).compute()
    killer.join()
    assert found["symbol"].tolist() == list(symbols)
    assert found["error"].isna().all()
    for output in OUTPUTS:
        assert found[output].dtype == {"average": "f8", "trend": "i1"}[output]
        assert same(found[output], np.array([local[output][name] for name in found["symbol"]], found[output].dtype))
    assert tasks.computations(tmp_path)["S7"] == 2


def test_what_dask_cannot_map():
    frames = pytest.importorskip("dask.dataframe")
    with pytest.raises(DTypeError, match="convert-string"):
        warpquant.ext.dask.map_symbols(frames.from_pandas(frame(list(panel(6, 50).items())), npartitions=1))
    with pytest.raises(ParameterError, match="no column 'price'"):
        warpquant.ext.dask.map_symbols(
            frames.from_pandas(frame([("A", np.arange(3.0))]), npartitions=1), prices="price"
        )
    with pytest.raises(ParameterError, match="num_gpus: 2"):
        warpquant.ext.dask.map_symbols([], num_gpus=2)
    with pytest.raises(ParameterError, match="ds: is empty"):
        warpquant.ext.dask.map_symbols([])
    for ds in (frame([("A", np.arange(3.0))]), ["A"], 3):
        with pytest.raises(ParameterError, match=f"ds: {type(ds).__name__} is no dataframe"):
            warpquant.ext.dask.map_symbols(ds)


def test_the_program_of_the_page(tmp_path):
    """It computes what is missing, and only that."""
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("distributed")

    page = (TESTS.parent / "docs/scale-out.md").read_text(encoding="utf-8")
    code = page.partition("```{code-block} python\n:name: resumable\n")[2].partition("```")[0]
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    prices, results = tmp_path / "prices", tmp_path / "results"
    prices.mkdir()
    symbols = {name: x for name, x in panel(9, 120).items() if len(x)}
    for i, part in enumerate(batches_of(symbols, 3)):
        pa.parquet.write_table(pa.table({"symbol": list(part), "close": list(part.values())}), prices / f"{i}.parquet")
    results.mkdir()
    np.savez(results / "1.npz", symbol=["done"], average=[1.0])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "ignore", str(tmp_path / "program.py"), str(prices), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {int(path.stem): dict(np.load(path)) for path in results.iterdir()}
    assert sorted(found) == [0, 1, 2]
    assert found[1]["symbol"].tolist() == ["done"]
    local = atc.run(symbols, last_only=True)["average"]
    for i in (0, 2):
        assert found[i]["symbol"].tolist() == list(symbols)[3 * i : 3 * i + 3]
        assert same(found[i]["average"], np.array([local[name] for name in found[i]["symbol"]]))
