# SPDX-License-Identifier: Apache-2.0
"""Total variance of prices, and its slopes from theirs: Black's formula turned around."""

from __future__ import annotations

import numpy as np

from warpquant import options

from .fits import Floats


def of_price(k: Floats, price: Floats) -> Floats:
    """Total variance of out-of-the-money prices in units of the discounted forward: puts below k = 0, calls above.

    NaN where there is none.
    """
    one = np.ones_like(k)
    found, status = options.implied_vol(
        price, one, np.exp(k), one, 0.0, 0.0, k >= 0, model="black76", return_status=True
    )  # fmt: skip
    return np.asarray(np.square(np.where(status == 0, found, np.nan)))


def slopes(k: Floats, w: Floats, tail: Floats, density: Floats) -> tuple[Floats, Floats, Floats]:
    """dw/dk, d2w/dk2 and g.

    Parameters
    ----------
    k, w : ndarray
        ln(strike / forward) and total variance.
    tail : ndarray
        The chance of ending below the strike where k < 0, above it elsewhere.
    density : ndarray
        Of ln(price / forward).
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        root = np.sqrt(w)
        d1 = -k / root + 0.5 * root
        normal = np.exp(-0.5 * d1 * d1) / np.sqrt(2.0 * np.pi)  # of d2 it is e^-k times this
        black = options.greeks(
            np.ones_like(k), np.exp(k), np.ones_like(k), 0.0, 0.0, root, k >= 0, model="black76",
            outputs="dual_delta",
        )["dual_delta"]  # fmt: skip
        away = np.where(k < 0, tail - black, -black - tail)
        dw = np.exp(k) * away * 2.0 * root / normal
        g = density * root * np.exp(k) / normal
        lean = 1.0 - 0.5 * k * dw / w
        d2w = 2.0 * (g - lean * lean + 0.25 * dw * dw * (1.0 / w + 0.25))
    return dw, d2w, g
