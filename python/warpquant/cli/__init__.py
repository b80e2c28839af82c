# SPDX-License-Identifier: Apache-2.0
"""The command line, one module for each command.

Data goes to stdout, progress and messages to stderr. What the commands do is in the modules of the package; here is
only how it is asked for and shown.
"""

from . import scan, report, watch, optimize, iv, greeks, surface, pinn, cache, bench, tune, doctor, config  # noqa: F401, I001  (the order of the help)
from ._app import Code, app

__all__ = ["Code", "app"]
