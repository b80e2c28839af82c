# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from .asian import asian
from .barrier import barrier, double_barrier
from .digital import digital
from .fourier import heston
from .jumps import merton_jump
from .lookback import lookback
from .multi import basket, chooser, compound, correlation_option, exchange, quanto, spread
from .vanilla import greeks, price

__all__ = [
    "asian",
    "barrier",
    "basket",
    "chooser",
    "compound",
    "correlation_option",
    "digital",
    "double_barrier",
    "exchange",
    "greeks",
    "heston",
    "lookback",
    "merton_jump",
    "price",
    "quanto",
    "spread",
]
