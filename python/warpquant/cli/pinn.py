# SPDX-License-Identifier: Apache-2.0
"""`warpquant pinn`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from ._app import As, NoColor, Quiet, Report, app, console_of, exit_codes, print_json, print_pairs, progress_bar, say
from ._input import NumThreads

pinn_app = typer.Typer(no_args_is_help=True, help="Networks that price: train, validate, export, price.")
app.add_typer(pinn_app, name="pinn")

Model = Annotated[str, typer.Argument(help="A model file, or 'european', which comes with the package.")]
_SCHEMA = "warpquant.pinn/1"


def _load(path: str, **how: Any) -> Any:
    from warpquant.pinn import PinnModel

    return PinnModel.load(path, **how)


def _shown(form: Report, no_color: bool, title: str, numbers: dict[str, float]) -> None:
    if form is Report.JSON:
        print_json({"schema": _SCHEMA, **numbers})
    else:
        print_pairs(console_of(no_color), title, [(name, f"{value:.6g}") for name, value in numbers.items()])


@pinn_app.command(epilog="Example: warpquant pinn train european -o european.safetensors --seed 1")
@exit_codes
def train(
    problem: Annotated[str, typer.Argument(help="What to solve: european.")],
    output: Annotated[pathlib.Path, typer.Option("--output", "-o", dir_okay=False, help="Where the model goes.")],
    width: Annotated[list[int] | None, typer.Option(min=1, help="Neurons of a layer. Again for more layers.")] = None,
    activation: Annotated[str, typer.Option(help="tanh, sin, silu, softplus or gelu.")] = "tanh",
    seed: Annotated[int, typer.Option(min=0, help="Of weights and points.")] = 0,
    points: Annotated[int, typer.Option(min=16, help="Where the equation is to hold.")] = 2048,
    adam: Annotated[int, typer.Option(min=0, help="Steps of Adam.")] = 500,
    ssbroyden: Annotated[int, typer.Option(min=0, help="Steps of SSBroyden.")] = 2000,
    lbfgs: Annotated[int, typer.Option(min=0, help="Steps of L-BFGS.")] = 0,
    checkpoint: Annotated[
        pathlib.Path | None, typer.Option(dir_okay=False, help="State of the run; goes on from it if it is there.")
    ] = None,
    log_dir: Annotated[pathlib.Path | None, typer.Option(file_okay=False, help="Folder for event files.")] = None,
    num_threads: NumThreads = None,
    quiet: Quiet = False,
    form: As = Report.TABLE,
    no_color: NoColor = False,
) -> None:
    """Train a network, and show its errors on the fixed grid."""
    from warpquant.pinn import PinnTrainer

    trainer = PinnTrainer(problem, width or (20, 20, 20), activation=activation, seed=seed, num_threads=num_threads)
    phases = [(name, steps) for name, steps in (("adam", adam), ("ssbroyden", ssbroyden), ("lbfgs", lbfgs)) if steps]
    with progress_bar(console_of(no_color, stderr=True), quiet, "training") as show:
        trainer.fit(
            phases, points=points, checkpoint=checkpoint, log_dir=log_dir, progress=lambda k, total, _: show(k, total)
        )
    model = trainer.model
    model.save(output)
    if not quiet:
        say(f"model in {output}")
    _shown(form, no_color, "Errors, in units of the strike", model.info()["norms"])


@pinn_app.command(epilog="Example: warpquant pinn validate european --format json")
@exit_codes
def validate(model: Model, form: As = Report.TABLE, no_color: NoColor = False) -> None:
    """Errors of a model against the closed form on the fixed grid, and violations of what every price obeys."""
    _shown(form, no_color, "In units of the strike", _load(model).diagnose())


@pinn_app.command(epilog="Example: warpquant pinn export european net.onnx")
@exit_codes
def export(
    model: Model,
    output: Annotated[pathlib.Path, typer.Argument(dir_okay=False, help="net.onnx, or another model file.")],
) -> None:
    """Write the network as ONNX (file names that end with .onnx), or the whole model as safetensors."""
    loaded = _load(model)
    loaded.to_onnx(output) if output.suffix == ".onnx" else loaded.save(output)
    say(f"written to {output}")


@pinn_app.command(epilog="Example: warpquant pinn price european --spot 100 --strike 105 --expiry 0.5 --vol 0.25")
@exit_codes
def price(
    model: Model,
    spot: Annotated[float, typer.Option(help="Price of the underlying.")],
    strike: Annotated[float, typer.Option(help="In the same units.")],
    expiry: Annotated[float, typer.Option(help="Years.")],
    vol: Annotated[float, typer.Option(help="Volatility per year.")],
    rate: Annotated[float, typer.Option(help="Continuously compounded, per year.")] = 0.0,
    dividend: Annotated[float, typer.Option(help="Yield of the underlying.")] = 0.0,
    put: Annotated[bool, typer.Option("--put", help="A put, not a call.")] = False,
    form: As = Report.TABLE,
    no_color: NoColor = False,
) -> None:
    """Price and Greeks of one option; an error outside of what the model was trained on."""
    loaded = _load(model, on_out_of_domain="raise")
    _shown(
        form, no_color, "Price and Greeks", loaded.greeks(spot, strike, expiry, vol, rate, dividend, is_call=not put)
    )
