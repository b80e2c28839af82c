# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from . import random
from ._hedge import Hedge
from ._limits import Alert, Limit
from ._portfolio_report import PortfolioReport
from .american import american
from .chain import Chain, read_chain
from .derivatives import complex_normal_cdf, differentiate
from .frames import price_dataframe, scale
from .grid import finite_difference
from .implied import IV_STATUS, implied_vol
from .lattice import lattice
from .monte_carlo import asian_mc, barrier_mc, basket_mc, digital_mc, european_mc, local_vol_mc
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
    "asian_mc",
    "barrier_mc",
    "basket_mc",
    "complex_normal_cdf",
    "differentiate",
    "digital_mc",
    "european_mc",
    "finite_difference",
    "greeks",
    "implied_vol",
    "lattice",
    "local_vol_mc",
    "price",
    "price_dataframe",
    "random",
    "read_chain",
    "scale",
]
