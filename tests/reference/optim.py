# SPDX-License-Identifier: Apache-2.0
"""Optimizers written down from their definitions, one array at a time, in the type of the parameters."""

from __future__ import annotations

import numpy as np


def sgd(p, grads, *, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    buffer = None
    for g in grads:
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def adam(
    p, grads, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, maximize=False,
    decoupled_weight_decay=False,
):  # fmt: skip
    mean = square = largest = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = -g if maximize else g
        if decoupled_weight_decay:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        mean = betas[0] * mean + (1 - betas[0]) * g
        square = betas[1] * square + (1 - betas[1]) * g * g
        largest = np.maximum(largest, square)
        used = largest if amsgrad else square
        p = p - lr / (1 - betas[0] ** t) * mean / (np.sqrt(used) / np.sqrt(1 - betas[1] ** t) + eps)
    return p


def adamw(p, grads, *, weight_decay=0.01, **flags):
    return adam(p, grads, weight_decay=weight_decay, decoupled_weight_decay=True, **flags)


def rmsprop(p, grads, *, lr, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, maximize=False):
    square = average = buffer = np.zeros_like(p)
    for g in grads:
        g = (-g if maximize else g) + weight_decay * p
        square = alpha * square + (1 - alpha) * g * g
        average = alpha * average + (1 - alpha) * g
        root = np.sqrt(np.maximum(square - average**2, 0) if centered else square) + eps
        if momentum:
            buffer = momentum * buffer + g / root
            p = p - lr * buffer
        else:
            p = p - lr * g / root
    return p


def ssbroyden(inverse, s, y, g, t):
    """The new inverse Hessian after a step s = -t H g, by the formulas as published, matrix by matrix."""
    sy, hy = s @ y, inverse @ y
    n = len(s)
    b, h = -t * (s @ g) / sy, (y @ hy) / sy
    a = b * h - 1
    c = np.sqrt(a / (1 + a))
    r = min(1.0, h * (1 - c))
    theta = max((r - 1) / a, min(1 / r, (1 - b) / b))
    sigma = 1 + a * theta
    power = sigma ** (-1 / (n - 1))
    tau = r * min(power, 1 / theta) if theta > 0 else r * power
    phi = (1 - theta) / sigma
    w = np.sqrt(y @ hy) * (s / sy - hy / (y @ hy))
    return (inverse - np.outer(hy, hy) / (y @ hy) + phi * np.outer(w, w)) / tau + np.outer(s, s) / sy


REFERENCE = {"SGD": sgd, "Adam": adam, "AdamW": adamw, "RMSprop": rmsprop}
