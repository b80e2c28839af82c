# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from .vanilla import greeks, price

__all__ = ["greeks", "price"]
