# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from .implied import IV_STATUS, implied_vol
from .vanilla import greeks, price

__all__ = ["IV_STATUS", "greeks", "implied_vol", "price"]
