# SPDX-License-Identifier: Apache-2.0
"""What this installation is and what it can use."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

import numpy as np

from . import _core, _devices, config
from .errors import WarpquantError

__all__ = ["doctor"]

_COMPANIONS = (
    "pandas", "polars", "pyarrow", "xarray", "torch", "jax", "cupy", "typer", "rich", "matplotlib", "duckdb", "ccxt",
    "yfinance",
)  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def doctor() -> dict[str, Any]:
    """Describe the installation: build, processor, devices, settings, companions.

    Nothing here fails for want of a device or a driver; `problems` lists what the user configured and cannot work.

    Returns
    -------
    dict
        ``warpquant``, ``python``, ``numpy``, ``platform``: versions. ``build``: what the core was built from.
        ``cpu``: processors, instruction level in use and best. ``cuda``: driver, runtime, devices, or why there are
        none. ``fallbacks``: how often ``device="auto"`` took the CPU in the place of the device that it had chosen, by
        reason. ``cache``: where results are kept, and why that cannot be used, if so. ``settings``: every setting with
        its value and origin. ``packages``: versions of the libraries that the package works with, None where not
        installed. ``problems``: a list of messages, empty if all is well.

    Examples
    --------
    >>> import warpquant
    >>> warpquant.doctor()["problems"]
    []
    """
    from . import cache

    problems: list[str] = []
    settings: dict[str, dict[str, Any]] = {}
    try:
        settings = {s.key: {"value": s.value, "origin": s.origin} for s in config.show()}
    except WarpquantError as error:
        problems.append(str(error))
    simd = settings.get("simd", {}).get("value", "best")
    effective = _core.effective_simd(simd)
    if simd not in ("best", effective):
        problems.append(f"simd={simd!r} is set, but this machine reaches {effective!r} only, which is used instead")
    device = str(settings.get("device", {}).get("value", "auto"))
    try:
        if device not in ("auto", "cpu"):
            _devices.usable(device)
    except WarpquantError as error:
        problems.append(f"device={device!r} is set, but cannot be used: {error}")
    if device == "auto" and settings.get("fallback", {}).get("value") == "error":
        try:
            _devices.usable("cuda")
        except WarpquantError as error:
            problems.append(f"fallback='error' is set, so calls with device='auto' fail: {error}")
    unusable = ""
    if settings.get("cache.enabled", {}).get("value"):
        unusable = cache.problem()
        if unusable:
            problems.append(f"the cache on disk cannot be used: {unusable}")
    return {
        "warpquant": _core.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "executable": sys.executable,
        "build": _core.build_info(),
        "cpu": {
            "processors": _core.usable_processors(),
            "threads": settings.get("num_threads", {}).get("value") or _core.usable_processors(),
            "simd": effective,
            "best_simd": _core.best_simd(),
        },
        "cuda": _devices.cuda_status(),
        "fallbacks": dict(_devices.fallbacks),
        "buffers": _core.buffer_stats(),
        "cache": {"directory": str(cache._directory()), "problem": unusable} if settings else {},
        "settings": settings,
        "packages": {name: _version(name) for name in _COMPANIONS},
        "problems": problems,
    }
