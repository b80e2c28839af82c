# SPDX-License-Identifier: Apache-2.0
"""Elementary functions of the core against 50 digits, at every instruction level, as numbers and as packs."""

from __future__ import annotations

import math
import pathlib
import shutil
import subprocess

import mpmath as mp
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ARCHITECTURES = {"baseline": "x86-64-v2", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}
#: Units of 2**-52 of the value that a result may be off.
LIMITS = {"e": 1.0, "l": 1.5, "m": 2.5, "p": 4.0, "n": 3.5, "g": 1.0}


def _cases():
    rng = np.random.default_rng(1)
    for _ in range(400):
        yield "e", rng.uniform(-708, 709), 0.0
        yield "e", rng.uniform(-3, 3), rng.uniform(-1e-17, 1e-17)
        yield "l", 10 ** rng.uniform(-307, 308), 10 ** rng.uniform(-307, 308)
        b = rng.uniform(0.5, 100)
        yield "l", b * (1 + 10 ** rng.uniform(-16, 0)), b
        yield "m", 10 ** rng.uniform(-5, 4), 0.0
        yield "m", rng.uniform(0, 8), 0.0
        yield "p", rng.uniform(0, 8), 10 ** rng.uniform(-5, 4)
        yield "n", rng.uniform(-37, 8), 0.0
        yield "g", rng.uniform(-37, 37), 0.0
    for a, b in ((5e-324, 1.7e308), (1.7e308, 5e-324), (1.0, 1.0), (math.nextafter(1, 2), 1.0), (2.0, 2.0 - 2**-52)):
        yield "l", a, b


def _exact(function, a, b):
    a, b = mp.mpf(a), mp.mpf(b)
    if function == "e":
        return mp.exp(a + b)
    if function == "l":
        return mp.log(a / b)
    if function == "g":
        return mp.exp(-a * a / 2)
    if function == "n":
        return mp.erfc(-a / mp.sqrt(2)) / 2
    x = b if function == "p" else a
    with mp.workdps(mp.mp.dps + 20):
        return mp.sqrt(mp.pi / 2) * mp.exp(x * x / 2) * mp.erfc(x / mp.sqrt(2))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Compiles the driver for a level; gives what turns cases into values."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("elementary")

    def run(level, cases):
        made = folder / level
        if not made.exists():
            flags = ["-std=c++20", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]
            flags += [f"-march={ARCHITECTURES[level]}", f"-I{ROOT}/cpp/include"]
            command = [compiler, *flags, str(ROOT / "cpp/tests/elementary.cpp"), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)
        lines = "".join(f"{f} {float(a).hex()} {float(b).hex()}\n" for f, a, b in cases)
        done = subprocess.run([str(made)], input=lines, check=True, capture_output=True, text=True)
        return [tuple(map(float.fromhex, line.split())) for line in done.stdout.splitlines()]

    return run


def test_errors(program, simd_levels):
    cases = list(_cases())
    with mp.workdps(40):
        want = [_exact(*case) for case in cases]
        for level in simd_levels:
            for case, value, exact in zip(cases, program(level, cases), want, strict=True):
                assert value[0] == value[1], f"{level}: {case}: a number and a pack differ"
                error = abs(mp.mpf(value[0]) - exact)
                limit = LIMITS[case[0]] * 2.0**-52 * abs(exact)
                assert error <= limit, f"{level}: {case}: {value[0]!r} for {mp.nstr(exact, 20)}"


def test_borders(program, simd_levels):
    cases = [
        ("e", -1000.0, 0.0), ("e", 800.0, 0.0), ("e", math.nan, 0.0), ("e", -math.inf, 0.0), ("e", math.inf, 0.0),
        ("e", 0.0, 0.0), ("e", -745.0, 0.0), ("m", 0.0, 0.0), ("n", -1e300, 0.0), ("n", math.inf, 0.0),
        ("n", math.nan, 0.0), ("n", 0.0, 0.0), ("g", 0.0, 0.0),
    ]  # fmt: skip
    want = [0.0, math.inf, math.nan, 0.0, math.inf, 1.0, 5e-324, math.sqrt(math.pi / 2), 0.0, 1.0, math.nan, 0.5, 1.0]
    for level in simd_levels:
        for case, value, expected in zip(cases, program(level, cases), want, strict=True):
            for x in value:
                assert x == pytest.approx(expected, rel=1e-15, abs=0, nan_ok=True), f"{level}: {case}"


def test_product_error_is_exact(program, simd_levels):
    rng = np.random.default_rng(3)
    cases = [("x", a, b) for a, b in (10 ** rng.uniform(-100, 100, (200, 2)) * rng.choice([-1, 1], (200, 2))).tolist()]
    for level in simd_levels:
        for (_, a, b), value in zip(cases, program(level, cases), strict=True):
            with mp.workdps(60):
                exact = mp.mpf(a) * mp.mpf(b) - mp.mpf(a * b)
            assert value[0] == value[1] == float(exact), level
