# SPDX-License-Identifier: Apache-2.0
"""Training of networks (docs/pinn/training.md)."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from warpquant import _core, _statefile, config
from warpquant._checks import choice, flag, number, whole
from warpquant.errors import ParameterError, ShapeError, StateError

from . import _device_loss
from ._file import Layers
from ._minimize import METHODS, Adam, Method
from .model import PinnModel, read_numbers
from .problems import Array, Collocation, Problem
from .products import PROBLEMS

__all__ = ["PinnTrainer", "residual_loss_grad"]

_MOST_DENSE = 5000  # parameters of a dense inverse Hessian: 200 MB
_MOST_RESIDUALS = 4096  # whose gradients are kept as rows


def residual_loss_grad(
    weights: Any,
    widths: Sequence[int],
    features: Any,
    coefficients: Any,
    constants: Any,
    loss_weights: Any = None,
    *,
    activation: str = "tanh",
    positive: bool = False,
    obstacle: Any = None,
    smoothing: float = 1e-6,
    with_residuals: bool = False,
    num_threads: int | None = None,
    device: str | None = None,
    stream: Any = None,
) -> tuple[Any, ...]:
    """Loss of residuals that are linear in derivatives of a network, and its gradient in the weights.

    The residual of a point is ``r = sum_j a_j n_j + b`` with the streams n of the network N: its value, its derivatives
    along d directions, and ``1/2 sum_m d_m^2 N + first-order terms``. The loss is ``sum w r^2``. Inputs of the network
    come with the same streams, so they may be any functions of the coordinates.

    Parameters
    ----------
    weights : array, shape (p,)
        Layer by layer the weights as (out, in), then the bias.
    widths : sequence of int
        Neurons of the layers, the inputs first, 1 last.
    features : array, shape (inputs, d + 2, n)
        Streams of the inputs; d is 1 to 3.
    coefficients : array, shape (d + 2, n)
        a.
    constants : array, shape (n,)
        b.
    loss_weights : array, shape (n,), optional
        w; by default 1 / n.
    activation : str, optional
        As for `PinnModel.from_layers`.
    positive : bool, optional
        Take ``ln(1 + e^N)`` in the place of N.
    obstacle : array, shape (2, n), optional
        Rows c and e of a free boundary: with p as r above and ``q = c n_0 + e``, of which one is to be 0 and the other
        at least 0, the residual is ``p + q - sqrt(p^2 + q^2 + smoothing^2)`` (Fischer and Burmeister).
    smoothing : float, optional
        Above 0; goes with `obstacle`.
    with_residuals : bool, optional
        Whether to return r, too.
    num_threads : int, optional
        CPU threads; they change no bit.
    device, stream
        As for every function of the package. Arrays on a device are compact and all on it, of float64, or of float32,
        in which it then computes; nobody waits, so that the call may be prepared and captured. Sums of a device are in
        an order of their own, which is the same for every run.

    Returns
    -------
    loss : float
    gradient : numpy.ndarray, shape (p,)
    residuals : numpy.ndarray, shape (n,)
        If they were asked for. Of arrays on a device all are arrays there, of the kind of `weights`.

    Raises
    ------
    ShapeError, DTypeError, ParameterError
        If an argument is not accepted.

    Examples
    --------
    >>> import numpy as np, warpquant.pinn
    >>> loss, gradient = warpquant.pinn.residual_loss_grad(
    ...     np.ones(4), (1, 1, 1), np.zeros((1, 3, 5)), np.ones((3, 5)), np.zeros(5))
    >>> round(loss, 6), gradient.shape
    (3.103214, (4,))
    """
    if isinstance(widths, (str, bytes)) or not isinstance(widths, Iterable):
        raise ParameterError(f"widths: {widths!r} is no list of numbers of neurons")
    sizes = [whole("widths", w, 1, 4096) for w in widths]
    if len(sizes) < 2 or sizes[-1] != 1:
        raise ParameterError(f"widths: {tuple(widths)!r} does not end with one output")
    choice("activation", activation, _core.PINN_ACTIVATIONS)
    if device is not None or stream is not None or _device_loss.on_device(weights):
        place, there = _device_loss.arguments(
            (weights, features, coefficients, constants, loss_weights, obstacle), device, stream, num_threads
        )
        if place is not None:
            return _device_loss.loss_grad(
                there, sizes, activation, flag("positive", positive), number("smoothing", smoothing, 1e-150),
                with_residuals, num_threads, place,
            )  # fmt: skip
    given = {"weights": weights, "features": features, "coefficients": coefficients, "constants": constants}
    x, f, a, b = (read_numbers(name, value) for name, value in given.items())
    if f.ndim != 3 or f.shape[0] != sizes[0] or not 3 <= f.shape[1] <= 5:
        raise ShapeError(f"features: has shape {f.shape}; accepted is ({sizes[0]}, 3 to 5, points)")
    points = f.shape[2]
    w = np.full(points, 1.0 / max(points, 1)) if loss_weights is None else read_numbers("loss_weights", loss_weights)
    for name, array, shape in (
        ("coefficients", a, f.shape[1:]),
        ("constants", b, (points,)),
        ("loss_weights", w, (points,)),
    ):
        if array.shape != shape:
            raise ShapeError(f"{name}: has shape {array.shape}; accepted is {shape}")
    count = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
    if x.shape != (count,):
        raise ShapeError(f"weights: has shape {x.shape}; accepted is ({count},)")
    number("smoothing", smoothing, 1e-150)
    boundary = None if obstacle is None else read_numbers("obstacle", obstacle)
    if boundary is not None and boundary.shape != (2, points):
        raise ShapeError(f"obstacle: has shape {boundary.shape}; accepted is (2, {points})")
    net = _core.PinnNet(sizes, activation, x, None, False)
    loss, gradient, residuals = net.loss(
        None, f, a, b, w, flag("positive", positive), boundary, float(smoothing), True, with_residuals,
        *config._execution(num_threads),
    )  # fmt: skip
    return (loss, gradient, residuals) if with_residuals else (loss, gradient)


class PinnTrainer:
    """Trains a network to solve an equation.

    Parameters
    ----------
    problem : str or Problem
        One of 'european', 'american', 'barrier', 'exchange', 'heston', 'merton'; or an object such as `European`.
    widths : sequence of int, optional
        Neurons of the hidden layers; by default what the problem's recipe says.
    activation : str
        As for `PinnModel.from_layers`.
    seed : int
        Of weights and points; the same seed gives the same bits on the same machine, for any number of threads.
    num_threads : int, optional
        CPU threads.

    Attributes
    ----------
    history : list of dict
        Phase, step, loss, and seconds since the call, every few steps.

    Examples
    --------
    >>> from warpquant.pinn import PinnTrainer
    >>> trainer = PinnTrainer("european", widths=(8, 8), seed=1)
    >>> model = trainer.fit([("adam", 20), ("ssbroyden", 20)], points=256).model
    >>> model.info()["training"]["seed"]
    1
    """

    def __init__(
        self,
        problem: str | Problem,
        widths: Sequence[int] | None = None,
        *,
        activation: str = "tanh",
        seed: int = 0,
        num_threads: int | None = None,
    ) -> None:
        if not isinstance(problem, Problem):
            problem = PROBLEMS[choice("problem", problem, PROBLEMS)]()
        self.problem = problem
        self.activation = choice("activation", activation, _core.PINN_ACTIVATIONS)
        self.seed = whole("seed", seed, 0, 2**31)
        chosen = problem.RECIPE["widths"] if widths is None else widths
        if isinstance(chosen, (str, bytes)) or not isinstance(chosen, Iterable):
            raise ParameterError(f"widths: {chosen!r} is no list of numbers of neurons")
        self.widths = [problem.inputs, *(whole("widths", w, 1, 4096) for w in chosen), 1]
        self._how = config._execution(num_threads)
        rng = np.random.Generator(np.random.PCG64(self.seed))
        parts = []
        for i, o in zip(self.widths[:-1], self.widths[1:], strict=True):
            parts += [rng.standard_normal(o * i) * math.sqrt(2.0 / (i + o)), np.zeros(o)]
        self.weights: Array = np.concatenate(parts)
        self._net = _core.PinnNet(self.widths, self.activation, self.weights, None, False)
        self.history: list[dict[str, Any]] = []
        self._trained: dict[str, Any] | None = None

    # ------------------------------------------------------------------------------------------ the run

    def fit(
        self,
        phases: Sequence[tuple[str, int]] | None = None,
        *,
        points: int | None = None,
        redraw_every: int | None = None,
        redraw_share: float = 0.2,
        target: float = 0.0,
        patience: int = 0,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 500,
        log_dir: str | os.PathLike[str] | None = None,
        log_every: int = 50,
        progress: Callable[[int, int, float], None] | bool = False,
    ) -> PinnTrainer:
        """Train, from where the trainer stands or from a checkpoint.

        Parameters
        ----------
        phases : sequence of (str, int), optional
            Minimiser and most steps of it: 'adam', 'ssbroyden' (dense, up to 5,000 parameters), 'lbfgs', 'lm'
            (Levenberg-Marquardt, up to 4,096 points, with LAPACK's threads); by default those of the problem's recipe.
        points : int, optional
            Where the equation is to hold; by default as many as the recipe says.
        redraw_every : int, optional
            Steps after which a share of the points is drawn anew, where residuals are large; 0: never; by default as
            the recipe says. SSBroyden keeps half of what it has learnt of the curvature.
        redraw_share : float
            That share.
        target : float
            Stop at this loss.
        patience : int
            Stop a phase that has not brought the loss down by 1 % in as many steps; 0: never.
        checkpoint : path, optional
            File that takes the state of the run now and then and at its end, also where an exception ends it. If it is
            there, the run goes on from it, with the same bits as without the interruption. A run that diverges leaves
            it as it is: with the last state that was written before, or not there.
        checkpoint_every : int
            Steps between.
        log_dir : path, optional
            Folder for event files, which TensorBoard reads. Needs the package tensorboard.
        log_every : int
            Steps between entries of `history` and of the event files.
        progress : callable or bool
            Called with steps, most steps, and the loss; True draws a bar on stderr (needs rich).

        Returns
        -------
        PinnTrainer
            Itself; see `model`.

        Raises
        ------
        ParameterError
            If something is not accepted; if the run diverges, with loss or weights that are not finite. The trainer has
            the last weights then whose loss was finite.
        StateError
            If the checkpoint is of another run, or damaged.
        FileNotFoundError
            If the folder of the checkpoint is not there.
        ImportError
            Without a package that was asked for.
        """
        points = whole("points", self.problem.RECIPE["points"] if points is None else points, 16)
        redraw_every = self.problem.RECIPE.get("redraw_every", 0) if redraw_every is None else redraw_every
        plan = self._plan(self.problem.RECIPE["phases"] if phases is None else phases, points)
        for name, value in (("redraw_every", redraw_every), ("patience", patience)):
            whole(name, value, 0)
        for name, value in (("checkpoint_every", checkpoint_every), ("log_every", log_every)):
            whole(name, value, 1)
        number("redraw_share", redraw_share, 0.0, 1.0)
        number("target", target, 0.0)
        if not isinstance(progress, bool) and not callable(progress):
            raise ParameterError(f"progress: {progress!r} is neither True or False nor callable")
        if checkpoint is not None and not os.path.isdir(os.path.dirname(os.path.abspath(checkpoint))):
            raise FileNotFoundError(f"checkpoint: the folder of {os.fspath(checkpoint)} is not there")
        total = sum(steps for _, steps in plan)
        key = {
            "problem": self.problem.describe(), "widths": self.widths, "activation": self.activation,
            "seed": self.seed, "phases": [list(p) for p in plan], "points": points,
            "redraw": [redraw_every, redraw_share], "target": target, "patience": patience,
        }  # fmt: skip
        run = _Run(self, plan, points)
        if checkpoint is not None and os.path.exists(checkpoint):
            run.load(checkpoint, key)
        written = run.steps
        started = time.perf_counter()
        how = config.override(num_threads=self._how[0] or None, simd=self._how[1])  # of the optimizers
        with how, _writer(log_dir) as write, _bar(progress, total) as show:
            try:
                if redraw_every and run.steps > run.round * redraw_every + redraw_every - 1 and run.more():
                    run.redraw(redraw_share)  # which an interruption has left to do
                while run.more() and run.loss > target:
                    loss = run.step()
                    reached = loss <= target
                    if run.steps % log_every == 0 or reached or not run.more():
                        entry = {"phase": plan[run.phase][0], "step": run.steps, "loss": loss}
                        self.history.append({**entry, "seconds": time.perf_counter() - started})
                        write(run.steps, loss)
                    if reached:
                        show(run.steps, total, loss)
                        break
                    if patience and run.stale(loss) >= patience:
                        run.next_phase()
                    if redraw_every and run.steps % redraw_every == 0 and run.more():
                        run.redraw(redraw_share)
                    if checkpoint is not None and run.steps >= written + checkpoint_every and run.save(checkpoint, key):
                        written = run.steps
                    show(run.steps, total, loss)
            except _Diverged as why:
                self.weights = run.sound
                kept = "the trainer has the weights of before"
                if checkpoint is not None and os.path.exists(checkpoint):
                    kept += f", and {os.fspath(checkpoint)} the state of step {written}"
                raise ParameterError(f"phases: {why}; {kept}") from None
            except BaseException:
                self._leave(run, checkpoint, key)
                raise
        self._leave(run, checkpoint, key)
        self._trained = {**{k: v for k, v in key.items() if k != "problem"}, "steps": run.steps, "loss": run.loss}
        return self

    def _leave(self, run: _Run, checkpoint: str | os.PathLike[str] | None, key: dict[str, Any]) -> None:
        self.weights = run.method.x.copy()
        # A step that was interrupted within its update is lost; the state before is in the file of old.
        if checkpoint is not None and not run.method.torn:
            run.save(checkpoint, key)

    def _plan(self, phases: Sequence[tuple[str, int]], points: int) -> list[tuple[str, int]]:
        plan = []
        if isinstance(phases, (str, bytes)) or not isinstance(phases, Iterable):
            raise ParameterError(f"phases: {phases!r} is no list of pairs of a name and a number of steps")
        for phase in phases:
            if not isinstance(phase, (tuple, list)) or len(phase) != 2:
                raise ParameterError(f"phases: {phase!r} is no pair of a name and a number of steps")
            name = choice("phases", phase[0], METHODS)
            if name == "ssbroyden" and len(self.weights) > _MOST_DENSE:
                raise ParameterError(
                    f"phases: 'ssbroyden' takes up to {_MOST_DENSE} parameters, the network has {len(self.weights)}; "
                    "use 'lbfgs'"
                )
            if name == "lm" and points > _MOST_RESIDUALS:
                raise ParameterError(f"phases: 'lm' takes up to {_MOST_RESIDUALS} points, not {points}")
            plan.append((name, whole("phases", phase[1], 0)))
        if not plan:
            raise ParameterError("phases: there are none")
        return plan

    # ------------------------------------------------------------------------------------------ the result

    @property
    def model(self) -> PinnModel:
        """The network as it stands, as a model."""
        plain = self._model({})
        metadata: dict[str, Any] = {"problem": self.problem.describe()}
        if self._trained is not None:
            metadata["training"] = self._trained
        norms = self.problem.errors(plain)
        return self._model({**metadata, "norms": norms} if norms else metadata)

    def _model(self, metadata: dict[str, Any]) -> PinnModel:
        layers: Layers = []
        at = 0
        for i, o in zip(self.widths[:-1], self.widths[1:], strict=True):
            weight = self.weights[at : at + i * o].reshape(o, i)
            layers.append((weight, self.weights[at + i * o : at + i * o + o]))
            at += (i + 1) * o
        return self.problem.model(layers, self.activation, metadata)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, with problem, errors and how it was trained.

        Parameters
        ----------
        path : path
            As for `PinnModel.save`.
        """
        self.model.save(path)


def _loss(
    net: Any, x: Array, c: Collocation, smoothing: float, how: tuple[int, str], *, slopes: bool = True
) -> tuple[float, Any, Any]:
    """Loss, its gradient (None without slopes), and, where it is at hand, the residuals.

    Residuals of several points take two passes: the sums first; then, as their slopes in every point's part are known,
    the gradient of those parts, each weighted with its slope. For that the core is given residuals that are 1/2.
    """
    if c.together == 1:
        found: Any = net.loss(
            x, c.features, c.coefficients, c.constants, c.weights, c.positive, c.obstacle, smoothing, slopes,
            not slopes, *how,
        )  # fmt: skip
        return found[0], found[1], found[2]
    count = c.features.shape[2]
    zero, one = np.zeros(count), np.ones(count)
    parts: Array = net.loss(
        x, c.features, c.coefficients, zero, one, c.positive, None, 0.0, False, True, *how
    )[2]  # fmt: skip
    residuals = parts.reshape(c.together, -1).sum(axis=0) + c.constants
    loss = float(np.sum(c.weights * residuals**2))
    if not slopes:
        return loss, None, residuals
    slope = np.tile(2.0 * c.weights * residuals, c.together)
    gradient = net.loss(
        None, c.features, c.coefficients * slope, 0.5 - parts * slope, one, c.positive, None, 0.0, True, False, *how
    )[1]
    return loss, gradient, residuals


class _Diverged(Exception):
    """Loss, weights or residuals are not finite."""


class _Run:
    """Where a training stands."""

    def __init__(self, trainer: PinnTrainer, plan: list[tuple[str, int]], points: int) -> None:
        self.trainer, self.plan = trainer, plan
        self.phase = self.steps = self.round = 0
        self.best, self.best_at, self.loss = math.inf, 0, math.inf
        self.coordinates = trainer.problem.draw(points, trainer.seed)
        self._collocate()
        self.fingerprint = _fingerprint(self.collocation)
        self.method = self._method(trainer.weights)
        #: The last weights whose loss was finite.
        self.sound: Array = trainer.weights
        self._skip_finished()

    def _collocate(self) -> None:
        self.collocation: Collocation = self.trainer.problem.collocate(self.coordinates)

    def _method(self, x: Array) -> Method:
        name, steps = self.plan[self.phase]
        return Adam(x, total=steps) if name == "adam" else METHODS[name](x)

    def _function(self, x: Array) -> tuple[float, Array]:
        loss, gradient, _ = _loss(self.trainer._net, x, self.collocation, self.smoothing, self.trainer._how)
        if math.isfinite(loss) and not _finite(gradient):
            raise _Diverged(
                f"{self.plan[self.phase][0]!r} diverged at step {self.steps + 1}: the gradient is not finite"
            )
        return loss, gradient

    def _linearise(self, x: Array) -> tuple[Array, Array]:
        """Residuals with the roots of their weights, and their gradients as rows."""
        net: Any = self.trainer._net
        c, how = self.collocation, self.trainer._how
        coefficients, constants = c.coefficients, c.constants
        if c.obstacle is not None:
            zero = np.zeros_like(constants)
            value = np.zeros_like(coefficients)
            value[0] = 1.0

            def part(a: Array, b: Array) -> Array:
                made: Array = net.loss(x, c.features, a, b, zero, c.positive, None, 0.0, False, True, *how)[2]
                return made

            p, q = part(coefficients, constants), c.obstacle[0] * part(value, zero) + c.obstacle[1]
            root = np.sqrt(p * p + q * q + self.smoothing**2)
            coefficients = (1.0 - p / root) * coefficients
            coefficients[0] += (1.0 - q / root) * c.obstacle[0]
            residuals, constants = p + q - root, zero
        if c.together > 1:
            constants = np.zeros(c.features.shape[2])
        values, rows = net.jacobian(x, c.features, coefficients, constants, c.positive, *how)
        if c.together > 1:
            residuals = values.reshape(c.together, -1).sum(axis=0) + c.constants
            rows = rows.reshape(c.together, -1, len(x)).sum(axis=0)
        elif c.obstacle is None:
            residuals = values
        root = np.sqrt(c.weights)
        return residuals * root, rows * root[:, None]

    @property
    def smoothing(self) -> float:
        """Of free boundaries: from the first quasi-Newton phase to the last one in equal ratios."""
        first, last = self.trainer.problem.SMOOTHING
        phases = [i for i, (name, _) in enumerate(self.plan) if name != "adam"]
        done = sum(i < self.phase for i in phases) / max(len(phases) - 1, 1)
        return float(first * (last / first) ** min(done, 1.0))

    def more(self) -> bool:
        return self.method.alive and self.method.steps < self.plan[self.phase][1]

    def step(self) -> float:
        method, before = self.method, self.method.x.copy()
        self.loss = method.step(self._function, self._linearise)
        self.steps += 1
        if math.isfinite(self.loss) and method.LOOKS_BACK:
            self.sound = before
        if not (math.isfinite(self.loss) and _finite(method.x)):
            what = "a weight is not finite" if math.isfinite(self.loss) else f"the loss is {self.loss}"
            raise _Diverged(f"{self.plan[self.phase][0]!r} diverged at step {self.steps}: {what}")
        if not method.LOOKS_BACK:
            self.sound = method.x.copy()
        self._skip_finished()
        return self.loss

    def _skip_finished(self) -> None:
        while not self.more() and self.phase + 1 < len(self.plan):
            self.next_phase()

    def next_phase(self) -> None:
        if self.phase + 1 < len(self.plan):
            self.phase += 1
            if self.plan[self.phase][0] == self.plan[self.phase - 1][0] == "ssbroyden" and self.method.alive:
                self.method.steps = 0  # what it knows of the curvature is of use still
                self.method.redrawn()
            else:
                self.method = self._method(self.method.x)
            self.best, self.best_at = math.inf, self.steps
        else:
            self.method.alive = False

    def stale(self, loss: float) -> int:
        """Steps since the loss was 1 % better than before."""
        if loss < 0.99 * self.best:
            self.best, self.best_at = loss, self.steps
        return self.steps - self.best_at

    def redraw(self, share: float) -> None:
        """New points in the place of some, drawn where residuals are large (RAD, Wu and others 2023)."""
        count = self.coordinates.shape[1]
        fresh = int(share * count)
        problem, seed = self.trainer.problem, self.trainer.seed + 1000003 * (self.round + 1)
        pool = problem.draw(4 * count, seed % 2**30)
        found = _loss(
            self.trainer._net, self.method.x, problem.collocate(pool), self.smoothing, self.trainer._how, slopes=False
        )
        size = np.abs(found[2][: 4 * count])
        if not _finite(size):
            raise _Diverged(f"residuals at points that are drawn anew after step {self.steps} are not finite")
        weight = size / max(float(size.mean()), 1e-300) + 1.0
        rng = np.random.Generator(np.random.PCG64(seed))
        chosen = rng.choice(4 * count, fresh, replace=False, p=weight / weight.sum())
        coordinates = self.coordinates.copy()
        coordinates[:, rng.choice(count, fresh, replace=False)] = pool[:, chosen]
        collocation = problem.collocate(coordinates)
        # All at once: an interruption before this leaves it to the next run.
        self.coordinates, self.collocation, self.best = coordinates, collocation, math.inf
        self.method.redrawn()
        self.round += 1

    # ------------------------------------------------------------------------------------------ checkpoints

    def save(self, path: str | os.PathLike[str], key: dict[str, Any]) -> bool:
        """Write the state, if it is one to go on from: a file is not given up for numbers that are not finite."""
        arrays: dict[str, Any] = {}
        state = _packed(
            {
                "key": key, "fingerprint": self.fingerprint, "phase": self.phase, "steps": self.steps,
                "round": self.round, "best": self.best, "best_at": self.best_at, "loss": self.loss,
                "coordinates": self.coordinates, "method": self.method.state(), "history": self.trainer.history,
            },
            arrays,
        )  # fmt: skip
        if math.isnan(self.loss) or not _all_finite(arrays):
            return False
        with _statefile.replacing(path) as file:
            np.savez(file, state=np.frombuffer(json.dumps(state).encode(), np.uint8), **arrays)
        return True

    def load(self, path: str | os.PathLike[str], key: dict[str, Any]) -> None:
        name = os.fspath(path)
        try:
            if not zipfile.is_zipfile(path):
                raise StateError(f"{name}: is no checkpoint of a training, which is a file of NumPy's (npz)")
            with open(path, "rb") as source, np.load(source, allow_pickle=False) as file:
                arrays = {k: file[k] for k in file.files if k != "state"}
                state = _unpacked(json.loads(file["state"].tobytes().decode()), arrays)
            if state["key"] != json.loads(json.dumps(key)):
                raise StateError(f"{name}: is of another run; use another file, or the same problem, plan and seed")
            if not np.allclose(state["fingerprint"], self.fingerprint, rtol=1e-9, atol=0.0):
                raise StateError(f"{name}: is of another equation, or of other conditions")
            if math.isnan(state["loss"]) or not _all_finite(arrays):
                raise StateError(f"{name}: is no checkpoint of a training: it has numbers that are not finite")
            self.phase, self.steps, self.round = state["phase"], state["steps"], state["round"]
            self.best, self.best_at, self.loss = state["best"], state["best_at"], state["loss"]
            self.coordinates = state["coordinates"]
            self.trainer.history = state["history"]
            self._collocate()
            self.method = self._method(state["method"]["x"])
            self.method.load(state["method"])
            self.sound = self.method.x.copy()
        except (ValueError, KeyError, TypeError, OSError, EOFError, IndexError, zipfile.BadZipFile) as error:
            if isinstance(error, StateError):
                raise
            raise StateError(f"{name}: is no checkpoint of a training: {error}") from None


def _finite(x: Array) -> bool:
    return bool(np.isfinite(x).all())


def _all_finite(arrays: dict[str, Array]) -> bool:
    return all(_finite(a) for a in arrays.values() if a.dtype.kind == "f")


def _fingerprint(c: Collocation) -> list[float]:
    """What tells equations apart that describe themselves alike, whatever the last places: some mean squares."""
    found = []
    for array in (c.features, c.coefficients, c.constants, c.weights, c.obstacle):
        if array is not None:
            flat = array.ravel()
            pattern = 2.0 + np.sin(np.arange(flat.size))
            found += [float(np.mean(flat**2)), float(np.mean((flat - pattern) ** 2))]
    return [*found, float(c.positive), float(c.together)]


def _packed(value: Any, arrays: dict[str, Array]) -> Any:
    """A state as JSON, with its arrays apart."""
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        return {"dict": [[k, _packed(v, arrays)] for k, v in value.items()]}  # keys may be whole numbers
    if isinstance(value, (list, tuple)):
        return {"tuple" if isinstance(value, tuple) else "list": [_packed(v, arrays) for v in value]}
    return value


def _unpacked(value: Any, arrays: dict[str, Array]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "array":
        return arrays[inside]
    if kind == "dict":
        return {k: _unpacked(v, arrays) for k, v in inside}
    items = [_unpacked(v, arrays) for v in inside]
    return tuple(items) if kind == "tuple" else items


@contextlib.contextmanager
def _writer(log_dir: str | os.PathLike[str] | None) -> Iterator[Callable[[int, float], None]]:
    if log_dir is None:
        yield lambda step, loss: None
        return
    try:
        from tensorboard.summary import Writer
    except ImportError:
        raise ImportError("event files need tensorboard: pip install 'warpquant[tensorboard]'") from None
    writer = Writer(os.fspath(log_dir))
    try:
        yield lambda step, loss: writer.add_scalar("loss", loss, step)
    finally:
        writer.close()


@contextlib.contextmanager
def _bar(progress: Callable[[int, int, float], None] | bool, total: int) -> Iterator[Callable[[int, int, float], None]]:
    if progress is False:
        yield lambda step, total, loss: None
        return
    if progress is not True:
        yield progress
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        raise ImportError("a progress bar needs rich: pip install 'warpquant[cli]'") from None
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[loss]}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=total, loss="")
        yield lambda step, total, loss: bar.update(task, completed=step, loss=f"loss {loss:.2e}")
