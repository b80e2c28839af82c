# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from ._hedge import Hedge
from ._limits import Alert, Limit
from ._portfolio_report import PortfolioReport
from .chain import Chain, read_chain
from .frames import price_dataframe, scale
from .implied import IV_STATUS, implied_vol
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
    "greeks",
    "implied_vol",
    "price",
    "price_dataframe",
    "read_chain",
    "scale",
]
