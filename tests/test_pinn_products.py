# SPDX-License-Identifier: Apache-2.0
"""Products that networks price: equations, ansatzes, stored models, calibration (warpquant.pinn)."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

from reference import pinn_products as slow
from warpquant import options, pinn
from warpquant.errors import DTypeError, LayoutError, ParameterError, ShapeError, StateError
from warpquant.pinn import PinnModel, PinnTrainer, ProductModel, _file
from warpquant.pinn._jets import Jet, compose, softplus, variables
from warpquant.pinn.products import PRODUCTS
from warpquant.pinn.training import _Run

#: Largest errors of prices of the stored models on the fixed grid, in units of the strike.
FIGURES = {"american": 1e-4, "barrier": 1e-5, "exchange": 1e-5, "heston": 1e-5, "merton": 1e-6}
#: A contract that is inside of each domain.
CONTRACTS = {
    "american": {"S": 95.0, "K": 100.0, "tau": 0.7, "sigma": 0.25, "r": 0.04, "q": 0.01},
    "barrier": {"S": 100.0, "K": 105.0, "tau": 0.5, "sigma": 0.25, "r": 0.03, "barrier": 90.0, "q": 0.01},
    "exchange": {
        "S1": 100.0, "S2": 95.0, "tau": 0.8, "sigma1": 0.3, "sigma2": 0.2, "correlation": 0.4, "q1": 0.01, "q2": 0.02,
    },
    "heston": {
        "S": 100.0, "K": 102.0, "tau": 0.4, "v0": 0.05, "r": 0.02, "kappa": 2.0, "theta": 0.06, "xi": 0.4, "rho": -0.6,
        "q": 0.01,
    },
    "merton": {
        "S": 100.0, "K": 105.0, "tau": 0.6, "sigma": 0.2, "r": 0.03, "intensity": 0.8, "jump_mean": -0.1,
        "jump_vol": 0.15, "q": 0.01,
    },
}  # fmt: skip


@pytest.fixture(params=sorted(PRODUCTS))
def product(request):
    return PRODUCTS[request.param]()


def theirs(name, contract, outputs=("price",)):
    """The same contract by the function of `warpquant.options`."""
    c = dict(contract)
    if name == "exchange":
        return options.exchange(
            c["S1"], c["S2"], c["tau"], 0.0, c["q1"], c["q2"], c["sigma1"], c["sigma2"], c["correlation"],
            outputs=outputs,
        )  # fmt: skip
    spot, strike, tau, r, q = (c[key] for key in ("S", "K", "tau", "r", "q"))
    if name == "heston":
        return options.heston(
            spot, strike, tau, r, q, c["v0"], c["kappa"], c["theta"], c["xi"], c["rho"], True, accuracy="high",
            outputs=outputs,
        )  # fmt: skip
    if name == "merton":
        return options.merton_jump(
            spot, strike, tau, r, q, c["sigma"], True, c["intensity"], c["jump_mean"], c["jump_vol"], outputs=outputs
        )
    if name == "barrier":
        return options.barrier(spot, strike, tau, r, q, c["sigma"], True, c["barrier"], "down-out", outputs=outputs)
    return options.american(spot, strike, tau, r, q, c["sigma"], False, accuracy="high", outputs=outputs)


class TestEquations:
    def test_references_against_slow_ones(self, product):
        """Series, quadrature, trees and differences, written down for the tests."""
        x = product.grid(4096)[:, [5, 100, 777]]
        exact = product.exact(x, ("price",))["price"]
        name = "american_put" if product.name == "american" else product.name
        found = np.array([getattr(slow, name)(*point) for point in x.T])
        scale = np.exp(-x[2] * x[1]) if product.name == "barrier" else 1.0
        np.testing.assert_allclose(found * scale, exact, atol=2e-7 if product.name == "american" else 3e-8)

    def test_plain_arguments_have_the_coordinates(self, product):
        x = product.grid(64)
        arguments = {name: np.zeros(64) for name in product.ARGUMENTS} | product.plain(x)
        found, _, _ = product.locate(arguments)
        if product.name == "exchange":  # whose unit is the mean of both
            assert np.allclose(found[0] - found[1], x[0] - x[1], atol=1e-14)
            found[:2] = x[:2]
        np.testing.assert_allclose(np.stack(np.broadcast_arrays(*found)), x, atol=1e-14)

    def test_ansatz_jets(self, product):
        """First and second derivatives against central differences of the same function."""
        x = product.grid(256)[:, 40:60]
        x = x[:, product.mature(x)]
        jets = product.ansatz(*variables(list(x)))
        ours = [jets[0], jets[1], *jets[2].values()]

        def values(at):
            u0, g, sources = product.ansatz(*variables(list(at)))
            return [u0, g, *sources.values()]

        h = 1e-6
        for m in range(len(x)):
            shift = np.zeros_like(x)
            shift[m] = h
            for jet, up, down in zip(ours, values(x + shift), values(x - shift), strict=True):
                np.testing.assert_allclose(jet.gradient[m], (up.value - down.value) / (2 * h), rtol=1e-5, atol=1e-6)
                slope = (up.gradient - down.gradient) / (2 * h)
                np.testing.assert_allclose(jet.hessian[m], slope, rtol=1e-4, atol=2e-4)

    @pytest.mark.parametrize("name", ["barrier", "exchange", "heston"])
    def test_references_solve_the_equations(self, name):
        """The operator on the reference's prices, by differences."""
        product = PRODUCTS[name]()
        x = product.grid(512)
        late = {"barrier": x[1] > 0.03, "exchange": np.minimum(x[2], x[3]) > 0.02, "heston": x[2] > 0.3}[name]
        x = x[:, late][:, :40]
        if name == "barrier":
            x[0] = np.maximum(x[0], 0.05)
        vectors, drift, decay = product.operator(x)

        def u(at):
            made = product.exact(at, ("price",))["price"]
            return made * np.exp(at[2] * at[1]) if name == "barrier" else made

        h, d = 1e-3, len(x)
        unit = np.eye(d)[:, :, None]
        gradient = np.stack([(u(x + h * e) - u(x - h * e)) / (2 * h) for e in unit])
        whole = np.einsum("mn,mn->n", drift, gradient) - decay * u(x)
        for v in vectors:
            whole += 0.5 * (u(x + h * v) - 2 * u(x) + u(x - h * v)) / h**2
        scale = np.abs(gradient).max(axis=0) + 1.0
        assert np.max(np.abs(whole) / scale) < 2e-3

    def test_jumps_are_a_shift_and_more_variance(self):
        """Of Merton's series: the intensity's derivative takes one value at another point."""
        k, v, a, m, s, h = np.array([0.1, -0.2]), 0.04, 0.5, -0.1, 0.15, 1e-4

        def c(k, v, a):
            return options.merton_jump(
                np.exp(k), 1.0, 1.0, 0.0, 0.0, math.sqrt(v), True, a, m, s, outputs=("price",)
            )["price"]  # fmt: skip

        jump = c(k + m + 0.5 * s * s, v + s * s, a) - c(k, v, a)
        drift = math.expm1(m + 0.5 * s * s) * (c(k + h, v, a) - c(k - h, v, a)) / (2 * h)
        np.testing.assert_allclose((c(k, v, a + h) - c(k, v, a - h)) / (2 * h), jump - drift, atol=1e-7)

    def test_edges_and_margins(self, product):
        """Points of training cover the domain with a margin; the data there are what the reference says."""
        inside = product.draw(2048, 3)
        for row, (low, high) in zip(inside, product.domain.values(), strict=True):
            assert row.min() <= low + 0.15 * (high - low)
            assert row.max() >= high - 0.15 * (high - low)
        if product.name == "merton":
            return
        x, data, _ = product.edges()
        known = np.isfinite(data)
        assert known.all()
        exact = product.exact(x, ("price",))["price"]
        if product.name == "barrier":
            exact = exact * np.exp(x[2] * x[1])
        assert np.abs(exact - data).max() < {"american": 5e-6, "heston": 3e-5}.get(product.name, 1e-6)


class TestResiduals:
    def test_linearised(self, product):
        """Residuals and their gradients make up loss and gradient, and are right by differences."""
        trainer = PinnTrainer(product, (6, 5), seed=1)
        run = _Run(trainer, [("lm", 1)], 64)
        x = trainer.weights
        loss, gradient = run._function(x)
        residuals, rows = run._linearise(x)
        assert loss == pytest.approx(residuals @ residuals, rel=1e-12)
        np.testing.assert_allclose(2 * rows.T @ residuals, gradient, rtol=1e-8, atol=1e-9 * np.abs(gradient).max())
        h = 1e-6
        for k in (0, 7, len(x) - 1):
            shift = np.zeros_like(x)
            shift[k] = h
            difference = (run._linearise(x + shift)[0] - run._linearise(x - shift)[0]) / (2 * h)
            inside = slice(0, 64)  # on the edges of a free boundary differences have no digits
            ours, theirs = rows[inside, k], difference[inside]
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(ours).max() + 1e-9)

    @pytest.mark.parametrize("name", ["barrier", "exchange", "heston"])
    def test_of_the_ansatz(self, name):
        """What training makes 0 is the operator on what the model prices: u0 + g N by differences."""
        product = PRODUCTS[name]()
        trainer = PinnTrainer(product, (6, 5), seed=2)
        model = trainer.model
        x = product.grid(256)
        late = {"barrier": x[1] > 0.03, "exchange": np.minimum(x[2], x[3]) > 0.02, "heston": x[2] > 0.3}[name]
        x = x[:, late][:, :20]
        if name == "barrier":
            x[0] = np.maximum(x[0], 0.05)
        vectors, drift, decay = product.operator(x)

        def u(at):
            u0, g, sources = product.ansatz(*at)
            inputs = [(sources[f.source] - f.shift) * f.scale for f in product.features]
            return u0 + g * model.evaluate(np.column_stack(np.broadcast_arrays(*inputs)))

        c = product.collocate(x)
        found = trainer._net.loss(
            trainer.weights,
            c.features,
            c.coefficients,
            c.constants,
            c.weights,
            False,
            None,
            0.0,
            False,
            True,
            1,
            "best",
        )[2][: x.shape[1]]
        h = 1e-4
        whole = sum(drift[m] * (u(x + h * e) - u(x - h * e)) for m, e in enumerate(np.eye(len(x))[:, :, None])) / (
            2 * h
        )
        for v in vectors:
            whole = whole + 0.5 * (u(x + h * v) - 2 * u(x) + u(x - h * v)) / h**2
        np.testing.assert_allclose(found, whole - decay * u(x), rtol=1e-3, atol=1e-4)

    def test_a_short_run_learns(self, product):
        """Every problem: some steps make errors a quarter of those of a random network, or less."""
        trainer = PinnTrainer(product, (10, 10), seed=0)
        before = product.errors(trainer.model)["rmse"]
        trainer.fit([("adam", 150), ("ssbroyden", 250)], points=1024, redraw_every=0)
        norms = trainer.model.info()["norms"]
        assert norms["rmse"] < 0.25 * before
        assert trainer.model.info()["problem"]["name"] == product.name

    def test_threads_give_the_same_bits(self, product):
        weights, found = [], []
        for threads in (1, 2):
            trainer = PinnTrainer(product, (6, 5), seed=4, num_threads=threads)
            run = _Run(trainer, [("lm", 1)], 300)
            found.append([part.tobytes() for part in run._linearise(trainer.weights)])
            trainer.fit([("adam", 5), ("ssbroyden", 8)], points=600, redraw_every=6)
            weights.append(trainer.weights.tobytes())
        assert weights[0] == weights[1]
        assert found[0] == found[1]


class TestJets:
    def test_arithmetic(self):
        """Rules of sums, products, quotients and chains against closed forms."""
        x, y = variables([np.array([0.3, 1.2]), np.array([2.0, 0.7])])
        f = softplus((x * y - 1.0) / (x + 2.0)) - 3.0 / y
        at = [x.value, y.value]

        def plain(a, b):
            return np.logaddexp(0.0, (a * b - 1.0) / (a + 2.0)) - 3.0 / b

        np.testing.assert_allclose(f.value, plain(*at))
        h = 1e-5
        for m in range(2):
            for n in range(2):
                p, q = (h * np.eye(2)[k][:, None] for k in (m, n))
                corner = [plain(*(at + a * p + b * q)) for a in (1, -1) for b in (1, -1)]
                difference = (corner[0] - corner[1] - corner[2] + corner[3]) / (4 * h * h)
                np.testing.assert_allclose(f.hessian[m, n], difference, rtol=1e-4, atol=1e-5)

    def test_inactive_variables_cost_nothing(self):
        x, y = variables([np.ones(3), np.full(3, 2.0)], [True, False], second=False)
        assert isinstance(x, Jet)
        assert isinstance(y, np.ndarray)
        assert (x * y).hessian is None
        assert isinstance(compose((y, y), np.zeros(3), np.zeros((2, 3)), None), np.ndarray)


@pytest.fixture(params=sorted(FIGURES))
def shipped(request):
    return request.param, PinnModel.load(request.param)


class TestStoredModels:
    def test_figures(self, shipped):
        """On the fixed grid, and on points that are not of it."""
        name, model = shipped
        assert isinstance(model, ProductModel)
        norms = model.diagnose()
        assert norms["max_error"] <= FIGURES[name]
        stored = model.info()["norms"]
        assert norms["max_error"] == pytest.approx(stored["max_error"], rel=1e-3)
        x = model.product.sample(3000, 77)
        error = model.price(**model.product.plain(x)) - model.product.exact(x, ("price",))["price"]
        assert np.abs(error).max() <= 2 * FIGURES[name]

    def test_a_contract(self, shipped):
        name, model = shipped
        found = model.greeks(**CONTRACTS[name], which="all")
        assert found["status"] == 0
        usual = model.greeks(**CONTRACTS[name])
        assert len(usual) == (6 if name == "exchange" else 3)
        assert usual == pytest.approx({greek: found[greek] for greek in usual}, rel=1e-12)
        exact = theirs(name, CONTRACTS[name], "all")
        assert abs(found["price"] - exact["price"]) <= 100 * FIGURES[name]
        for greek, value in found.items():
            if greek in exact and greek != "status":
                rough = 0.05 if name == "american" else 0.01
                assert value == pytest.approx(exact[greek], rel=rough, abs=rough * 0.1), greek

    def test_greeks_are_derivatives(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        found = model.greeks(**base, which="all")
        for greek, (arguments, sign) in model.product.GREEKS.items():

            def bumped(*bumps, arguments=arguments):
                changed = dict(base)
                for argument, bump in zip(arguments, bumps, strict=True):
                    changed[argument] += bump
                return changed

            if greek in ("gamma1", "gamma2", "cross_gamma", "delta1", "delta2"):
                continue  # the unit moves with the spots; see test_homogeneous
            h = [1e-4 * max(abs(base[a]), 0.1) for a in arguments]
            if len(h) == 1:
                made = (model.price(**bumped(h[0])) - model.price(**bumped(-h[0]))) / (2 * h[0])
            else:
                first = model.greeks(**bumped(*([0.0] * len(h[:-1])), h[-1]), which=_FIRST[arguments[0]])
                second = model.greeks(**bumped(*([0.0] * len(h[:-1])), -h[-1]), which=_FIRST[arguments[0]])
                (one,), (two,) = first.values(), second.values()
                made = (one - two) / (2 * h[-1])
            assert found[greek] == pytest.approx(sign * made, rel=2e-5, abs=1e-6), greek

    def test_arrays_and_numbers(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        column = base[first] * np.array([[0.98], [1.0]])
        made = model.price(**{**base, first: column, "tau": np.array([0.3, 0.4, 0.5])})
        assert made.shape == (2, 3)
        one = model.price(**{**base, "tau": 0.4})
        assert isinstance(one, float)
        assert made[1, 1] == one
        assert np.array_equal(model.price(*base.values()), model.price(**base))
        many = model.price(**{**base, first: np.full(70000, base[first])}, num_threads=2)
        assert (many == model.price(**base)).all()
        assert model.price(**{**base, first: np.array([])}).shape == (0,)
        missing = model.greeks(**{**base, first: np.array([np.nan, base[first], -1.0])}, which=("price", "status"))
        assert np.isnan(missing["price"]).tolist() == [True, False, True]
        assert missing["status"].tolist() == [2, 0, 2]

    def test_other_kinds_of_arrays(self, shipped):
        pd = pytest.importorskip("pandas")
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        spots = pd.Series([base[first], 1.01 * base[first]], index=["a", "b"])
        made = model.price(**{**base, first: spots})
        assert list(made.index) == ["a", "b"]
        assert made["a"] == model.price(**base)

    def test_outside(self, shipped):
        name, model = shipped
        far = {**CONTRACTS[name], "tau": 50.0}
        assert math.isnan(model.price(**far))
        assert model.greeks(**far, which="status")["status"] == 1
        path = PinnModel.from_layers(
            model.layers, activation=model.activation, features=model.features, ansatz=name, domain=model.domain,
            on_out_of_domain="extrapolate",
        )  # fmt: skip
        assert math.isfinite(path.price(**{**CONTRACTS[name], "tau": 5.0}))
        with pytest.raises(ParameterError, match="outside the domain"):
            PinnModel.load(name, on_out_of_domain="raise").price(**far)

    def test_files(self, shipped, tmp_path):
        name, model = shipped
        model.save(tmp_path / "model")
        again = PinnModel.load(tmp_path / "model")
        assert again.price(**CONTRACTS[name]) == model.price(**CONTRACTS[name])
        assert again.domain == model.domain
        assert again.info() == model.info()

    def test_hostile_files(self, shipped, tmp_path):
        """A description that does not fit is refused, whatever is wrong with it."""
        _, model = shipped
        path = tmp_path / "model"
        model.save(path)
        layers, metadata = _file.read(path)
        first = next(iter(model.domain))
        for key, value in (
            ("domain", {"x1": [0.0, 1.0]}), ("domain", {first: "ab"}), ("domain", {first: [1.0]}), ("domain", None),
            ("domain", [1]), ("features", []), ("features", [{"source": "k"}]), ("features", {"a": 1}),
            ("ansatz", "asian"), ("ansatz", "normal"),
        ):  # fmt: skip
            text = value if key == "ansatz" else json.dumps(value)
            _file.write(path, layers, {**metadata, key: text})
            with pytest.raises(StateError, match="is no model file"):
                PinnModel.load(path)

    def test_float32_and_copies(self, shipped):
        name, model = shipped
        single = PinnModel.load(name, dtype="float32")
        unit = CONTRACTS[name].get("K", 100.0)
        assert abs(single.price(**CONTRACTS[name]) - model.price(**CONTRACTS[name])) < 2e-6 * unit
        again = pickle.loads(pickle.dumps(model))
        assert type(again) is ProductModel
        assert again.price(**CONTRACTS[name]) == model.price(**CONTRACTS[name])

    def test_what_is_refused(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        with pytest.raises(ParameterError, match="is missing"):
            model.price(*list(base.values())[:3])
        with pytest.raises(ParameterError, match="unknown"):
            model.price(**base, strike2=1.0)
        with pytest.raises(ParameterError, match="twice"):
            model.price(100.0, **base)
        with pytest.raises(ParameterError, match="arguments were given"):
            model.price(*range(20))
        assert model.price(**base, device="cpu") == model.price(**base)
        with pytest.raises(ParameterError, match="run on the CPU"):
            model.price(**base, device="cuda:0")
        with pytest.raises(ParameterError, match="which"):
            model.greeks(**base, which="speed")
        with pytest.raises(ShapeError, match="broadcast"):
            model.price(**{**base, "tau": np.ones(2) * 0.4, next(iter(base)): np.ones(3)})
        if not model.product.PUTS:
            with pytest.raises(ParameterError, match="is_call"):
                model.price(**base, is_call=False)


#: The Greek that is the first derivative in an argument.
_FIRST = {"S": "delta", "sigma": "vega"}


@pytest.mark.parametrize("name", ["heston", "merton"])
def test_puts_by_parity(name):
    model, base = PinnModel.load(name), CONTRACTS[name]
    call, put = (model.greeks(**base, is_call=flag, which=("price", "delta", "rho")) for flag in (True, False))
    forward = base["S"] * math.exp(-base["q"] * base["tau"]) - base["K"] * math.exp(-base["r"] * base["tau"])
    assert call["price"] - put["price"] == pytest.approx(forward, abs=1e-12)
    assert call["delta"] - put["delta"] == pytest.approx(math.exp(-base["q"] * base["tau"]), abs=1e-12)


def test_homogeneous():
    """Spots of an exchange: Euler's relation, and twice both is twice the price."""
    model, base = PinnModel.load("exchange"), CONTRACTS["exchange"]
    made = model.greeks(**base, which=("price", "delta1", "delta2", "gamma1", "cross_gamma", "gamma2"))
    assert made["price"] == pytest.approx(base["S1"] * made["delta1"] + base["S2"] * made["delta2"], rel=2e-5)
    assert base["S1"] * made["gamma1"] == pytest.approx(-base["S2"] * made["cross_gamma"], rel=2e-3)
    double = model.price(**{**base, "S1": 2 * base["S1"], "S2": 2 * base["S2"]})
    assert double == pytest.approx(2 * made["price"], rel=1e-13)


def test_reached_barriers():
    """Nothing is left, whatever else is outside of the domain; but what is no option stays none."""
    for how in ("nan", "raise", "extrapolate"):
        model = PinnModel.load("barrier", on_out_of_domain=how)
        spots = np.array([90.0, 89.0, 1e-3, 50.0, 50.0])
        made = model.greeks(
            spots, 105.0, np.array([0.5, 0.5, 1.0, 0.0, 90.0]), 0.25, 0.03, np.array([90.0, 90.0, 1e3, 90.0, 90.0]),
            which="all",
        )  # fmt: skip
        assert set(made) == set(model.outputs)
        assert all((values == 0.0).all() for values in made.values())
    wrong = model.greeks(80.0, 105.0, [-0.1, np.nan], 0.25, 0.03, 90.0, which="all")
    assert all((values == 2 if name == "status" else np.isnan(values)).all() for name, values in wrong.items())


class TestExpiry:
    """One meaning of statuses, for all models."""

    SPOTS = (40.0, 80.0, 99.0, 101.0, 130.0, 400.0)

    @pytest.mark.parametrize("how", ["nan", "raise", "extrapolate"])
    def test_what_is_paid(self, shipped, how):
        """Inside of the domain or not: the payoff, and its slopes; Greeks are finite, off the kink."""
        name, base = shipped[0], CONTRACTS[shipped[0]]
        model = PinnModel.load(name, on_out_of_domain=how)
        first, second = ("S1", "S2") if name == "exchange" else ("S", "K")
        spots, changed = np.array(self.SPOTS), {first: np.array(self.SPOTS), second: 100.0, "tau": 0.0}
        if name == "barrier":
            changed["barrier"] = 20.0
        found = model.greeks(**{**base, **changed}, which="all")
        assert (found["status"] == 0).all()
        sign = -1.0 if name == "american" else 1.0
        np.testing.assert_allclose(found["price"], np.maximum(sign * (spots - 100.0), 0.0), atol=1e-11)
        slope = np.where(sign * (spots - 100.0) > 0.0, sign, 0.0)
        slopes = ("delta1", "delta2") if name == "exchange" else ("delta", "dual_delta")
        np.testing.assert_allclose(found[slopes[0]], slope, atol=1e-9)
        np.testing.assert_allclose(found[slopes[1]], -slope, atol=1e-9)
        for greek, values in found.items():
            assert np.isfinite(values).all(), greek
            if greek not in ("price", "status", "theta", "charm", *slopes):
                assert np.abs(values).max() < 1e-9, greek

    def test_theta_is_that_of_the_last_moment(self, shipped):
        """Of options, one millionth of a year before; exercised ones stand still."""
        name, base = shipped[0], dict(CONTRACTS[shipped[0]])
        if name == "american":
            base["q"] = 0.08  # calls for waiting, near the strike
        first = next(iter(base))
        for spot in (60.0, 97.0, 103.0, 140.0):
            contract = {**base, first: spot, next(iter(list(base)[1:])): 100.0}
            if name == "barrier":
                contract["barrier"] = 50.0
            exact = theirs(name, {**contract, "tau": 1e-6}, ("theta",))["theta"]
            found = PinnModel.load(name).greeks(**{**contract, "tau": 0.0}, which="theta")["theta"]
            assert found == pytest.approx(exact, abs=2e-3), spot

    def test_expired_and_without_volatility(self, shipped):
        """Nothing is divided by 0; a strike of the spot itself has slopes of a half."""
        name, model = shipped
        base = {**CONTRACTS[name], "tau": 0.0}
        still = {key: 0.0 for key in base if key in ("sigma", "sigma1", "sigma2", "v0", "theta", "xi", "jump_vol")}
        if name == "exchange":
            still["correlation"] = 1.0
        found = model.greeks(**{**base, **still}, which="all")
        assert found["status"] == 0
        assert all(math.isfinite(value) for value in found.values())
        first, second = list(base)[:2]
        at = model.greeks(**{**base, first: base[second]}, which="all")
        assert at["status"] == 0
        assert at["price"] == pytest.approx(0.0, abs=1e-9)
        assert abs(at["delta1" if name == "exchange" else "delta"]) == pytest.approx(0.5, abs=1e-3)

    @pytest.mark.parametrize("name", ["heston", "merton"])
    def test_puts(self, name):
        model = PinnModel.load(name)
        puts = model.price(**{**CONTRACTS[name], "S": np.array([80.0, 120.0]), "tau": 0.0}, is_call=False)
        np.testing.assert_allclose(puts, [CONTRACTS[name]["K"] - 80.0, 0.0], atol=1e-11)

    def test_of_europeans(self):
        """The same of the model with kernels of its own: at expiry, and without volatility."""
        spots = np.array([1.0, 80.0, 130.0, 5000.0])
        for how in ("nan", "raise", "extrapolate"):
            model = PinnModel.load("european", on_out_of_domain=how)
            for tau, sigma in ((0.0, 0.25), (0.5, 0.0), (0.0, 0.0), (80.0, 0.0)):
                found = model.greeks(spots, 100.0, tau, sigma, 0.03, 0.01, which="all")
                exact = options.greeks(spots, 100.0, tau, 0.03, 0.01, sigma, True, outputs="all")
                assert (found["status"] == 0).all()
                for greek in ("price", "delta", "gamma", "theta", "vega", "rho", "vanna", "volga", "speed"):
                    np.testing.assert_allclose(found[greek], exact[greek], rtol=1e-10, atol=1e-10, err_msg=greek)
                np.testing.assert_allclose(found["charm"], 0.01 * found["delta"], atol=1e-10)
                one = model.greeks(float(spots[1]), 100.0, tau, sigma, 0.03, 0.01)
                assert one["theta"] == found["theta"][1]
        plain = PinnModel.from_layers(
            model.layers, features=model.features, ansatz="none", domain=model.domain, activation="tanh"
        )
        assert plain.greeks(5000.0, 100.0, 0.0, 0.2, 0.0, which="status")["status"] == 1


class TestStatuses:
    def test_no_volatility(self):
        """Some coordinates take it, and the price is known; others are quotients with it, outside of every domain."""
        for name, wanted in (("merton", 0), ("exchange", 0), ("american", 1), ("barrier", 1)):
            changed = {key: 0.0 for key in CONTRACTS[name] if key.startswith("sigma")}
            model, contract = PinnModel.load(name), {**CONTRACTS[name], **changed}
            found = model.greeks(**contract, which=("price", "status"))
            assert found["status"] == wanted, name
            if wanted == 0:
                assert found["price"] == pytest.approx(theirs(name, contract)["price"], abs=1e-4), name
            else:
                assert math.isnan(found["price"])

    def test_none_of_an_option(self, shipped):
        name, model = shipped
        for key, wrong in {
            "S": (0.0, -1.0), "S1": (0.0,), "K": (-1.0,), "tau": (-1e-9,), "sigma": (-0.2,), "sigma2": (-0.2,),
            "v0": (-1e-9,), "xi": (-0.2,), "theta": (-0.04,), "kappa": (0.0, -1.0), "rho": (1.1, -1.1),
            "correlation": (1.1,), "intensity": (-0.1,), "jump_vol": (-0.1,), "barrier": (0.0, -5.0),
        }.items():  # fmt: skip
            for value in (*wrong, math.nan, math.inf, -math.inf) if key in CONTRACTS[name] else ():
                found = model.greeks(**{**CONTRACTS[name], key: value}, which="all")
                assert found.pop("status") == 2, (key, value)
                assert all(math.isnan(x) for x in found.values())


class TestArrays:
    """What goes in comes out: as of European options, whose model has kernels of its own."""

    def test_float32(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        spots = np.array([0.99, 1.0], np.float32) * np.float32(base[first])
        made = model.greeks(**{**base, first: spots}, which="all")
        exact = model.greeks(**{**base, first: spots.astype(np.float64)}, which="all")
        for greek, values in made.items():
            assert values.dtype == (np.uint8 if greek == "status" else np.float32)
            np.testing.assert_array_equal(values, exact[greek].astype(values.dtype))
        mixed = {**base, first: spots, "tau": np.array([0.3])}
        assert model.price(**mixed).dtype == np.float64
        assert model.price(**{**base, first: np.float64(base[first])}) == model.price(**base)
        assert type(model.price(**{**base, first: np.float64(base[first])})) is float
        assert model.price(**{**base, first: np.float32(base[first])}).dtype == np.float32
        assert model.price(**{**base, first: spots, "tau": np.float64(0.4)}).dtype == np.float32
        assert model.price(**{**base, first: spots, "tau": [0.4]}).dtype == np.float64
        assert model.price(**{**base, first: np.array([round(base[first])])}).dtype == np.float64

    def test_out(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        spots = base[first] * np.array([[0.99], [1.0]])
        contract = {**base, first: spots, "tau": np.array([0.3, 0.4, 0.5])}
        whole = np.zeros((2, 6))
        column = whole[:, ::2]
        assert model.price(**contract, out=column) is column
        np.testing.assert_array_equal(column, model.price(**contract))
        assert (whole[:, 1::2] == 0.0).all()
        greek = next(iter(model.product.GREEKS))
        for kind in (np.uint8, np.int8):
            out = {greek: np.empty((2, 3)), "status": np.empty((2, 3), kind)}
            made = model.greeks(**contract, which=("price", greek, "status"), out=out)
            assert made[greek] is out[greek]
            assert made["status"] is out["status"]
            assert not out["status"].any()
            np.testing.assert_array_equal(out[greek], model.greeks(**contract, which=greek)[greek])
        one = np.empty(())
        assert model.price(**base, out=one) is one
        assert one == model.price(**base)
        single, into = spots[:, 0].astype(np.float32), np.empty(2, np.float32)
        assert model.price(**{**base, first: single}, out=into) is into
        single = single.copy()
        assert model.price(**{**base, first: single}, out=single) is single  # arguments are read before
        np.testing.assert_array_equal(single, into)

    def test_out_is_refused(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        contract = {**base, first: base[first] * np.array([0.99, 1.0])}
        fixed, both = np.zeros(2), np.zeros(3)
        fixed.flags.writeable = False
        for error, message, out in (
            (DTypeError, "holds float32 values, but the result is float64", np.zeros(2, np.float32)),
            (ShapeError, r"has shape \(3,\), but the result has \(2,\)", np.zeros(3)),
            (LayoutError, "cannot be written to", fixed),
            (DTypeError, "list is no array to write to", [0.0, 0.0]),
        ):
            with pytest.raises(error, match=rf"out\[price\]: {message}"):
                model.price(**contract, out=out)
        greek = next(iter(model.product.GREEKS))
        with pytest.raises(LayoutError, match="shares memory with out"):
            model.greeks(**contract, which=("price", greek), out={"price": both[:2], greek: both[1:]})
        with pytest.raises(ParameterError, match="is no mapping"):
            model.greeks(**contract, out=both)
        with pytest.raises(ParameterError, match="'status' is not among the outputs"):
            model.greeks(**contract, which=greek, out={"status": both})
        good = np.zeros(2)
        with pytest.raises(ShapeError):
            model.greeks(**contract, which=("price", greek), out={"price": good, greek: both})
        assert not good.any()  # all of them or none

    def test_tensors(self, shipped):
        torch = pytest.importorskip("torch")
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        for kind in (torch.float32, torch.float64):
            spots = torch.tensor([0.99 * base[first], base[first]], dtype=kind)
            made = model.greeks(**{**base, first: spots}, which=("price", "status"))
            assert made["price"].dtype == kind
            assert made["status"].dtype == torch.uint8
            out = torch.empty(2, dtype=kind)
            assert model.price(**{**base, first: spots}, out=out) is out
            assert torch.equal(out, made["price"])
        with pytest.raises(LayoutError, match=r"out\[price\]: requires grad"):
            model.price(**{**base, first: spots}, out=torch.empty(2, dtype=kind, requires_grad=True))

    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_columns(self, shipped, library):
        lib = pytest.importorskip(library)
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        made = model.greeks(
            **{**base, first: lib.Series(np.full(2, base[first], np.float32))}, which=("price", "status")
        )
        assert made["price"].name == "price"
        assert made["price"].to_numpy().dtype == np.float32

    def test_what_has_no_numbers(self, shipped):
        name, model = shipped
        base = CONTRACTS[name]
        first = next(iter(base))
        for wrong in ("a", [1.0, "a"], np.array(["a"]), np.array([1j]), object(), None, {}, np.float16(1.0)):
            with pytest.raises(DTypeError, match=rf"^{first}: "):
                model.price(**{**base, first: wrong})
        with pytest.raises(ParameterError, match="tau: is too large"):
            model.price(**{**base, "tau": 10**400})
        with pytest.raises(ShapeError, match=r"tau: has shape \(2,\), which does not broadcast with the \(3,\)"):
            model.price(**{**base, first: np.ones(3), "tau": np.ones(2)})
        with pytest.raises(ParameterError, match="stream: goes with arrays that are on a device"):
            model.price(**base, stream=1)
        with pytest.raises(ParameterError, match="num_threads"):
            model.price(**{**base, first: -1.0}, num_threads=-3)

    def test_names_of_arguments_of_europeans(self):
        with pytest.raises(DTypeError, match=r"^sigma: "):
            PinnModel.load("european").price(100.0, 105.0, 0.5, "a", 0.03)


class TestCalibration:
    def test_volatility_of_europeans(self):
        strikes = np.linspace(80.0, 120.0, 21)
        contracts = {"S": 100.0, "K": strikes, "tau": 0.5}
        quotes = options.price(100.0, strikes, 0.5, 0.03, 0.0, 0.25, True)["price"]
        found = pinn.calibrate(PinnModel.load("european"), quotes, contracts, {"sigma": 0.4, "r": 0.0})
        assert found.status == "converged"
        assert found.parameters["sigma"] == pytest.approx(0.25, abs=1e-6)
        assert found.parameters["r"] == pytest.approx(0.03, abs=1e-6)
        assert found.rmse < 1e-5

    @pytest.mark.parametrize(
        ("name", "start", "strikes"),
        [
            ("barrier", {"sigma": 0.4}, np.linspace(98.0, 125.0, 12)),
            ("american", {"sigma": 0.35}, np.linspace(85.0, 115.0, 12)),
            ("merton", {"sigma": 0.25, "intensity": 0.5, "jump_mean": -0.05, "jump_vol": 0.2}, None),
            ("heston", {"v0": 0.07, "theta": 0.07, "xi": 0.3, "rho": -0.5}, None),
        ],
    )
    def test_round_trips(self, name, start, strikes):
        """Quotes of the reference, parameters of the network."""
        base = dict(CONTRACTS[name])
        wanted = {key: base.pop(key) for key in start}
        if strikes is None:
            strikes, tau = (v.ravel() for v in np.meshgrid(np.linspace(80.0, 120.0, 15), [0.3, 0.45, 0.6]))
            base["tau"] = tau
        base["K"] = strikes
        quotes = theirs(name, {**base, **wanted})["price"]
        found = pinn.calibrate(PinnModel.load(name), quotes, base, start, max_steps=200)
        assert found.status == "converged", found
        assert found.rmse < 100 * FIGURES[name]
        for key, value in wanted.items():
            assert found.parameters[key] == pytest.approx(value, abs=_RECOVERED[name] * max(abs(value), 0.1)), found

    def test_standard_errors(self):
        """Of noisy quotes: those of the fits that other noises give."""
        model, rng = PinnModel.load("european"), np.random.default_rng(0)
        strikes = np.linspace(80.0, 120.0, 40)
        contracts = {"S": 100.0, "K": strikes, "tau": 0.5, "r": 0.03}
        exact = options.price(100.0, strikes, 0.5, 0.03, 0.0, 0.25, True)["price"]
        fits = [
            pinn.calibrate(model, exact + 0.05 * rng.standard_normal(40), contracts, {"sigma": 0.3}) for _ in range(60)
        ]
        values = [fit.parameters["sigma"] for fit in fits]
        told = np.mean([fit.standard_errors["sigma"] for fit in fits])
        assert told == pytest.approx(np.std(values), rel=0.3)
        assert abs(np.mean(values) - 0.25) < 4 * told / math.sqrt(60)

    def test_weights_bounds_and_missing_quotes(self):
        model, strikes = PinnModel.load("european"), np.linspace(90.0, 110.0, 9)
        contracts = {"S": 100.0, "K": strikes, "tau": 0.5, "r": 0.03}
        quotes = options.price(100.0, strikes, 0.5, 0.03, 0.0, 0.25, True)["price"]
        spoilt = quotes.copy()
        spoilt[2] += 5.0
        weights = np.ones(9)
        weights[2] = 0.0
        assert pinn.calibrate(model, spoilt, contracts, {"sigma": 0.3}, weights=weights).parameters["sigma"] == (
            pytest.approx(0.25, abs=1e-6)
        )
        spoilt[2] = np.nan
        found = pinn.calibrate(model, spoilt, contracts, {"sigma": 0.3})
        assert found.parameters["sigma"] == pytest.approx(0.25, abs=1e-6)
        assert np.isnan(found.residuals).tolist() == [i == 2 for i in range(9)]
        noisy = quotes + 0.01 * np.cos(np.arange(9.0))
        fewer = pinn.calibrate(model, noisy[3:], {**contracts, "K": strikes[3:]}, {"sigma": 0.3})
        found = pinn.calibrate(model, noisy, contracts, {"sigma": 0.3}, weights=np.r_[np.zeros(3), np.ones(6)])
        assert found.standard_errors["sigma"] == pytest.approx(fewer.standard_errors["sigma"], rel=1e-6)
        with pytest.raises(ShapeError, match="of weight are 0"):
            pinn.calibrate(model, noisy, contracts, {"sigma": 0.3}, weights=np.zeros(9))
        far = options.price(100.0, strikes, 0.5, 0.03, 0.0, 0.8, True)["price"]
        jammed = pinn.calibrate(model, far, contracts, {"sigma": 0.4})
        assert jammed.status == "domain"
        assert jammed.parameters["sigma"] == pytest.approx(np.sqrt(0.5), abs=1e-6)
        assert math.isnan(jammed.standard_errors["sigma"])
        held = pinn.calibrate(model, quotes, contracts, {"sigma": 0.3}, bounds={"sigma": (0.28, 0.5)})
        assert (held.status, held.parameters["sigma"]) == ("bound", 0.28)
        assert math.isnan(held.standard_errors["sigma"])

    def test_parameters_that_quotes_do_not_tell_apart(self):
        """Spot and volatility from one strike, twice."""
        contracts = {"K": np.array([100.0, 100.0, 100.0]), "tau": 0.5, "r": 0.0}
        quotes = options.price(100.0, contracts["K"], 0.5, 0.0, 0.0, 0.25, True)["price"]
        found = pinn.calibrate(PinnModel.load("european"), quotes, contracts, {"S": 99.0, "sigma": 0.24})
        assert found.status == "singular"
        assert math.isnan(found.standard_errors["sigma"])

    def test_what_is_refused(self):
        model = PinnModel.load("european")
        good = {"S": 100.0, "K": np.array([95.0, 105.0]), "tau": 0.5, "r": 0.03}
        quotes = np.array([9.0, 4.0])
        for message, call in {
            "start: has no": lambda: pinn.calibrate(model, quotes, good, {}),
            "start: 'vol'": lambda: pinn.calibrate(model, quotes, good, {"vol": 0.2}),
            "contracts: 'r'": lambda: pinn.calibrate(model, quotes, good, {"r": 0.2}),
            "bounds: 'r'": lambda: pinn.calibrate(model, quotes, good, {"sigma": 0.2}, bounds={"r": (0, 1)}),
            "not within": lambda: pinn.calibrate(model, quotes, good, {"sigma": 0.2}, bounds={"sigma": (0.3, 1)}),
            "outside the domain": lambda: pinn.calibrate(model, quotes, good, {"sigma": 2.0}),
            "no prices": lambda: pinn.calibrate(
                PinnModel.from_layers([(np.ones((1, 1)), np.zeros(1))]), quotes, good, {"sigma": 2.0}
            ),
        }.items():
            with pytest.raises(ParameterError, match=message):
                call()
        for name, call in {
            "model": lambda: pinn.calibrate("european", quotes, good, {"sigma": 0.2}),
            "quotes": lambda: pinn.calibrate(model, "ab", good, {"sigma": 0.2}),
            "contracts: K": lambda: pinn.calibrate(model, quotes, {**good, "K": ["a", "b"]}, {"sigma": 0.2}),
            "contracts": lambda: pinn.calibrate(model, quotes, None, {"sigma": 0.2}),
            "ranges": lambda: pinn.sensitivity(model, [1.0]),
            "models": lambda: pinn.compare([model]),
        }.items():
            with pytest.raises(DTypeError, match=rf"^{name}: "):
                call()
        for other in (model, PinnModel.load("american")):
            with pytest.raises(ParameterError, match="points: 0"):
                other.diagnose(points=0)
        with pytest.raises(ShapeError, match="contracts: 'K'"):
            pinn.calibrate(model, np.ones(3), good, {"sigma": 0.2})
        with pytest.raises(ShapeError, match="2 parameters take"):
            pinn.calibrate(model, quotes[:1], {"S": 100.0, "K": 95.0, "tau": 0.5}, {"sigma": 0.2, "r": 0.0})


#: To which share of themselves parameters come back: prices of heston and merton hardly tell some of them apart.
_RECOVERED = {"barrier": 1e-3, "american": 3e-3, "merton": 2e-2, "heston": 2e-2}


def test_sensitivity():
    model = PinnModel.load("barrier")
    region = {
        "S": (95.0, 110.0),
        "K": 105.0,
        "tau": (0.2, 0.6),
        "sigma": (0.2, 0.35),
        "r": 0.02,
        "barrier": (80.0, 90.0),
    }
    found = pinn.sensitivity(model, region, points=2000)
    assert set(found) == {"S", "tau", "sigma", "barrier"}
    assert next(iter(found)) == "S"
    assert sum(entry["share"] for entry in found.values()) == pytest.approx(1.0)
    assert found["S"]["elasticity"] > 1.0 > 0.0 > found["barrier"]["elasticity"]
    with pytest.raises(ParameterError, match="ranges: 'vol'"):
        pinn.sensitivity(model, {**region, "vol": (0.1, 0.2)})
    with pytest.raises(ParameterError, match="no point"):
        pinn.sensitivity(model, {**region, "tau": (20.0, 30.0)})


def test_compare():
    best = PinnModel.load("barrier")
    worse = PinnTrainer("barrier", (8, 8)).fit([("adam", 100)], points=256, redraw_every=0).model
    table = pinn.compare({"worse": worse, "best": best}, points=500, rounds=1)
    assert [row["name"] for row in table] == ["best", "worse"]
    assert table[0]["max_error"] <= FIGURES["barrier"] < table[1]["max_error"]
    assert table[0]["us_per_price"] > 0
    other = pinn.compare({"worse": worse}, points=500, rounds=1, reference=lambda **a: worse.price(**a))
    assert other[0]["max_error"] == 0.0
    assert pinn.compare({"e": PinnModel.load("european")}, points=500, rounds=1)[0]["max_error"] < 5e-7
    with pytest.raises(ParameterError, match="of one"):
        pinn.compare({"a": best, "b": PinnModel.load("european")})
    with pytest.raises(ParameterError, match="no product"):
        pinn.compare({})


def test_domains():
    """A narrower domain is guarded; a wrong one is refused."""
    trained = PinnTrainer(pinn.Barrier(v=(0.0, 0.04)), (4,)).fit([("adam", 5)], points=64, redraw_every=0)
    model = trained.model
    assert model.domain["v"] == (0.0, 0.04)
    assert model.greeks(**{**CONTRACTS["barrier"], "tau": 1.0}, which="status")["status"] == 1
    with pytest.raises(ParameterError, match="domain: 'x'"):
        pinn.Barrier(x=(0.0, 1.0))
    with pytest.raises(ParameterError, match="domain: v"):
        pinn.Barrier(v=(1.0, 0.0))
    with pytest.raises(ParameterError, match="never takes"):
        pinn.Barrier(v=(-0.1, 0.1))
    with pytest.raises(ParameterError, match="never takes"):
        pinn.Heston(rho=(-1.0, 0.0))
    assert pinn.Heston(rho=(-0.99, 0.99)).wider()["rho"] == (-0.999, 0.999)
    with pytest.raises(ParameterError, match="features"):
        PinnModel.from_layers(model.layers, features=model.features[:2], ansatz="barrier", domain=model.domain)
    with pytest.raises(ParameterError, match="domain: has v"):
        PinnModel.from_layers(model.layers, features=model.features, ansatz="barrier", domain={"v": (0.0, 0.04)})
    with pytest.raises(ParameterError, match="ansatz"):
        PinnModel.from_layers(model.layers, features=model.features, ansatz="asian", domain=model.domain)


def test_results_that_would_lie_over_each_other():
    model, spot = ProductModel.load("american"), np.array([90.0, 100.0, 110.0])
    for strides, size in (((0,), 1), ((4,), 2)):
        shared = np.lib.stride_tricks.as_strided(np.empty(size), (3,), strides)
        with pytest.raises(LayoutError, match="share one place"):
            model.price(spot, 100.0, 0.5, 0.3, 0.05, out=shared)
