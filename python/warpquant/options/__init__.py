# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from . import random
from .derivatives import complex_normal_cdf, differentiate
from .monte_carlo import asian_mc, barrier_mc, basket_mc, digital_mc, european_mc, local_vol_mc
from .vanilla import greeks, price

__all__ = [
    "asian_mc",
    "barrier_mc",
    "basket_mc",
    "complex_normal_cdf",
    "differentiate",
    "digital_mc",
    "european_mc",
    "greeks",
    "local_vol_mc",
    "price",
    "random",
]
