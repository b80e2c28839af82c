# SPDX-License-Identifier: Apache-2.0
"""Networks that solve pricing equations: prices, Greeks, training (docs/pinn)."""

from .model import Feature, PinnModel
from .problems import European, LinearPde, Problem
from .training import PinnTrainer, residual_loss_grad

__all__ = ["European", "Feature", "LinearPde", "PinnModel", "PinnTrainer", "Problem", "residual_loss_grad"]
