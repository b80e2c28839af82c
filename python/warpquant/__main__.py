# SPDX-License-Identifier: Apache-2.0
"""Entry point of the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        sys.exit("the command line needs Typer and Rich: pip install 'warpquant[cli]'")
    from .cli import app

    app()


if __name__ == "__main__":
    main()
