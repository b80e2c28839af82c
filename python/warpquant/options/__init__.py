# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from ._hedge import Hedge
from ._limits import Alert, Limit
from ._portfolio_report import PortfolioReport
from .american import american
from .chain import Chain, read_chain
from .frames import price_dataframe, scale
from .grid import finite_difference
from .implied import IV_STATUS, implied_vol
from .lattice import lattice
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
    "finite_difference",
    "greeks",
    "implied_vol",
    "lattice",
    "price",
    "price_dataframe",
    "read_chain",
    "scale",
]
