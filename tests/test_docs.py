# SPDX-License-Identifier: Apache-2.0
"""The examples of the documentation run, its tables are complete, and the notebooks run."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import pathlib
import re

import pytest

from warpquant import atc, config, ma

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def first_cells(page, heading):
    """First column of the table under a heading, without code marks."""
    section = page.read_text(encoding="utf-8").split(f"\n{heading}\n", 1)[1]
    section = re.split(r"\n#+ ", section, maxsplit=1)[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("|")]
    return [name for row in rows[2:] for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples(page):
    failures, _ = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    """What a page links to in the repository is there."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_every_kind_has_its_row():
    assert first_cells(ROOT / "docs/ma.md", "## Kinds") == list(ma.kinds())


def test_every_parameter_of_atc_has_its_row():
    page = ROOT / "docs/atc.md"
    parameters = {*first_cells(page, "## Parameters")} - {"lambda_param", "decay"}
    switches = {*first_cells(page, "## Where the versions disagree")} & {*atc._SWITCHES}
    assert switches == {*atc._SWITCHES}
    assert parameters | switches == {field.name for field in dataclasses.fields(atc.Params)}


def test_the_table_of_switches_is_that_of_the_program():
    text = (ROOT / "docs/atc.md").read_text(encoding="utf-8")
    for switch in atc._SWITCHES:
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{switch}` | ")]
        pine, sovereign = row.split("|")[5:7]
        assert pine.split("`")[1] == f'"{atc._COMPAT["pine"][switch]}"'
        assert sovereign.split("`")[1] == f'"{atc._COMPAT["sovereign"][switch]}"'


def test_every_setting_has_its_row():
    assert first_cells(ROOT / "docs/core.md", "## Configuration") == [setting.key for setting in config.show()]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_notebook_is_stripped(notebook):
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(notebook, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    for cell in code:  # public names only
        names = [node.attr for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Attribute)]
        assert not [name for name in names if name.startswith("_")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_notebook_runs(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(nbformat.read(notebook, as_version=4), timeout=60, resources=resources).execute()
