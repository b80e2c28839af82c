# SPDX-License-Identifier: Apache-2.0
"""`warpquant pinn`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from command_line import Code, call, plain  # noqa: F401
from warpquant.pinn import PinnModel


def test_price():
    found = json.loads(
        call(
            "pinn", "price", "european", "--spot", 100, "--strike", 105, "--expiry", 0.5, "--vol", 0.25, "--rate", 0.03,
            "--put", "--format", "json",
        ).stdout
    )  # fmt: skip
    del found["schema"]
    assert found == PinnModel.load("european").greeks(100.0, 105.0, 0.5, 0.25, 0.03, is_call=False)
    outside = ("pinn", "price", "european", "--spot", 1, "--strike", 105, "--expiry", 0.5, "--vol", 0.25)
    assert "outside the domain" in call(*outside, code=Code.USAGE).stderr


def test_products():
    """Arguments of a product by name, or by the options that are short for the common ones."""
    by_name = ("S=100", "K=105", "tau=0.5", "sigma=0.25", "r=0.03", "barrier=90")
    found = json.loads(call("pinn", "price", "barrier", *by_name, "--format", "json").stdout)
    model = PinnModel.load("barrier")
    wanted = model.greeks(100.0, 105.0, 0.5, 0.25, 0.03, 90.0, which=[n for n in model.outputs if n != "status"])
    assert {name: found[name] for name in wanted} == wanted
    by_option = ("--spot", 100, "--strike", 105, "--expiry", 0.5, "--vol", 0.25, "--rate", 0.03, "barrier=90")
    again = json.loads(call("pinn", "price", "barrier", *by_option, "--format", "json").stdout)
    assert again == found
    assert "barrier is missing" in call("pinn", "price", "barrier", *by_name[:-1], code=Code.USAGE).stderr
    assert "level is unknown" in call("pinn", "price", "barrier", *by_name, "level=1", code=Code.USAGE).stderr
    assert "is not NAME=NUMBER" in call("pinn", "price", "barrier", "S:100", code=Code.USAGE).stderr


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        ("european", ["S=90"], "S=90: S is given twice"),
        ("european", ["S=90", "S=91", "K=100"], "S is given twice"),
        ("european", ["--spot", 90, "--strike", 100, "--expiry", 0.5], "sigma is missing"),
        ("european", ["--put", "is_call=0"], "is_call is unknown"),
        ("exchange", [], "--spot: S is unknown; exchange takes S1, S2, tau"),
        ("exchange", ["S1=100", "S2=95", "--rate", 0.05], "--spot: S is unknown"),
        ("heston", ["--vol", 0.2], "--vol: sigma is unknown; heston takes S, K, tau, v0"),
        ("american", ["--put", "--strike", 100, "--expiry", 0.5, "--vol", 0.2, "--rate", 0.03], "prices puts alone"),
        ("barrier", ["--put", "K=100", "tau=0.5", "sigma=0.2", "barrier=90"], "prices calls alone"),
        ("european", ["K=100", "tau=nan", "sigma=0.2"], "tau=nan, sigma=0.2, r=0: is no option"),
        ("european", ["K=100", "tau=-0.5", "sigma=0.2"], "is no option"),
        ("merton", ["K=100", "tau=0.5", "sigma=-0.2", "intensity=1", "jump_mean=0", "jump_vol=0.2"], "is no option"),
    ],
)
def test_what_contradicts(model, more, message):
    """Nothing that is said is left out in silence."""
    spot = [] if "--spot" in more else ["--spot", 100]
    assert message in call("pinn", "price", model, *spot, *more, code=Code.USAGE).stderr


def test_rates_are_0_by_default():
    by_name = ("S1=100", "S2=95", "tau=0.5", "sigma1=0.2", "sigma2=0.3", "correlation=0.3")
    found = json.loads(call("pinn", "price", "exchange", *by_name, "--format", "json").stdout)
    wanted = PinnModel.load("exchange").price(100.0, 95.0, 0.5, 0.2, 0.3, 0.3)
    assert found["price"] == pytest.approx(wanted, rel=1e-12)
    short = ("K=105", "tau=0.5", "sigma=0.25", "barrier=90", "--spot", 100, "--format", "json")
    found = json.loads(call("pinn", "price", "barrier", *short).stdout)
    wanted = PinnModel.load("barrier").price(100.0, 105.0, 0.5, 0.25, 0.0, 90.0)
    assert found["price"] == pytest.approx(wanted, rel=1e-12)


def test_wrong_files(tmp_path):
    text = tmp_path / "quotes.csv"
    text.write_text("strike,price\n100,5\n")
    for command in (("price", "nofile", "S=1"), ("validate", "nofile"), ("export", "nofile", tmp_path / "net.onnx")):
        assert "nofile: is no file, and none of the models of the package: european, american" in (
            call("pinn", *command, code=Code.FAILED).stderr
        )
    assert "quotes.csv: is no model file" in call("pinn", "validate", text, code=Code.FAILED).stderr
    own = tmp_path / "own.safetensors"
    PinnModel.from_layers([(np.ones((1, 2)), np.zeros(1))]).save(own)
    for command in (("validate", own), ("price", own, "S=1")):
        assert "own.safetensors: is the model of an equation" in call("pinn", *command, code=Code.USAGE).stderr
    call("pinn", "export", own, tmp_path / "again.safetensors")
    for output, message in (
        ("net.pt", "does not end with .onnx or .safetensors"), ("net", "does not end with"),
        ("nowhere/net.onnx", "is no folder"),
    ):  # fmt: skip
        assert message in call("pinn", "export", "european", tmp_path / output, code=Code.USAGE).stderr
        assert not (tmp_path / output).exists()
    pytest.importorskip("onnx")
    call("pinn", "export", "european", tmp_path / "NET.ONNX")
    assert PinnModel.from_onnx(tmp_path / "NET.ONNX").inputs == 4


def test_training_that_would_be_lost(tmp_path):
    """What cannot be written is refused before the first step."""
    text, model = tmp_path / "quotes.csv", tmp_path / "model.safetensors"
    text.write_text("strike,price\n100,5\n")
    short = ("pinn", "train", "european", "--width", 4, "--points", 64, "-q")
    for more, message, code in (
        (("-o", tmp_path / "net.onnx"), "does not end with .safetensors", Code.USAGE),
        (("-o", tmp_path / "nowhere" / "model.safetensors"), "is no folder", Code.USAGE),
        (("-o", model, "--checkpoint", model), "are the same file", Code.USAGE),
        (("-o", model, "--checkpoint", tmp_path / "nowhere" / "run.npz"), "is no folder", Code.USAGE),
        (("-o", model, "--adam", 0), "no minimiser has a step left", Code.USAGE),
        (("-o", model, "--adam", 5, "--checkpoint", text), "quotes.csv: is no checkpoint of a training", Code.FAILED),
    ):
        assert message in call(*short, *more, code=code).stderr
        assert list(tmp_path.iterdir()) == [text]
    call(*short, "-o", model, "--adam", 0, "--lbfgs", 3)
    assert PinnModel.load(model).info()["training"]["phases"] == [["lbfgs", 3]]


def test_validate_all():
    found = json.loads(call("pinn", "validate", "european", "barrier", "--format", "json").stdout)["models"]
    assert set(found) == {"european", "barrier"}
    assert found["barrier"]["max_error"] == PinnModel.load("barrier").diagnose()["max_error"]
    shown = call("pinn", "validate", "barrier", "--no-color").stdout
    assert "barrier, in units of the strike" in shown
    assert "gamma_error" in shown


def test_train_validate_export(tmp_path):
    pytest.importorskip("onnx")
    path, net = tmp_path / "model.safetensors", tmp_path / "net.onnx"
    call("pinn", "train", "european", "-o", path, "--width", 6, "--width", 5, "--adam", 20, "--ssbroyden", 5,
         "--points", 64, "--seed", 4, "-q")  # fmt: skip
    model = PinnModel.load(path)
    assert model.info()["widths"] == [4, 6, 5, 1]
    found = json.loads(call("pinn", "validate", path, "--format", "json").stdout)
    assert found["max_error"] == model.diagnose()["max_error"]
    call("pinn", "export", path, net)
    x = np.zeros((1, 4))
    assert np.array_equal(PinnModel.from_onnx(net).evaluate(x), model.evaluate(x))
    call("pinn", "export", path, tmp_path / "again.safetensors")
    assert "unknown" in call("pinn", "train", "asian", "-o", path, code=Code.USAGE).stderr
