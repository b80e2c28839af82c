# SPDX-License-Identifier: Apache-2.0
"""Options: prices, Greeks, implied volatility (docs/options)."""

from .american import american
from .grid import finite_difference
from .lattice import lattice
from .vanilla import greeks, price

__all__ = ["american", "finite_difference", "greeks", "lattice", "price"]
