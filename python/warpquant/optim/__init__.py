# SPDX-License-Identifier: Apache-2.0
"""Optimizers with PyTorch's flags and state, in place on arrays of any kind; clipping of gradients; schedules.

>>> import numpy as np
>>> from warpquant import optim
>>> weights = np.ones((3, 2), np.float32)
>>> adam = optim.AdamW(weights, lr=0.1)
>>> adam.step(weights.copy(), clip_norm=1.0)
>>> weights[0].round(3)
array([0.899, 0.899], dtype=float32)
"""

from __future__ import annotations

from ._base import Optimizer
from ._clip import clip_grad_norm_, clip_grad_value_
from ._quasi_newton import LBFGS, SSBroyden
from ._rules import SGD, Adam, AdamW, RMSprop
from ._schedules import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)

__all__ = [
    "LBFGS",
    "SGD",
    "Adam",
    "AdamW",
    "ConstantLR",
    "CosineAnnealingLR",
    "LinearLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "SSBroyden",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
