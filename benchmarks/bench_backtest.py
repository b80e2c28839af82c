# SPDX-License-Identifier: Apache-2.0
"""Backtests with all metrics: many signals of one price, a panel, 50,000 sets of ATC from the prices on."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from common import Benchmark, compared
from warpquant import atc, backtest, bench
from warpquant.backtest import Costs, Rules

try:
    import numba
except ImportError:
    numba = None

RULES, COSTS = Rules(side="long"), Costs(fee=0.0005)
YEAR, TAIL = 252.0, 0.05
#: Metrics that every peer has.
COMMON = ("total_return", "sharpe", "sortino", "max_drawdown", "var", "cvar", "hit_rate", "profit_factor")


def account(price: Any, signal: Any, fee: float, returns: Any, out: Any) -> None:
    """What a careful user writes: one pass, then moments and a partition for the tail."""
    n = len(price)
    equity, peak, worst, under, longest = 1.0, 1.0, 0.0, 0, 0
    units, is_long, entry, trades, won, profit, loss, traded, held = 0.0, False, 0.0, 0, 0, 0.0, 0.0, 0.0, 0
    cash, total = 1.0, 0.0
    for i in range(n):
        before = equity
        equity = cash + units * price[i]
        held += units != 0.0
        s = signal[i]
        wants = s > 0.1 or (is_long and s >= 0.0)
        if wants and not is_long:
            entry = equity
            units = equity / (1.0 + fee) / price[i]
            traded += 1.0 / (1.0 + fee)
            equity = units * price[i]
            cash = 0.0
            trades += 1
        elif is_long and not wants:
            traded += 1.0
            equity = cash = equity * (1.0 - fee)
            units = 0.0
            gain = equity - entry
            won += gain > 0.0
            profit += max(gain, 0.0)
            loss += max(-gain, 0.0)
        is_long = wants
        returns[i] = equity / before - 1.0
        total += returns[i]
        peak = max(peak, equity)
        worst = min(worst, equity / peak - 1.0)
        under = under + 1 if equity < peak else 0
        longest = max(longest, under)
    if is_long:
        gain = equity - entry
        won += gain > 0.0
        profit += max(gain, 0.0)
        loss += max(-gain, 0.0)
    mean = total / n
    m2 = m3 = m4 = down = 0.0
    for i in range(n):
        d = returns[i] - mean
        m2 += d * d
        m3 += d * d * d
        m4 += d * d * d * d
        down += min(returns[i], 0.0) ** 2
    rank = (n - 1) * 0.05
    k = int(rank)
    lowest = np.sort(np.partition(returns, k + 1)[: k + 2])
    annual = equity ** (252.0 / n) - 1.0
    out[0] = equity - 1.0
    out[1] = mean / math.sqrt(m2 / (n - 1)) * math.sqrt(252.0) if m2 > 0.0 else np.nan
    out[2] = mean / math.sqrt(down / n) * math.sqrt(252.0) if down > 0.0 else np.nan
    out[3] = worst
    out[4] = lowest[k] + (lowest[k + 1] - lowest[k]) * (rank - k)
    out[5] = lowest[: k + 1].mean()
    out[6] = won / trades if trades else np.nan
    out[7] = profit / loss if loss > 0.0 else np.nan
    out[8] = annual
    out[9] = math.sqrt(m2 / (n - 1) * 252.0)
    out[10] = longest
    out[11] = annual / -worst if worst < 0.0 else np.nan
    out[12] = trades
    out[13] = traded * 252.0 / n
    out[14] = held / n
    out[15] = m3 / n / (m2 / n) ** 1.5 if m2 > 0.0 else np.nan
    out[16] = m4 / n / (m2 / n) ** 2 if m2 > 0.0 else np.nan


def numba_loops() -> Any:
    """The loop over all signals, with one thread and with all of them."""
    one = numba.njit(nogil=True)(account)

    def over(price: Any, signal: Any, fee: float, out: Any) -> None:
        for k in numba.prange(len(signal)):
            one(price, signal[k], fee, np.empty(len(price)), out[k])

    return {1: numba.njit(nogil=True)(over), 2: numba.njit(nogil=True, parallel=True)(over)}


def with_numpy(price: Any, signal: Any, fee: float) -> dict[str, Any]:
    """Matrices of all bars at once. A position kept between two levels is filled forward."""
    marks = np.where(signal > 0.1, 1.0, np.where(signal >= 0.0, np.nan, 0.0))
    marks[:, 0] = np.nan_to_num(marks[:, 0])
    last = np.maximum.accumulate(np.where(np.isnan(marks), 0, np.arange(marks.shape[1])), axis=1)
    position = np.take_along_axis(marks, last, axis=1)
    change = np.diff(position, axis=1, prepend=0.0)
    cost = np.where(change > 0, 1.0 / (1.0 + fee), np.where(change < 0, 1.0 - fee, 1.0))
    moved = np.zeros_like(signal)
    moved[:, 1:] = position[:, :-1] * (price[1:] / price[:-1] - 1.0)
    returns = (1.0 + moved) * cost - 1.0
    equity = np.cumprod(1.0 + returns, axis=1)
    drawdown = equity / np.maximum(np.maximum.accumulate(equity, axis=1), 1.0) - 1.0
    k = int((returns.shape[1] - 1) * TAIL)
    ordered = np.partition(returns, [k, k + 1], axis=1)
    mean, n = returns.mean(axis=1), returns.shape[1]
    with np.errstate(all="ignore"):
        return {
            "total_return": equity[:, -1] - 1.0,
            "sharpe": mean / returns.std(axis=1, ddof=1) * math.sqrt(YEAR),
            "sortino": mean / np.sqrt((np.minimum(returns, 0.0) ** 2).sum(axis=1) / n) * math.sqrt(YEAR),
            "max_drawdown": drawdown.min(axis=1),
            "var": np.quantile(returns, TAIL, axis=1),
            "cvar": ordered[:, : k + 1].mean(axis=1),
        }


def with_vectorbt(vbt: Any, price: Any, signal: Any, fee: float) -> dict[str, Any]:
    made = vbt.Portfolio.from_signals(price[:, None], signal.T > 0.1, signal.T < 0.0, fees=fee, init_cash=1.0, freq="D")
    returns = made.returns_acc(year_freq="252D")
    return {
        "total_return": made.total_return().to_numpy(),
        "sharpe": returns.sharpe_ratio().to_numpy(),
        "sortino": returns.sortino_ratio().to_numpy(),
        "max_drawdown": made.max_drawdown().to_numpy(),
        "var": returns.value_at_risk().to_numpy(),
        "cvar": returns.cond_value_at_risk().to_numpy(),
        "hit_rate": made.trades.win_rate().to_numpy(),
        "profit_factor": made.trades.profit_factor().to_numpy(),
    }


def sets_of_parameters(count: int) -> list[atc.Params]:
    """`count` different sets: lengths of two families, rate and decay."""
    grid = itertools.product(range(20, 30), range(20, 30), np.linspace(0.0, 0.05, 25), np.linspace(0.0, 0.1, 20))
    some = itertools.islice(grid, count)
    return [atc.Params(ema_len=a, kama_len=b, La=float(la), De=float(de)) for a, b, la, de in some]


def averages(price: Any, sets: list[atc.Params], threads: int) -> Any:
    return np.stack([result["average"] for result in atc.run(price, sets, num_threads=threads)])


def sweep(price: Any, sets: list[atc.Params], chunk: int, threads: int) -> Iterator[tuple[float, float, Any]]:
    """Seconds of ATC and of backtests, and the Sharpe ratios, of one chunk after the other."""
    for from_set in range(0, len(sets), chunk):
        begin = time.perf_counter()
        signal = averages(price, sets[from_set : from_set + chunk], threads)
        between = time.perf_counter()
        found = backtest.metrics(price, signal, rules=RULES, costs=COSTS, num_threads=threads)
        yield between - begin, time.perf_counter() - between, found["sharpe"]


def main() -> None:
    run = Benchmark("backtest", __doc__)
    try:
        if run.smoke:
            raise ImportError  # compiling it takes a minute
        import vectorbt as vbt
    except ImportError:
        vbt = None
    loops = numba_loops() if numba else {}
    bars, count = (300, 9) if run.smoke else (5000, 256)
    price = bench.prices(1, bars)[0]
    signal = averages(price, sets_of_parameters(50_000)[:: 50_000 // count][:count], 2)
    ours = backtest.metrics(price, signal, rules=RULES, costs=COSTS)
    out = np.empty((len(signal), len(backtest.METRICS)))

    def check(name: str, theirs: dict[str, Any]) -> None:
        for metric, values in theirs.items():
            np.testing.assert_allclose(ours[metric], values, rtol=1e-6, atol=1e-9, err_msg=f"{name}: {metric}")

    print(f"{'all metrics':44}{'copy':>7}{'ours':>8}   peer, ns per bar and signal")
    for threads in (1, 2):
        cases = {
            "warpquant": lambda: backtest.metrics(price, signal, rules=RULES, costs=COSTS, num_threads=threads),
            "warpquant, without the tail": lambda: backtest.metrics(
                price, signal, rules=RULES, costs=COSTS, num_threads=threads,
                outputs=[m for m in backtest.METRICS if m not in ("var", "cvar")],
            ),
            "warpquant, total return alone": lambda: backtest.metrics(
                price, signal, rules=RULES, costs=COSTS, num_threads=threads, outputs=["total_return"]
            ),
            "warpquant, every bar kept": lambda: backtest.run(
                price, signal, rules=RULES, costs=COSTS, num_threads=threads
            ),
        }  # fmt: skip
        if loops:
            loops[threads](price, signal, COSTS.fee, out)
            check("numba", {name: out[:, i] for i, name in enumerate(COMMON) if name != "profit_factor"})
            cases["numba"] = lambda: loops[threads](price, signal, COSTS.fee, out)
        if threads == 1:
            check("NumPy", with_numpy(price, signal, COSTS.fee))
            cases["NumPy, six metrics"] = lambda: with_numpy(price, signal, COSTS.fee)
            if vbt:
                check("vectorbt", with_vectorbt(vbt, price, signal, COSTS.fee))
                cases["vectorbt, eight metrics"] = lambda: with_vectorbt(vbt, price, signal, COSTS.fee)
        ns = run.measure(
            signal.size, cases, case="signals of one price", series=len(signal), bars=bars, threads=threads
        )
        head = f"{len(signal)} signals of one price, {threads} thread(s)"
        print(f"{head:44}{ns['copy']:7.2f}{ns['warpquant']:8.2f}{compared(ns)}")
        for name, value in ns.items():
            if name not in ("copy", "warpquant"):
                print(f"  {name:42}{'':7}{value:8.2f}   {value / ns['warpquant']:.1f} times ours", flush=True)

    symbols, length = (3, 200) if run.smoke else (1000, 2000)
    panel = bench.prices(symbols, length)
    positions = np.sign(bench.prices(symbols, length, seed=1) - 100.0)
    few = positions.astype(np.int8)
    for threads in (1, 2):
        rules = Rules(signal="direction")
        cases = {
            "warpquant": lambda: backtest.metrics(panel, positions, rules=rules, costs=COSTS, num_threads=threads),
            "warpquant, int8": lambda: backtest.metrics(panel, few, rules=rules, costs=COSTS, num_threads=threads),
        }
        ns = run.measure(panel.size, cases, case="panel", series=symbols, bars=length, threads=threads)
        head = f"{symbols:,} x {length:,}, {threads} thread(s)"
        print(f"{head:44}{ns['copy']:7.2f}{ns['warpquant']:8.2f}   int8 {ns['warpquant, int8']:.2f}", flush=True)

    whole = 60 if run.smoke else 50_000
    every = sets_of_parameters(whole)
    for threads in (1, 2):
        best = (math.inf, math.inf, math.inf)
        for _ in range(1 if run.smoke else 3):
            begin = time.process_time()
            parts = [(a, b) for a, b, _ in sweep(price, every, 512, threads)]
            used = time.process_time() - begin
            best = min(best, (sum(a for a, _ in parts), sum(b for _, b in parts), used), key=lambda s: s[0] + s[1])
        signals_s, backtest_s, cpu_s = best
        run.note(
            case="sweep", sets=whole, bars=bars, threads=threads, atc_s=signals_s, backtest_s=backtest_s, cpu_s=cpu_s
        )  # fmt: skip
        print(
            f"{whole:,} sets of ATC on {bars:,} bars, {threads} thread(s): {signals_s + backtest_s:.2f} s, "
            f"{signals_s:.2f} s of it signals and {backtest_s:.2f} s backtests; {cpu_s:.2f} s of processors",
            flush=True,
        )
    run.finish()


if __name__ == "__main__":
    main()
