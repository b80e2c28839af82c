# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from ._hedge import Hedge
from ._limits import Alert, Limit
from ._portfolio_report import PortfolioReport
from .asian import asian
from .barrier import barrier, double_barrier
from .chain import Chain, read_chain
from .digital import digital
from .fourier import heston
from .frames import price_dataframe, scale
from .implied import IV_STATUS, implied_vol
from .jumps import merton_jump
from .lookback import lookback
from .multi import basket, chooser, compound, correlation_option, exchange, quanto, spread
from .portfolio import Attribution, Portfolio, ScenarioGrid
from .vanilla import greeks, price

__all__ = [
    "IV_STATUS",
    "Alert",
    "Attribution",
    "Chain",
    "Hedge",
    "Limit",
    "Portfolio",
    "PortfolioReport",
    "ScenarioGrid",
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
    "implied_vol",
    "lookback",
    "merton_jump",
    "price",
    "price_dataframe",
    "quanto",
    "read_chain",
    "scale",
    "spread",
]
