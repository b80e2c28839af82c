# SPDX-License-Identifier: Apache-2.0
"""A thousand calls on a CUDA device, from the host and on arrays there: memory of the device must not grow."""

from __future__ import annotations

import sys

import numpy as np

import warpquant
from warpquant import atc, bench, equity, ma, signals

CALLS = 1000


def used() -> int:
    """Bytes of the device that are not free."""
    from cupy.cuda import runtime

    free, total = runtime.memGetInfo()
    return int(total - free)


def main() -> None:
    prices = bench.prices(20, 500)
    signal = np.sign(prices - prices.mean())
    there, signal_there = warpquant.to_device(prices), warpquant.to_device(signal)

    def everything() -> None:
        ma.hma(prices, 28, device="cuda")
        ma.hma(there, 28)
        equity.curve(prices=there, signal=signal_there)
        signals.crosses(there, signal_there)
        atc.run(prices, device="cuda")
        atc.run(there)
        ma.ema(np.where(prices > 0, prices, np.nan), 28, device="cuda").sum()

    for _ in range(50):
        everything()
    before = used()
    for _ in range(CALLS):
        everything()
    grown = used() - before
    print(f"after {CALLS} rounds: {grown:,} bytes more of the device in use")
    sys.exit(grown > 0)


if __name__ == "__main__":
    main()
