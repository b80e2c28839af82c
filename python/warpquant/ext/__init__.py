# SPDX-License-Identifier: Apache-2.0
"""Adapters to engines that spread work over processes and machines: `warpquant.ext.ray` and `warpquant.ext.dask`.

Both give the bits of a local run. Neither engine is imported before it is used. docs/scale-out.md says when it pays.
"""

from . import dask, ray

__all__ = ["dask", "ray"]
