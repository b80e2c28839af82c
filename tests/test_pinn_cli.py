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
