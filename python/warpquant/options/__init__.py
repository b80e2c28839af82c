# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from . import random
from ._hedge import Hedge
from ._limits import Alert, Limit
from ._portfolio_report import PortfolioReport
from .american import american
from .asian import asian
from .barrier import barrier, double_barrier
from .chain import Chain, read_chain
from .derivatives import complex_normal_cdf, differentiate
from .digital import digital
from .fourier import heston
from .frames import price_dataframe, scale
from .grid import finite_difference
from .implied import IV_STATUS, implied_vol
from .jumps import merton_jump
from .lattice import lattice
from .lookback import lookback
from .monte_carlo import asian_mc, barrier_mc, basket_mc, digital_mc, european_mc, local_vol_mc
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
    "american",
    "asian",
    "asian_mc",
    "barrier",
    "barrier_mc",
    "basket",
    "basket_mc",
    "chooser",
    "complex_normal_cdf",
    "compound",
    "correlation_option",
    "differentiate",
    "digital",
    "digital_mc",
    "double_barrier",
    "european_mc",
    "exchange",
    "finite_difference",
    "greeks",
    "heston",
    "implied_vol",
    "lattice",
    "local_vol_mc",
    "lookback",
    "merton_jump",
    "price",
    "price_dataframe",
    "quanto",
    "random",
    "read_chain",
    "scale",
    "spread",
]
