# SPDX-License-Identifier: Apache-2.0
"""Textbook loops compiled by numba: what a careful user writes in an afternoon, and in most cells the fastest peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import numba
except ImportError:
    numba = None


def _sma(x, n, out):
    total = 0.0
    for i in range(n):
        total += x[i]
        out[i] = np.nan
    out[n - 1] = total / n
    for i in range(n, len(x)):
        total += x[i] - x[i - n]
        out[i] = total / n


def _smooth(x, n, alpha, out):
    total = 0.0
    for i in range(n):
        total += x[i]
        out[i] = np.nan
    value = total / n
    out[n - 1] = value
    for i in range(n, len(x)):
        value += alpha * (x[i] - value)
        out[i] = value


def _wma(x, n, out):
    total = 0.0
    weighted = 0.0
    for i in range(n):
        total += x[i]
        weighted += (i + 1) * x[i]
        out[i] = np.nan
    scale = 2.0 / (n * (n + 1.0))
    out[n - 1] = weighted * scale
    for i in range(n, len(x)):
        weighted += n * x[i] - total
        total += x[i] - x[i - n]
        out[i] = weighted * scale


def _lsma(x, n, out):
    total = 0.0
    weighted = 0.0
    for i in range(n):
        total += x[i]
        weighted += (i + 1) * x[i]
        out[i] = np.nan
    scale = 6.0 / (n * (n + 1.0))
    two = 2.0 / n
    out[n - 1] = weighted * scale - total * two
    for i in range(n, len(x)):
        weighted += n * x[i] - total
        total += x[i] - x[i - n]
        out[i] = weighted * scale - total * two


def _hma(x, n, out):
    half = n // 2
    root = int(np.sqrt(n))
    first = n - 1 + root - 1
    ring = np.zeros(root)
    t1 = w1 = t2 = w2 = t3 = w3 = 0.0
    s1 = 2.0 / (n * (n + 1.0))
    s2 = 2.0 / (half * (half + 1.0))
    s3 = 2.0 / (root * (root + 1.0))
    for i in range(n):
        t1 += x[i]
        w1 += (i + 1) * x[i]
    for i in range(n - half, n):
        t2 += x[i]
        w2 += (i - (n - half) + 1) * x[i]
    for i in range(first):
        out[i] = np.nan
    place = 0
    for i in range(n - 1, len(x)):
        if i >= n:
            w1 += n * x[i] - t1
            t1 += x[i] - x[i - n]
            w2 += half * x[i] - t2
            t2 += x[i] - x[i - half]
        d = 2.0 * w2 * s2 - w1 * s1
        w3 += root * d - t3
        t3 += d - ring[place]
        ring[place] = d
        place = place + 1 if place + 1 < root else 0
        if i == n - 1 + root - 1:
            # the first full window, summed afresh: the sliding sums above saw a window that was still filling
            w3 = 0.0
            for k in range(root):
                w3 += (k + 1) * ring[(place + k) % root]
        if i >= first:
            out[i] = w3 * s3


def _dema(x, n, out):
    alpha = 2.0 / (n + 1.0)
    total = 0.0
    for i in range(n):
        total += x[i]
    e1 = total / n
    total = e1
    for i in range(min(2 * n - 2, len(x))):
        out[i] = np.nan
    for i in range(n, min(2 * n - 1, len(x))):
        e1 += alpha * (x[i] - e1)
        total += e1
    e2 = total / n
    if len(x) > 2 * n - 2:
        out[2 * n - 2] = 2.0 * e1 - e2
    for i in range(2 * n - 1, len(x)):
        e1 += alpha * (x[i] - e1)
        e2 += alpha * (e1 - e2)
        out[i] = 2.0 * e1 - e2


def _tema(x, n, out):
    alpha = 2.0 / (n + 1.0)
    e1 = e2 = e3 = 0.0
    t2 = t3 = 0.0
    for i in range(n):
        e1 += x[i] / n
    t2 = e1
    for i in range(min(3 * n - 3, len(x))):
        out[i] = np.nan
    for i in range(n, min(2 * n - 1, len(x))):
        e1 += alpha * (x[i] - e1)
        t2 += e1
    e2 = t2 / n
    t3 = e2
    for i in range(2 * n - 1, min(3 * n - 2, len(x))):
        e1 += alpha * (x[i] - e1)
        e2 += alpha * (e1 - e2)
        t3 += e2
    e3 = t3 / n
    if len(x) > 3 * n - 3:
        out[3 * n - 3] = 3.0 * e1 - 3.0 * e2 + e3
    for i in range(3 * n - 2, len(x)):
        e1 += alpha * (x[i] - e1)
        e2 += alpha * (e1 - e2)
        e3 += alpha * (e2 - e3)
        out[i] = 3.0 * e1 - 3.0 * e2 + e3


def _kama(x, n, out):
    slow = 2.0 / 31.0
    span = 2.0 / 3.0 - slow
    noise = 0.0
    for i in range(min(n, len(x))):
        out[i] = np.nan
        if i > 0:
            noise += abs(x[i] - x[i - 1])
    value = x[n - 1]
    for i in range(n, len(x)):
        noise += abs(x[i] - x[i - 1])
        if i > n:
            noise -= abs(x[i - n] - x[i - n - 1])
        change = abs(x[i] - x[i - n])
        efficiency = 1.0 if noise <= change or noise == 0.0 else change / noise
        c = efficiency * span + slow
        value += c * c * (x[i] - value)
        out[i] = value


def _roc(x, n, out):
    for i in range(n):
        out[i] = np.nan
    for i in range(n, len(x)):
        out[i] = (x[i] / x[i - n] - 1.0) * 100.0


class Numba:
    """The loops above for one series, and over the rows of a panel with `prange`."""

    name = "numba"

    def __init__(self) -> None:
        self._jit = numba.njit(nogil=True)
        smooth = self._jit(_smooth)
        jit = self._jit
        self._series = {k: jit(f) for k, f in dict(sma=_sma, wma=_wma, hma=_hma, lsma=_lsma, dema=_dema, tema=_tema,
                                                   kama=_kama, roc=_roc).items()}  # fmt: skip
        self._series["ema"] = jit(lambda x, n, out: smooth(x, n, 2.0 / (n + 1.0), out))
        self._series["rma"] = jit(lambda x, n, out: smooth(x, n, 1.0 / n, out))
        self._panels = {kind: self._over_rows(f) for kind, f in self._series.items()}

    @staticmethod
    def _over_rows(f: Callable[..., Any]) -> Callable[..., Any]:
        @numba.njit(parallel=True)
        def rows(x, n, out):
            for i in numba.prange(x.shape[0]):
                f(x[i], n, out[i])

        return rows

    def one(self, kind: str, x: Any, length: int) -> Callable[[], Any] | None:
        call = self._series.get(kind)
        if call is None:
            return None
        out = np.empty_like(x)

        def run() -> Any:
            call(x, length, out)
            return out

        return run

    def panel(self, kind: str, x: Any, length: int, threads: int) -> Callable[[], Any] | None:
        call = self._panels.get(kind)
        if call is None or threads > numba.config.NUMBA_NUM_THREADS:
            return None
        out = np.empty_like(x)

        def run() -> Any:
            numba.set_num_threads(threads)
            call(x, length, out)
            return out

        return run


MAKERS = (lambda: Numba() if numba is not None else None,)
