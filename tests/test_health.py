# SPDX-License-Identifier: Apache-2.0
"""The repository agrees with itself: versions, stubs, oracles, docstrings, symbols, rules of the tree."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pathlib
import pkgutil
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import warpquant
from warpquant import _core, ma

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ("python", "cpp", "cuda", "tests", "benchmarks", "docs")
TEXT = {
    ".py",
    ".pyi",
    ".h",
    ".cpp",
    ".cu",
    ".cuh",
    ".md",
    ".toml",
    ".txt",
    ".ipynb",
    ".json",
    ".yaml",
    ".yml",
    ".cmake",
}


def _files(*folders, suffixes=TEXT):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = {"__pycache__", "_build"} & set(path.parts) or any(p.startswith(".") for p in path.parts[1:])
            if path.suffix in suffixes and path.is_file() and not hidden:
                yield path


def _modules():
    """Public modules of the package; those that need an optional library are skipped with its absence."""
    names = [m.name for m in pkgutil.walk_packages(warpquant.__path__, "warpquant.")]
    return ["warpquant", *(n for n in names if not any(part.startswith("_") for part in n.split(".")))]


def _load(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} needs {error.name}")


# ---------------------------------------------------------------------------------------------- versions and names


def test_versions_agree():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert _core.__version__ == warpquant.__version__ == _core.build_info()["version"] == declared


def test_changelog_knows_the_version():
    changelog = ROOT / "CHANGELOG.md"
    if not changelog.is_file():
        pytest.skip("no changelog here")
    assert re.search(rf"^## \[?({re.escape(warpquant.__version__)}|Unreleased)", changelog.read_text(), re.MULTILINE)


def test_public_names():
    assert list(warpquant.__all__) == sorted(set(warpquant.__all__), key=lambda n: (n.lower() != n, n)) or sorted(
        warpquant.__all__
    ) == list(warpquant.__all__)
    public = {n for n in vars(warpquant) if not n.startswith("_")}
    imported_later = {n.partition(".")[2] for n in sys.modules if n.startswith("warpquant.")}
    assert public - imported_later - {"annotations"} <= set(warpquant.__all__)
    assert all(hasattr(warpquant, n) for n in warpquant.__all__)


@pytest.mark.parametrize("name", _modules())
def test_all_is_what_is_there(name):
    module = _load(name)
    if not hasattr(module, "__all__"):
        pytest.skip(f"{name} lists no names")
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert hasattr(module, public)


def test_the_package_is_typed():
    assert (ROOT / "python/warpquant/py.typed").is_file()


# ---------------------------------------------------------------------------------------------- averages


@pytest.mark.parametrize("kind", ma.kinds())
def test_every_kind_has_an_oracle(kind):
    oracle = importlib.import_module("reference.ma")
    assert callable(getattr(oracle, kind, None)), f"tests/reference/ma.py has no {kind}"
    x = np.arange(1.0, 60)
    np.testing.assert_allclose(getattr(oracle, kind)(x, 5), getattr(ma, kind)(x, 5), rtol=1e-12)


@pytest.mark.parametrize("kind", ma.kinds())
def test_every_kind_has_its_documentation(kind):
    page = ROOT / "docs/ma.md"
    if not page.is_file():
        pytest.skip("no docs/ma.md here")
    assert re.search(rf"^\| `{kind}` \|", page.read_text(), re.MULTILINE), f"docs/ma.md has no row for {kind}"
    info = ma.info(kind)
    assert info.name == kind
    assert info.title
    assert info.formula
    assert getattr(ma, kind).__doc__.startswith(info.title)


# ---------------------------------------------------------------------------------------------- docstrings


def _functions():
    """Every public function, class and method with the module that defines it."""
    for name in _modules():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        for public in getattr(module, "__all__", ()):
            member = getattr(module, public)
            if inspect.isclass(member) or inspect.isfunction(member):
                yield pytest.param(member, id=f"{name}.{public}")


@pytest.mark.parametrize("member", list(_functions()))
def test_docstrings(member):
    """A summary; every parameter, a result and an example of each function; every public method a sentence."""
    text = inspect.getdoc(member)
    assert text
    assert text.splitlines()[0].endswith((".", ":"))
    if inspect.isclass(member):
        for name, method in vars(member).items():
            if not name.startswith("_") and (inspect.isfunction(method) or isinstance(method, property)):
                assert inspect.getdoc(method), f"{member.__name__}.{name} has no docstring"
        return
    parameters = [p for p in inspect.signature(member).parameters if p not in ("self", "cls")]
    if len(parameters) > 3:
        assert "Parameters\n----------" in text
    if "Parameters\n----------" in text:
        section = text.partition("Parameters\n----------")[2].partition("\n\n")[0]
        for parameter in parameters:
            assert re.search(rf"\b{parameter}\b", section), f"{parameter} is not described"
    if member.__module__.startswith("warpquant.") and "Returns\n-------" in text:
        assert "Examples\n--------" in text
        assert ">>> " in text


@pytest.mark.parametrize("name", _modules())
def test_examples_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    module = _load(name)
    results = doctest.testmod(module, extraglobs={"warpquant": warpquant})
    assert results.failed == 0
    if name == "warpquant.ma":  # made at run time, so that doctest does not find them
        finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
        for kind in ma.kinds():
            (test,) = finder.find(getattr(ma, kind), kind, globs={"warpquant": warpquant})
            assert test.examples
            assert runner.run(test).failed == 0


# ---------------------------------------------------------------------------------------------- stubs and types


def test_stubs_are_up_to_date():
    pytest.importorskip("pybind11_stubgen")
    done = subprocess.run(
        [sys.executable, str(ROOT / "python/make_stubs.py"), "--check"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}; run python python/make_stubs.py"


def test_stubs_know_every_name():
    for name in ("_core", "ma"):
        stub = (ROOT / f"python/warpquant/{name}.pyi").read_text()
        module = importlib.import_module(f"warpquant.{name}")
        for public in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
            assert re.search(rf"^(def|class) {public}\b|^{public}:", stub, re.MULTILINE), f"{name}.pyi lacks {public}"


# ---------------------------------------------------------------------------------------------- symbols


def _symbols(file, *options):
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    done = subprocess.run([nm, *options, str(file)], capture_output=True, text=True, timeout=300, check=True)
    return [line.split(maxsplit=2)[-2:] for line in done.stdout.splitlines() if len(line.split(maxsplit=2)) == 3]


def _objects():
    return sorted(ROOT.glob("build/*/CMakeFiles/wq_simd_*.dir/**/*.o"))


def test_levels_are_apart():
    """Code for a processor of its own defines nothing under a name that code for another one shares.

    The linker keeps one copy of a shared name, which may be the one with instructions that this machine lacks.
    """
    objects = [o for o in _objects() if "wq_simd_baseline" not in str(o)]
    if not objects:
        pytest.skip("no build folder with objects here")
    for file in objects:
        level = re.search(r"wq_simd_(\w+)\.dir", str(file))[1]
        for kind, name in _symbols(file, "--defined-only"):
            if kind.isupper() or kind in "uvw":
                assert level in name, f"{file.name} at {level} defines {name} ({kind})"


def test_the_extension_exports_its_entry_only():
    """Functions of ours stay inside; what else is visible is type information that exceptions need."""
    exported = _symbols(_core.__file__, "-D", "--defined-only", "-C")
    functions = [name for kind, name in exported if kind == "T"]
    assert functions == ["PyInit__core"]
    assert not [
        name for kind, name in exported if kind in "WVu" and re.match(r"wq::.*\(", name) and "::what" not in name
    ]


def test_the_extension_depends_on_the_system_only():
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    dynamic = subprocess.run(["readelf", "-d", _core.__file__], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic))
    allowed = r"lib(c|m|stdc\+\+|gcc_s|pthread|dl|rt)\.so|ld-linux|libasan|libubsan|libtsan|libpython"
    assert [n for n in needed if not re.match(allowed, n)] == []


# ---------------------------------------------------------------------------------------------- rules of the tree


def test_cuda_stays_in_its_folder():
    for path in _files("cpp", "python", suffixes={".h", ".cpp", ".cuh", ".cu"}):
        assert path.suffix in (".h", ".cpp")
        found = re.search(
            r"#\s*include\s*[<\"](cuda|cub|thrust|nv)[\w/]*\.?\w*[>\"]|\bcuda[A-Z]\w+\(", path.read_text()
        )
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"


def test_elements_stay_plain():
    """Headers that a GPU compiles too allocate nothing and throw nothing."""
    for path in _files(
        "cpp/include/warpquant/ma",
        "cpp/include/warpquant/equity",
        "cpp/include/warpquant/atc",
        "cpp/include/warpquant/backtest",
    ):
        text = re.sub(r"//.*", "", path.read_text())
        if "WQ_HD" in text and "std::vector" not in text:
            assert not re.search(r"\bthrow\b|\bnew \w|\bmalloc\(|#include <iostream>", text), path.name


def test_sources_are_marked():
    for path in _files("python", "cpp", "cuda", "tests", suffixes={".py", ".h", ".cpp", ".cu", ".cuh"}):
        if path.name != "__init__.py" or path.stat().st_size:
            assert "SPDX-License-Identifier: Apache-2.0" in path.read_text()[:200], path.relative_to(ROOT)


def test_headers_are_guarded():
    for path in _files("cpp", "cuda", "python/bindings", suffixes={".h", ".cuh"}):
        assert "#pragma once" in path.read_text(), path.relative_to(ROOT)


def test_nothing_is_left_over():
    """No notes to self, no debugging, no paths of one machine."""
    words = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", r"HA" + r"CK\b", "place" + "holder"))
    machine = "|".join(("/home" + r"/\w", "/root" + "/", "/tmp" + r"/\w", "/Users" + "/", "/work" + "/"))
    debugging = "|".join((r"\bbreak" + r"point\(\)", r"\bpdb\.set_" + "trace"))
    pattern = re.compile(rf"\b({words})|(?<![\w.])({machine})|{debugging}")
    for path in _files(*SOURCES):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = pattern.search(line)
            assert found is None, f"{path.relative_to(ROOT)}:{number}: {found[0]}"


def test_no_pickle_and_no_eval():
    for path in _files("python", suffixes={".py"}):
        found = re.search(
            r"^\s*(import|from) (pickle|marshal|shelve)\b|(?<![\w.])(eval|exec)\(", path.read_text(), re.M
        )
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"


def test_files_are_small():
    for path in _files(*SOURCES, "notebooks", suffixes={*TEXT, ".gz", ".png", ".svg", ".parquet"}):
        assert path.stat().st_size <= 1_000_000, path.relative_to(ROOT)


# ---------------------------------------------------------------------------------------------- benchmarks


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks").glob("bench_*.py")) or [None], ids=lambda p: p.name if p else "none"
)
def test_benchmarks_run(path, tmp_path):
    if path is None:
        pytest.skip("no benchmarks/bench_*.py here; those of the package are in test_bench.py")
    done = subprocess.run(
        [sys.executable, str(path), "--smoke"], capture_output=True, text=True, timeout=300, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
