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
