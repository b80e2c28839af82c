# SPDX-License-Identifier: Apache-2.0
"""Networks that solve pricing equations: prices, Greeks, training (docs/pinn)."""

from ._frameworks import jax_loss, torch_loss
from .calibration import Calibration, calibrate, compare, sensitivity
from .model import SHIPPED, Feature, PinnModel
from .problems import European, LinearPde, Problem
from .product_model import ProductModel
from .products import American, Barrier, Exchange, Heston, Merton, Product
from .training import PinnTrainer, residual_loss_grad

__all__ = [
    "SHIPPED",
    "American",
    "Barrier",
    "Calibration",
    "European",
    "Exchange",
    "Feature",
    "Heston",
    "LinearPde",
    "Merton",
    "PinnModel",
    "PinnTrainer",
    "Problem",
    "Product",
    "ProductModel",
    "calibrate",
    "compare",
    "jax_loss",
    "residual_loss_grad",
    "sensitivity",
    "torch_loss",
]
