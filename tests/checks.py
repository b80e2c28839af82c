# SPDX-License-Identifier: Apache-2.0
"""Series to compute on, and comparisons."""

from __future__ import annotations

import numpy as np

from warpquant import config


def walk(bars, seed=0, volatility=0.01):
    """Prices of a random walk from 100."""
    return 100.0 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, volatility, bars)))


def holes(x, seed=0, share=0.03, lead=3):
    """The same with missing bars: `lead` at the start, a run of 20 after bar 200, and others at random."""
    x, rng = np.array(x), np.random.default_rng(seed)
    x[rng.random(x.shape) < share] = np.nan
    x[..., :lead] = np.nan
    x[..., 200:220] = np.nan
    return x


def panel(symbols, bars, seed=0, share=0.0):
    """Walks with different starts; with `share` also missing bars."""
    x = np.stack([walk(bars, seed + i) * (1 + i) for i in range(symbols)]) if symbols else np.empty((0, bars))
    if share:
        for i, row in enumerate(x):
            row[:] = holes(row, seed + i, share, lead=5 * i % 37)
    return x


def same_bits(got, want, label=""):
    """Equal down to the sign of zero; one NaN is as good as another."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype, f"{label}: {got.dtype} for {want.dtype}"
    assert got.shape == want.shape, f"{label}: shape {got.shape} for {want.shape}"
    same = (got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)
    if not same.all():
        at = tuple(int(i) for i in np.argwhere(~same)[0])
        raise AssertionError(f"{label}: {(~same).sum()} differ, first at {at}: {got[at]!r} for {want[at]!r}")


def near(got, want, tolerance, scale=None, label=""):
    """Missing at the same places, elsewhere within `tolerance` of `scale`, which is the wanted value by default."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    assert got.shape == want.shape, f"{label}: shape {got.shape} for {want.shape}"
    missing = np.isnan(want)
    wrong = np.isnan(got) != missing
    if not wrong.any():
        with np.errstate(invalid="ignore"):
            wrong = abs(got - want) > tolerance * abs(want if scale is None else scale)
        wrong &= got != want
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{label}: {wrong.sum()} of {wrong.size} differ, first at {at}: {got[at]!r} for {want[at]!r}"
        )


def executions(simd_levels):
    """One execution after the other: every instruction level with one thread, then 2, 4 and 8 threads."""
    for simd, threads in [*((level, 1) for level in simd_levels), *((simd_levels[-1], n) for n in (2, 4, 8))]:
        with config.override(simd=simd, num_threads=threads):
            yield f"{simd}, {threads} threads"


def misaligned(shape, offset):
    """A writable float64 array that begins `offset` bytes behind a line of the cache."""
    size = 8 * int(np.prod(shape))
    memory = np.empty(size + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    return memory[begin : begin + size].view(np.float64).reshape(shape)
