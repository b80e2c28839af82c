# SPDX-License-Identifier: Apache-2.0
"""`warpquant config`."""

from __future__ import annotations

import dataclasses

import typer
from rich.table import Table
from rich.text import Text

from warpquant import config

from ._app import As, NoColor, Report, app, console_of, exit_codes, print_json, setting_text

config_app = typer.Typer(no_args_is_help=True, help="Settings of this installation.")
app.add_typer(config_app, name="config")


@config_app.command(epilog="Example: warpquant config show --format json")
@exit_codes
def show(form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Show every setting, its value and where that comes from."""
    settings = config.show()
    if form is Report.JSON:
        print_json({"schema": "warpquant.config/1", "settings": [dataclasses.asdict(s) for s in settings]})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("Setting", "Value", "Origin"):
        table.add_column(name, no_wrap=True)
    for s in settings:
        table.add_row(s.key, setting_text(s.key, s.value), Text(s.origin))
    console_of(no_color).print(table)
