# SPDX-License-Identifier: Apache-2.0
"""`warpquant tune`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from ._app import As, Report, app, exit_codes, print_json


@app.command(epilog="Example: warpquant tune --device cuda:0")
@exit_codes
def tune(
    device: Annotated[str, typer.Option(help="The device to measure besides the CPU: cuda or cuda:N.")] = "cuda",
    form: As = Report.TABLE,
) -> None:
    """Measure this machine, so that device='auto' decides by its own rates."""
    from warpquant.tune import tune as measure

    rates, about, path = measure(device)
    if form is Report.JSON:
        found = {"device": about, "path": str(path), "rates": dataclasses.asdict(rates)}
        print_json({"schema": "warpquant.tune/1", **found})
    else:
        for name, value in dataclasses.asdict(rates).items():
            print(f"{name:18} {value}")
        print(f"{'device':18} {about}\nwritten to {path}")
