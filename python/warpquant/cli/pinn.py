# SPDX-License-Identifier: Apache-2.0
"""`warpquant pinn`."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer

from warpquant.errors import ParameterError

from ._app import As, NoColor, Quiet, Report, app, console_of, exit_codes, print_json, print_pairs, progress_bar, say
from ._input import NumThreads

pinn_app = typer.Typer(no_args_is_help=True, help="Networks that price: train, validate, export, price.")
app.add_typer(pinn_app, name="pinn")

Model = Annotated[str, typer.Argument(help="A model file, or the name of a product, whose model the package has.")]
_SCHEMA = "warpquant.pinn/1"


def _load(path: str, **how: Any) -> Any:
    """A model of prices."""
    from warpquant.pinn import PinnModel

    loaded = PinnModel.load(path, **how)
    if loaded.features is None:
        raise ParameterError(f"{path}: is the model of an equation of somebody's own, which says nothing of prices")
    return loaded


def _check_output(output: pathlib.Path, hint: str, *suffixes: str) -> None:
    """Whether a file may be written there, before there is work that would be lost."""
    if output.suffix.lower() not in suffixes:
        raise typer.BadParameter(f"{output} does not end with {' or '.join(suffixes)}", param_hint=hint)
    if not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is no folder", param_hint=hint)


def _shown(form: Report, no_color: bool, title: str, numbers: dict[str, float]) -> None:
    if form is Report.JSON:
        print_json({"schema": _SCHEMA, **numbers})
    else:
        print_pairs(console_of(no_color), title, [(name, f"{value:.6g}") for name, value in numbers.items()])


@pinn_app.command(epilog="Example: warpquant pinn train european -o european.safetensors --seed 1")
@exit_codes
def train(
    problem: Annotated[str, typer.Argument(help="european, american, barrier, exchange, heston or merton.")],
    output: Annotated[
        pathlib.Path, typer.Option("--output", "-o", dir_okay=False, help="Where the model goes: a file .safetensors.")
    ],
    width: Annotated[list[int] | None, typer.Option(min=1, help="Neurons of a layer. Again for more layers.")] = None,
    activation: Annotated[str, typer.Option(help="tanh, sin, silu, softplus or gelu.")] = "tanh",
    seed: Annotated[int, typer.Option(min=0, help="Of weights and points.")] = 0,
    points: Annotated[int | None, typer.Option(min=16, help="Where the equation is to hold.")] = None,
    adam: Annotated[int | None, typer.Option(min=0, help="Steps of Adam.")] = None,
    ssbroyden: Annotated[int | None, typer.Option(min=0, help="Steps of SSBroyden.")] = None,
    lbfgs: Annotated[int | None, typer.Option(min=0, help="Steps of L-BFGS.")] = None,
    lm: Annotated[int | None, typer.Option(min=0, help="Steps of Levenberg-Marquardt.")] = None,
    redraw_every: Annotated[
        int | None, typer.Option(min=0, help="Steps after which some points are drawn anew; 0: never.")
    ] = None,
    checkpoint: Annotated[
        pathlib.Path | None, typer.Option(dir_okay=False, help="State of the run; goes on from it if it is there.")
    ] = None,
    log_dir: Annotated[pathlib.Path | None, typer.Option(file_okay=False, help="Folder for event files.")] = None,
    num_threads: NumThreads = None,
    quiet: Quiet = False,
    form: As = Report.TABLE,
    no_color: NoColor = False,
) -> None:
    """Train a network, and show its errors on the fixed grid.

    Layers, points and steps that are not given are those of the problem's recipe; with steps of one minimiser given,
    the others have none.
    """
    from warpquant.pinn import PinnTrainer

    _check_output(output, "--output", ".safetensors")
    if checkpoint is not None and checkpoint.resolve() == output.resolve():
        raise typer.BadParameter("--checkpoint and --output are the same file")
    if checkpoint is not None and not checkpoint.parent.is_dir():
        raise typer.BadParameter(f"{checkpoint.parent} is no folder", param_hint="--checkpoint")
    trainer = PinnTrainer(problem, width, activation=activation, seed=seed, num_threads=num_threads)
    given = (("adam", adam), ("ssbroyden", ssbroyden), ("lbfgs", lbfgs), ("lm", lm))
    phases = None if all(steps is None for _, steps in given) else [(name, steps) for name, steps in given if steps]
    if phases == []:
        raise typer.BadParameter("no minimiser has a step left; without these options there are those of the recipe")
    with progress_bar(console_of(no_color, stderr=True), quiet, "training") as show:
        trainer.fit(
            phases, points=points, redraw_every=redraw_every, checkpoint=checkpoint, log_dir=log_dir,
            progress=lambda k, total, _: show(k, total),
        )  # fmt: skip
    model = trainer.model
    model.save(output)
    if not quiet:
        say(f"model in {output}")
    _shown(form, no_color, "Errors, in units of the strike", model.info()["norms"])


@pinn_app.command(epilog="Example: warpquant pinn validate heston --format json")
@exit_codes
def validate(
    models: Annotated[
        list[str] | None, typer.Argument(help="Files or names; all that the package has by default.")
    ] = None,
    form: As = Report.TABLE,
    no_color: NoColor = False,
) -> None:
    """Errors of models against the reference of their problem, on its fixed grid.

    Of European options also violations of what every price obeys.
    """
    from warpquant.pinn import SHIPPED

    found = {name: _load(name).diagnose() for name in models or SHIPPED}
    if form is Report.JSON:
        print_json({"schema": _SCHEMA, **(next(iter(found.values())) if len(found) == 1 else {"models": found})})
        return
    for name, numbers in found.items():
        _shown(form, no_color, f"{name}, in units of the strike", numbers)


@pinn_app.command(epilog="Example: warpquant pinn export european net.onnx")
@exit_codes
def export(
    model: Model,
    output: Annotated[pathlib.Path, typer.Argument(dir_okay=False, help="A file .onnx or .safetensors.")],
) -> None:
    """Write the network as ONNX, or the whole model as safetensors, by the suffix of the file."""
    from warpquant.pinn import PinnModel

    _check_output(output, "OUTPUT", ".onnx", ".safetensors")
    loaded = PinnModel.load(model)
    loaded.to_onnx(output) if output.suffix.lower() == ".onnx" else loaded.save(output)
    say(f"written to {output}")


@pinn_app.command(
    epilog="Example: warpquant pinn price european --spot 100 --strike 105 --expiry 0.5 --vol 0.25\n\n"
    "Example: warpquant pinn price barrier S=100 K=105 tau=0.5 sigma=0.25 r=0.03 barrier=90"
)
@exit_codes
def price(
    model: Model,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="NAME=NUMBER of a product's arguments.", metavar="[NAME=NUMBER]...")
    ] = None,
    spot: Annotated[float | None, typer.Option(help="Price of the underlying.")] = None,
    strike: Annotated[float | None, typer.Option(help="In the same units.")] = None,
    expiry: Annotated[float | None, typer.Option(help="Years.")] = None,
    vol: Annotated[float | None, typer.Option(help="Volatility per year.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Continuously compounded, per year; 0 if it is not given.", show_default=False)
    ] = None,
    dividend: Annotated[
        float | None, typer.Option(help="Yield of the underlying; 0 if it is not given.", show_default=False)
    ] = None,
    put: Annotated[bool, typer.Option("--put", help="A put, not a call.")] = False,
    form: As = Report.TABLE,
    no_color: NoColor = False,
) -> None:
    """Price and Greeks of one option; an error outside of what the model was trained on.

    Options are short for the arguments that most products have: S, K, tau, sigma, r, q. Each is given once.
    """
    from warpquant.pinn import ProductModel

    loaded = _load(model, on_out_of_domain="raise")
    accepted: tuple[str, ...] = ("S", "K", "tau", "sigma", "r", "q")
    which: tuple[str, ...] = ("price", "delta", "gamma", "theta", "vega", "rho", "status")
    puts = True
    if isinstance(loaded, ProductModel):
        accepted, which, puts = loaded.arguments, loaded.outputs, loaded.product.PUTS
    options = {
        "spot": ("S", spot), "strike": ("K", strike), "expiry": ("tau", expiry), "vol": ("sigma", vol),
        "rate": ("r", rate), "dividend": ("q", dividend),
    }  # fmt: skip
    entries = [(f"--{option}", name, value) for option, (name, value) in options.items() if value is not None]
    entries += [(text, *_entry(text)) for text in arguments or []]
    given: dict[str, Any] = {}
    for said, name, value in entries:
        if name not in accepted:
            raise typer.BadParameter(f"{said}: {name} is unknown; {model} takes {', '.join(accepted)}")
        if name in given:
            raise typer.BadParameter(f"{said}: {name} is given twice")
        given[name] = value
    missing = [name for name in accepted if name not in given and name not in ("r", "q", "q1", "q2")]
    if missing:
        raise typer.BadParameter(f"{missing[0]} is missing; {model} takes {', '.join(accepted)}")
    if "r" in accepted:
        given.setdefault("r", 0.0)
    if put:
        if not puts:
            raise typer.BadParameter(
                f"--put: {model} prices {'puts' if loaded.ansatz == 'american' else 'calls'} alone"
            )
        given["is_call"] = False
    numbers = loaded.greeks(**given, which=which)
    if numbers.pop("status") == 2:
        raise typer.BadParameter(f"{', '.join(f'{k}={v:g}' for k, v in given.items() if k != 'is_call')}: is no option")
    _shown(form, no_color, "Price and Greeks", numbers)


def _entry(text: str) -> tuple[str, float]:
    """An argument and its value."""
    name, found, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        found = ""
    if not found:
        raise typer.BadParameter(f"{text!r} is not NAME=NUMBER")
    return name, number
