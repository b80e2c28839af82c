# SPDX-License-Identifier: Apache-2.0
"""The kernel emulator finds what it is there to find, and nothing else."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil
import subprocess

import pytest

CPP = pathlib.Path(__file__).resolve().parents[1] / "cpp"
SEEDS = 4

# The builds that must find a defect. Races between blocks and accesses out of bounds show under a sanitizer only.
FOUND_BY = {
    "no_barrier": ("plain", "address", "thread"),
    "shared_overrun": ("address",),
    "uninitialised": ("plain", "address", "thread"),
    "early_return": ("plain", "address", "thread"),
    "exited_lane": ("plain", "address"),
    "lost_update": ("thread",),
    "overrun": ("address",),
    "overlapping_blocks": ("thread",),
}


@functools.cache
def _compiler():
    return shutil.which(os.environ.get("CXX", "").split(" ")[0] or "c++")


def _run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", params=["plain", "address", "thread"])
def build(request, tmp_path_factory):
    """The name of a build, and what runs it."""
    compiler = _compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    if "LD_PRELOAD" in os.environ:
        pytest.skip("the suite itself runs under a sanitizer")
    folder = tmp_path_factory.mktemp(request.param)
    sanitizer = [] if request.param == "plain" else [f"-fsanitize={request.param}"]
    # TSan is to see the CUDA threads, not the scheduler that switches between them.
    scheduler = [] if request.param == "thread" else sanitizer
    defines = ["-DWQ_EMULATOR_TSAN"] if request.param == "thread" else []
    options = ["-std=c++20", "-O1", "-g", "-pthread", *defines]
    program = folder / "selftest"
    steps = (
        (compiler, *options, *scheduler, "-c", CPP / "emulator/emulator.cpp", "-o", folder / "emulator.o"),
        (compiler, *options, *sanitizer, "-c", CPP / "tests/emulator_selftest.cpp", "-o", folder / "selftest.o"),
        (compiler, *options, *sanitizer, folder / "emulator.o", folder / "selftest.o", "-o", program),
    )
    for step in steps:
        done = _run(*step)
        if done.returncode and sanitizer and "cannot find" in done.stderr:
            pytest.skip(f"no runtime library for -fsanitize={request.param}")
        assert done.returncode == 0, done.stderr
    # Randomised addresses can collide with those that TSan wants for itself.
    fixed = [shutil.which("setarch"), "-R"] if request.param == "thread" and shutil.which("setarch") else []
    return request.param, [*fixed, program]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_report_of_good_kernels(build, seed):
    done = _run(*build[1], "none", seed)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("defect", FOUND_BY)
def test_seeded_defects_are_found(build, defect):
    name, command = build
    found = [_run(*command, defect, seed).returncode not in (0, 2) for seed in range(SEEDS)]
    assert all(found) or name not in FOUND_BY[defect], found


def test_every_defect_is_found_by_some_build():
    assert len(FOUND_BY) == 8
    assert all(FOUND_BY.values())
