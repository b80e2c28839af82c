# SPDX-License-Identifier: Apache-2.0
"""`warpquant doctor`."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console

from warpquant._doctor import doctor as examine

from ._app import As, Code, NoColor, Report, app, console_of, exit_codes, print_json, print_pairs, setting_text


@app.command(epilog="Example: warpquant doctor --format json")
@exit_codes
def doctor(form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Describe this installation and what it can use.

    The exit code is 0 unless something that is configured cannot work.
    """
    report = examine()
    if form is Report.JSON:
        print_json({"schema": "warpquant.doctor/1", **report})
    else:
        _print_report(console_of(no_color), report)
    if report["problems"]:
        raise typer.Exit(Code.FAILED)


def _print_report(console: Console, report: dict[str, Any]) -> None:
    cpu, cuda, build = report["cpu"], report["cuda"], report["build"]
    versions = [(name, str(report[name])) for name in ("warpquant", "python", "numpy", "platform", "executable")]
    print_pairs(console, "Installation", [*versions, *((k, _listed(v)) for k, v in build.items() if k != "version")])
    simd = cpu["simd"] if cpu["simd"] == cpu["best_simd"] else f"{cpu['simd']} (the processor has {cpu['best_simd']})"
    print_pairs(
        console, "Processor",
        [("processors", str(cpu["processors"])), ("threads of a call", str(cpu["threads"])), ("instructions", simd)],
    )  # fmt: skip
    lines = [("usable", "no: " + cuda["message"] if cuda.get("message") else "yes")]
    lines += [(k, _listed(v)) for k, v in cuda.items() if k not in ("message", "devices", "built")]
    for number, device in enumerate(cuda["devices"]):
        lines += [(f"cuda:{number} {k}", _listed(v)) for k, v in device.items()]
    print_pairs(console, "CUDA", lines)
    if report["cache"]:
        cache = report["cache"]
        print_pairs(console, "Cache", [("directory", cache["directory"]), ("usable", cache["problem"] or "yes")])
    print_pairs(
        console, "Settings",
        [(key, setting_text(key, s["value"]), s["origin"]) for key, s in report["settings"].items()],
    )  # fmt: skip
    print_pairs(console, "Packages", [(k, v or "not installed") for k, v in report["packages"].items()])
    if report["problems"]:
        print_pairs(console, "[red]Problems[/red]", [(text,) for text in report["problems"]])
    else:
        console.print("[bold]No problems found.[/bold]")


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
