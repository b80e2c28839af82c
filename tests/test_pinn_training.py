# SPDX-License-Identifier: Apache-2.0
"""Training of networks of prices (warpquant.pinn)."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import pytest

from warpquant.errors import DTypeError, ParameterError, ShapeError, StateError
from warpquant.pinn import American, European, LinearPde, PinnModel, PinnTrainer, residual_loss_grad, training
from warpquant.pinn._minimize import Lbfgs, LevenbergMarquardt, SsBroyden, damped_least_squares

SHORT = [("adam", 100), ("ssbroyden", 150)]


def rosenbrock(x):
    a, b = x[:-1], x[1:]
    g = np.zeros_like(x)
    g[:-1] = -400 * a * (b - a * a) - 2 * (1 - a)
    g[1:] += 200 * (b - a * a)
    return float(np.sum(100 * (b - a * a) ** 2 + (1 - a) ** 2)), g


@pytest.mark.parametrize("method", [SsBroyden, Lbfgs])
def test_minimisers(method):
    at = method(np.full(9, -1.2))
    losses = [at.step(rosenbrock, None) for _ in range(200) if at.alive]
    assert losses[-1] < 1e-18
    assert all(b <= a for a, b in itertools.pairwise(losses))
    np.testing.assert_allclose(at.x, 1.0, atol=1e-8)


def test_a_short_run_learns():
    trainer = PinnTrainer("european", seed=3).fit(SHORT, points=1024)
    model = trainer.model
    norms = model.info()["norms"]
    # Untrained they are 1e-1; where a short run ends varies with the rounding of the level.
    assert norms["max_error"] < 1e-3
    assert norms["relative_l2"] < 5e-4
    training = model.info()["training"]
    assert (training["seed"], training["phases"], training["points"]) == (3, [list(p) for p in SHORT], 1024)
    assert trainer.history[-1]["step"] == training["steps"]


@pytest.mark.slow
def test_the_whole_run_reaches_its_figure():
    """The default plan of steps; another seed than the shipped model's."""
    norms = PinnTrainer("european", seed=1).fit().model.info()["norms"]
    assert norms["max_error"] <= 5e-7
    assert norms["relative_l2"] <= 2e-7
    assert norms["gamma_error"] <= 2e-3


def test_threads_and_runs_give_the_same_bits():
    plan = [("adam", 20), ("ssbroyden", 20), ("lbfgs", 10)]
    runs = [PinnTrainer("european", (12, 12), seed=5, num_threads=n).fit(plan, points=1100) for n in (1, 2, 2)]
    assert runs[0].weights.tobytes() == runs[1].weights.tobytes() == runs[2].weights.tobytes()
    other = PinnTrainer("european", (12, 12), seed=6).fit(plan, points=1100)
    assert other.weights.tobytes() != runs[0].weights.tobytes()


@pytest.mark.parametrize("stop", [7, 30, 33, 55])
def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path, stop):
    plan = [("adam", 20), ("ssbroyden", 25), ("lbfgs", 20)]
    how = {"points": 600, "redraw_every": 15, "checkpoint_every": 10}

    def interrupt(step, total, loss):
        if step == stop:
            raise KeyboardInterrupt

    whole = PinnTrainer("european", (8, 8), seed=2).fit(plan, **how)
    path = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        PinnTrainer("european", (8, 8), seed=2).fit(plan, checkpoint=path, progress=interrupt, **how)
    again = PinnTrainer("european", (8, 8), seed=2).fit(plan, checkpoint=path, **how)
    assert again.weights.tobytes() == whole.weights.tobytes()
    assert [entry["step"] for entry in again.history][-1] == 65
    with pytest.raises(StateError, match="another run"):
        PinnTrainer("european", (8, 8), seed=3).fit(plan, checkpoint=path, **how)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(StateError, match="is no checkpoint"):
        PinnTrainer("european", (8, 8), seed=2).fit(plan, checkpoint=path, **how)


def test_a_step_that_is_interrupted_did_not_happen(monkeypatch, tmp_path):
    """The state that is kept is the one before the step."""
    plan, path = [("adam", 5), ("ssbroyden", 20)], tmp_path / "run.npz"
    whole = PinnTrainer("european", (6, 6), seed=2).fit(plan, points=200)
    calls, real = [], training._Run._function

    def function(self, x):
        calls.append(1)
        if len(calls) == 17:
            raise KeyboardInterrupt
        return real(self, x)

    monkeypatch.setattr(training._Run, "_function", function)
    with pytest.raises(KeyboardInterrupt):
        PinnTrainer("european", (6, 6), seed=2).fit(plan, points=200, checkpoint=path)
    again = PinnTrainer("european", (6, 6), seed=2).fit(plan, points=200, checkpoint=path)
    assert again.weights.tobytes() == whole.weights.tobytes()


def test_an_interrupted_redraw_is_made_up_for(monkeypatch, tmp_path):
    """Points are drawn anew at once, or not: the run that goes on does it first."""
    plan, path = [("adam", 12), ("ssbroyden", 12)], tmp_path / "run.npz"
    how = {"points": 300, "redraw_every": 8, "checkpoint_every": 100}
    whole = PinnTrainer("european", (6, 6), seed=2).fit(plan, **how)
    for call in (2, 3, 5):  # of the first set; then a pool and a set for each redraw
        calls, real = [], European.collocate

        def collocate(self, coordinates, calls=calls, real=real, call=call):
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt
            return real(self, coordinates)

        with monkeypatch.context() as patched:
            patched.setattr(European, "collocate", collocate)
            with pytest.raises(KeyboardInterrupt):
                PinnTrainer("european", (6, 6), seed=2).fit(plan, checkpoint=path, **how)
        again = PinnTrainer("european", (6, 6), seed=2).fit(plan, checkpoint=path, **how)
        assert again.weights.tobytes() == whole.weights.tobytes()
        path.unlink()


def broken(monkeypatch, at, loss=True, gradient=True):
    """From an evaluation on the loss is NaN, or its gradient."""
    calls, real, real_rows = [], training._loss, training._Run._linearise

    def function(*arguments, **more):
        calls.append(1)
        found, slopes, residuals = real(*arguments, **more)
        if len(calls) < at:
            return found, slopes, residuals
        return np.nan if loss else found, np.full_like(slopes, np.nan) if gradient else slopes, residuals

    def linearise(self, x):
        found, rows = real_rows(self, x)
        return (found, rows) if len(calls) < at else (found * np.nan, rows * np.nan)

    monkeypatch.setattr(training, "_loss", function)
    monkeypatch.setattr(training._Run, "_linearise", linearise)


class TestDivergence:
    """A run whose numbers are none does not cost the file that it could go on from."""

    HOW: ClassVar = {"points": 200, "checkpoint_every": 10, "redraw_every": 0}

    @pytest.mark.parametrize("name", ["adam", "ssbroyden", "lbfgs", "lm"])
    @pytest.mark.parametrize("parts", [(True, True), (True, False), (False, True)])
    def test_the_checkpoint_stays(self, monkeypatch, tmp_path, name, parts):
        path, plan = tmp_path / "run.npz", [("adam", 15), (name, 60)]
        written = {}

        def watch(step, total, loss):
            if path.exists():
                written[step] = path.read_bytes()

        with monkeypatch.context() as patched:
            broken(patched, 29, *parts)
            trainer = PinnTrainer("european", (6, 6), seed=2)
            if name == "lm" and parts[0]:  # of all dampings no step is a lower loss: the run ends where it is
                trainer.fit(plan, checkpoint=path, progress=watch, **self.HOW)
            else:
                message = f"'{name}' diverged at step .* is .*; the trainer has the weights of before, and"
                with pytest.raises(ParameterError, match=message):
                    trainer.fit(plan, checkpoint=path, progress=watch, **self.HOW)
                assert path.read_bytes() == written[max(written)]
        assert np.isfinite(trainer.weights).all()
        assert np.isfinite(trainer.model.diagnose()["max_error"])
        whole = PinnTrainer("european", (6, 6), seed=2).fit(plan, **self.HOW)
        again = PinnTrainer("european", (6, 6), seed=2)
        path.write_bytes(written[10])
        assert again.fit(plan, checkpoint=path, **self.HOW).weights.tobytes() == whole.weights.tobytes()

    @pytest.mark.parametrize("at", [20, 21])
    def test_at_the_step_that_would_be_written(self, monkeypatch, tmp_path, at):
        """The loss is a number still, the weights after the step are none."""
        path, plan = tmp_path / "run.npz", [("adam", 60)]
        real = training.Adam.step

        def step(self, function, linearise):
            loss = real(self, function, linearise)
            if self.steps == at:
                self.x[3] = np.inf
            return loss

        monkeypatch.setattr(training.Adam, "step", step)
        trainer = PinnTrainer("european", (6, 6), seed=2)
        kept = {20: 10, 21: 20}[at]
        for _ in range(2):  # from the start, and from the file
            message = f"diverged at step {at}: a weight is not finite; .* the state of step {kept}"
            with pytest.raises(ParameterError, match=message):
                trainer.fit(plan, checkpoint=path, **self.HOW)
            assert np.isfinite(trainer.weights).all()
            with np.load(path) as file:
                assert all(np.isfinite(file[name]).all() for name in file.files)
            trainer = PinnTrainer("european", (6, 6), seed=2)

    def test_before_there_is_a_file(self, monkeypatch, tmp_path):
        broken(monkeypatch, 1)
        trainer = PinnTrainer("european", (6, 6), seed=2)
        before = trainer.weights.copy()
        with pytest.raises(ParameterError, match=r"the trainer has the weights of before$"):
            trainer.fit([("adam", 20)], checkpoint=tmp_path / "run.npz", **self.HOW)
        assert not list(tmp_path.iterdir())
        np.testing.assert_array_equal(trainer.weights, before)

    def test_steps_that_are_too_long(self, monkeypatch, tmp_path):
        """Of a problem without a lowest loss: weights overflow."""
        path = tmp_path / "run.npz"

        def steep(self, x):
            return float(np.sum(x**4)) if np.abs(x).max() < 1e70 else np.nan, np.sign(x) * 1e3 * np.abs(x) ** 3

        monkeypatch.setattr(training._Run, "_function", steep)
        monkeypatch.setattr(
            "warpquant.optim.Adam.step", lambda self, g: np.add(self._params[0], g, out=self._params[0])
        )
        trainer = PinnTrainer("european", (6, 6), seed=2)
        with pytest.raises(ParameterError, match="diverged"), np.errstate(all="ignore"):
            trainer.fit([("adam", 60)], checkpoint=path, points=64, checkpoint_every=1)
        assert np.isfinite(trainer.weights).all()
        with np.load(path) as file:
            assert all(np.isfinite(file[name]).all() for name in file.files)

    def test_residuals_at_new_points(self, tmp_path):
        """An equation that is none in some places, which the first points are not in."""
        seen = []

        def drift(x):
            seen.append(x.shape[1])
            return np.array([[0.0], [-1.0]]) * (np.nan if len(seen) > 1 else 1.0)

        path = tmp_path / "run.npz"
        problem = LinearPde(
            [(-1.0, 1.0), (0.0, 1.0)], diffusion=[lambda x: np.array([[1.0], [0.0]])], drift=drift,
            conditions=[(1, 0.0, lambda x: np.cos(x[0]))],
        )  # fmt: skip
        trainer = PinnTrainer(problem, (4,))
        with pytest.raises(ParameterError, match=r"drawn anew after step 20 are not finite; .* the state of step 10"):
            trainer.fit([("adam", 40)], points=64, checkpoint=path, checkpoint_every=10, redraw_every=20)
        assert np.isfinite(trainer.weights).all()


def test_curvature_outlives_a_redraw():
    """The inverse Hessian is scaled, not forgotten; L-BFGS begins again."""
    function = {1: rosenbrock, 2: lambda x: tuple(1.01 * part for part in rosenbrock(x))}
    method = SsBroyden(np.full(5, -1.2))
    for _ in range(12):
        method.step(function[1], None)
    matrix = method.state()["optimizer"]["state"][0]["inverse_hessian"]
    method.redrawn()
    np.testing.assert_array_equal(method.state()["optimizer"]["state"][0]["inverse_hessian"], 0.5 * matrix)
    while method.alive and method.steps < 300:
        method.step(function[2], None)
    np.testing.assert_allclose(method.x, 1.0, atol=1e-8)
    lbfgs = Lbfgs(np.full(5, -1.2))
    for _ in range(5):
        lbfgs.step(function[1], None)
    lbfgs.redrawn()
    assert not lbfgs.state()["optimizer"]["state"]


def test_a_minimiser_that_is_stuck_stops():
    """At the minimum nothing gets better: no endless idle steps."""
    for cls in (SsBroyden, Lbfgs):
        method = cls(np.zeros(3))
        while method.alive and method.steps < 10:
            method.step(lambda x: (float(x @ x), 2.0 * x), None)
        assert method.steps <= 3, cls


def rosenbrock_rows(x):
    """Residuals of it, and their gradients."""
    n = len(x)
    rows = np.zeros((2 * n - 2, n))
    k = np.arange(n - 1)
    rows[k, k], rows[k, k + 1], rows[n - 1 + k, k] = -20.0 * x[:-1], 10.0, -1.0
    return np.concatenate([10.0 * (x[1:] - x[:-1] ** 2), 1.0 - x[:-1]]), rows


@pytest.mark.parametrize("shape", [(30, 7), (7, 30)])
@pytest.mark.parametrize("damping", [1e-12, 0.3])
def test_damped_least_squares(shape, damping):
    """Against the pseudo-inverse of the stacked matrix."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=shape), rng.normal(size=shape[0])
    stacked = np.concatenate([a, np.sqrt(damping) * np.eye(shape[1])])
    wanted = np.linalg.pinv(stacked) @ np.concatenate([b, np.zeros(shape[1])])
    np.testing.assert_allclose(damped_least_squares(a, b, damping), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("n", [2, 9])
def test_levenberg_marquardt(n):
    method = LevenbergMarquardt(np.full(n, -1.2))
    losses = []
    while method.alive and method.steps < 200:
        losses.append(method.step(rosenbrock, rosenbrock_rows))
    assert losses[-1] < 1e-25
    assert all(b <= a for a, b in itertools.pairwise(losses))
    np.testing.assert_allclose(method.x, 1.0, atol=1e-10)


def test_levenberg_marquardt_with_fewer_residuals_than_parameters():
    """The shortest way to where all residuals are 0."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(4, 11)), rng.normal(size=4)
    method = LevenbergMarquardt(np.zeros(11))
    while method.alive and method.steps < 60:
        method.step(lambda x: (float(np.sum((a @ x - b) ** 2)), None), lambda x: (a @ x - b, a))
    np.testing.assert_allclose(method.x, np.linalg.pinv(a) @ b, atol=1e-6)


def test_a_network_polished_by_levenberg_marquardt(tmp_path):
    """Where steps of SSBroyden bring little, on few parameters; and a run that goes on has the same bits."""
    plan = [("adam", 100), ("lm", 8)]
    whole = PinnTrainer("european", (6, 6), seed=1).fit(plan, points=200)
    by_adam = PinnTrainer("european", (6, 6), seed=1).fit([("adam", 108)], points=200)
    assert whole.history[-1]["loss"] < 0.1 * by_adam.history[-1]["loss"]
    path, stop = tmp_path / "run.npz", 104

    def interrupt(step, total, loss):
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PinnTrainer("european", (6, 6), seed=1).fit(plan, points=200, checkpoint=path, progress=interrupt)
    again = PinnTrainer("european", (6, 6), seed=1).fit(plan, points=200, checkpoint=path)
    assert again.weights.tobytes() == whole.weights.tobytes()
    with pytest.raises(ParameterError, match="'lm' takes up to 4096 points"):
        whole.fit([("lm", 1)], points=5000)


def test_smoothing_falls_from_phase_to_phase():
    problem = American()
    problem.SMOOTHING = (1e-2, 1e-6)
    trainer = PinnTrainer(problem, (4,))
    run = training._Run(trainer, [("adam", 2), ("ssbroyden", 2), ("ssbroyden", 2), ("lbfgs", 2)], 64)
    seen = []
    while run.more():
        run.step()
        seen.append(run.smoothing)
    assert seen[0] == pytest.approx(1e-2)
    assert seen[-1] == pytest.approx(1e-6)
    assert sorted(set(np.round(np.log10(seen), 6))) == pytest.approx([-6.0, -4.0, -2.0])


def test_stopping():
    target = PinnTrainer("european", (8, 8)).fit([("adam", 500)], points=256, target=0.05)
    assert 0 < target.history[-1]["step"] < 500
    assert target.history[-1]["loss"] <= 0.05
    patient = PinnTrainer("european", (8, 8)).fit([("adam", 400), ("lbfgs", 3)], points=256, patience=3)
    assert patient.model.info()["training"]["steps"] < 403


def test_checkpoints_are_of_one_equation(tmp_path):
    path, plan = tmp_path / "run.npz", [("adam", 20)]

    def trainer(sign):
        return PinnTrainer(
            LinearPde(
                [(-1.0, 1.0), (0.0, 1.0)],
                diffusion=[lambda x: np.array([[1.0], [0.0]])],
                drift=lambda x: np.array([[0.0], [-1.0]]),
                conditions=[(1, 0.0, lambda x: sign * np.cos(x[0]))],
            ),
            (4,),
        )

    first = trainer(1.0).fit(plan, points=64, target=1e9, checkpoint=path)
    again = trainer(1.0).fit(plan, points=64, target=1e9, checkpoint=path)  # has reached its target
    assert np.array_equal(again.weights, first.weights)
    assert again.model.info()["training"]["steps"] == 1
    with pytest.raises(StateError, match="another equation"):
        trainer(-1.0).fit(plan, points=64, target=1e9, checkpoint=path)
    with np.load(path) as file:
        arrays = dict(file)
    name = next(k for k, v in arrays.items() if k != "state" and v.ndim == 1 and v.dtype == float)
    arrays[name][0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(StateError, match="not finite"):
        trainer(1.0).fit(plan, points=64, target=1e9, checkpoint=path)


def test_linear_equations():
    """Heat with a source, whose solution is known: u_t = u_xx / 2 + f."""

    def solution(x):
        return np.exp(-x[1]) * np.sin(2 * x[0])

    problem = LinearPde(
        [(-1.0, 1.0), (0.0, 1.0)],
        diffusion=[lambda x: np.array([1.0, 0.0])[:, None]],
        drift=lambda x: np.array([0.0, -1.0])[:, None],
        source=lambda x: -solution(x),  # 1/2 u_xx - u_t = -2 u + u
        conditions=[(0, -1.0, solution), (0, 1.0, solution), (1, 0.0, solution)],
        solution=solution,
    )
    trainer = PinnTrainer(problem, (12, 12), seed=0).fit([("adam", 200), ("ssbroyden", 300)], points=512)
    norms = trainer.model.info()["norms"]
    assert norms["max_error"] < 1e-4
    x = problem.draw(50, 1)
    np.testing.assert_allclose(trainer.model.evaluate(problem.scaled(x).T), solution(x), atol=1e-4)


def test_two_assets_as_an_equation_of_the_user():
    """Two directions and a decay: u_t = 1/2 (l1 grad)^2 u + 1/2 (l2 grad)^2 u + b grad u - r u of a plane wave."""
    l1, l2 = np.array([0.3, 0.1, 0.0]), np.array([0.0, 0.2, 0.0])
    b, r, wave = np.array([0.02, -0.01, -1.0]), 0.05, np.array([0.7, -0.4])
    rate = 0.5 * ((l1[:2] @ wave) ** 2 + (l2[:2] @ wave) ** 2) + b[:2] @ wave - r

    def solution(x):
        return np.exp(wave @ x[:2] + rate * x[2])

    problem = LinearPde(
        [(-1.0, 1.0), (-1.0, 1.0), (0.0, 1.0)],
        diffusion=[lambda x: l1[:, None], lambda x: l2[:, None]],
        drift=lambda x: b[:, None],
        decay=lambda x: np.full(x.shape[1], r),
        conditions=[(2, 0.0, solution), *((axis, side, solution) for axis in (0, 1) for side in (-1.0, 1.0))],
        solution=solution,
    )
    norms = PinnTrainer(problem, (10, 10)).fit([("adam", 200), ("ssbroyden", 200)], points=512).model.info()["norms"]
    assert norms["max_error"] < 1e-4


def test_event_files(tmp_path):
    pytest.importorskip("tensorboard")
    PinnTrainer("european", (6,)).fit([("adam", 20)], points=64, log_dir=tmp_path, log_every=5)
    assert [p for p in tmp_path.iterdir() if "tfevents" in p.name]


def test_saved_models(tmp_path):
    path = tmp_path / "model"
    PinnTrainer(European(v=0.09), (6, 6)).fit([("adam", 10)], points=64).save(path)
    model = PinnModel.load(path)
    assert model.domain == {"k": (-1.65, 1.15), "v": (0.0, 0.09)}
    assert model.info()["problem"]["equation"] == "c_v = (c_kk - c_k) / 2"


def test_what_is_refused():
    trainer = PinnTrainer("european", (6,))
    with pytest.raises(ParameterError, match="problem: 'asian'"):
        PinnTrainer("asian")
    with pytest.raises(ParameterError, match="phases: 'sgd'"):
        trainer.fit([("sgd", 10)])
    with pytest.raises(ParameterError, match="phases: there are none"):
        trainer.fit([])
    with pytest.raises(ParameterError, match="points"):
        trainer.fit(points=3)
    for phases in ("adam", 5, [("adam", -1)], ["adam"]):
        with pytest.raises(ParameterError, match=r"^phases: "):
            trainer.fit(phases)
    with pytest.raises(ParameterError, match="progress: 'bar'"):
        trainer.fit([("adam", 1)], progress="bar")
    with pytest.raises(FileNotFoundError, match=r"checkpoint: the folder of nowhere.run\.npz"):
        trainer.fit([("adam", 1)], checkpoint="nowhere/run.npz")
    for widths in (20, "20"):
        with pytest.raises(ParameterError, match="widths: "):
            PinnTrainer("european", widths)
    with pytest.raises(ParameterError, match="use 'lbfgs'"):
        PinnTrainer("european", (64, 64, 64)).fit([("ssbroyden", 10)])
    with pytest.raises(ParameterError, match="seed"):
        PinnTrainer("european", seed=-1)
    with pytest.raises(ParameterError, match="k: "):
        European(k=(1.0, 2.0))
    with pytest.raises(ParameterError, match="box"):
        LinearPde([(1.0, 0.0)], diffusion=[lambda x: x], drift=lambda x: x)


def test_equations_that_are_none():
    """Each argument is refused by its name, at once or where its values come."""
    heat = {"diffusion": [lambda x: np.array([[1.0], [0.0]])], "drift": lambda x: np.array([[0.0], [-1.0]])}
    box = [(-1.0, 1.0), (0.0, 1.0)]
    for name, wrong in (
        ("box", {"box": "a"}), ("diffusion", {"diffusion": [1.0]}), ("drift", {"drift": 5}), ("decay", {"decay": 0.1}),
        ("conditions", {"conditions": [(0, 0.5)]}), ("conditions", {"conditions": [(0, 0.5, 1.0)]}),
        ("conditions", {"conditions": [(2, 0.5, np.cos)]}), ("conditions", {"conditions": [(0, "a", np.cos)]}),
    ):  # fmt: skip
        with pytest.raises(ParameterError, match=rf"^{name}: "):
            LinearPde(**{"box": box, **heat, **wrong})
    for name, error, wrong in (
        ("diffusion", ShapeError, {"diffusion": [lambda x: np.ones(5)]}),
        ("decay", ShapeError, {"decay": lambda x: np.ones(3)}),
        ("source", DTypeError, {"source": lambda x: "a"}),
        ("conditions", ShapeError, {"conditions": [(0, 0.5, lambda x: np.ones(3))]}),
    ):
        with pytest.raises(error, match=rf"^{name}: "):
            PinnTrainer(LinearPde(box, **{**heat, **wrong}), (4,)).fit([("adam", 1)], points=64)
    with pytest.raises(DTypeError, match=r"^coefficients: cannot be read"):
        residual_loss_grad(np.ones(4), (1, 1, 1), np.zeros((1, 3, 5)), "a", np.zeros(5))
    with pytest.raises(ParameterError, match=r"^widths: 5"):
        residual_loss_grad(np.ones(4), 5, np.zeros((1, 3, 5)), np.ones((3, 5)), np.zeros(5))
