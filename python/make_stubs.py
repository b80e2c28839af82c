# SPDX-License-Identifier: Apache-2.0
"""Write the type stubs, or check that they are up to date.

``_core.pyi`` comes from pybind11-stubgen and the installed extension module, ``ma.pyi`` from the signatures that
`warpquant.ma` makes at import.

    python python/make_stubs.py            # write both
    python python/make_stubs.py --check    # exit 1 and name what differs
"""

from __future__ import annotations

import argparse
import inspect
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from warpquant import ma

PACKAGE = pathlib.Path(__file__).resolve().parent / "warpquant"

MA_HEAD = '''"""Moving averages."""
# Written by python/make_stubs.py.

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

'''

#: Types of parameters by name; whatever is missing here is a fault of this table.
TYPES = {
    "x": "Any",
    "length": "int | Sequence[int] | npt.NDArray[np.integer[Any]]",
    "seed": "Literal['sma', 'first']",
    "fast": "float",
    "slow": "float",
    "nan": "Literal['window', 'propagate', 'raise']",
    "axis": "int | str | None",
    "out": "Any",
    "warmup": "Literal['nan', 'null']",
    "exact": "bool",
    "num_threads": "int | None",
    "device": "str | None",
    "stream": "Any",
}


def core_stub() -> str:
    """`_core.pyi`: what pybind11-stubgen writes, with the members of containers named."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "warpquant._core", "-o", folder]
        subprocess.run(command, check=True, capture_output=True, text=True)
        text = (pathlib.Path(folder) / "warpquant" / "_core.pyi").read_text(encoding="utf-8")
    text = re.sub(r"\bdict\b(?!\[)(?=[,)\]:| ]|$)", "dict[str, typing.Any]", text, flags=re.MULTILINE)
    text = re.sub(r"\blist\b(?!\[)(?=[,)\]:| ]|$)", "list[typing.Any]", text, flags=re.MULTILINE)
    text = re.sub(r": tuple =", ": tuple[str, ...] =", text)
    text = re.sub(r"-> tuple:", "-> tuple[typing.Any, ...]:", text)
    text = re.sub(r"\*args\)", "*args: typing.Any)", text)
    return re.sub(r"^__version__: str = .*$", "__version__: str", text, flags=re.MULTILINE)


def _first_line(documented: Any) -> str:
    return f'"""{(inspect.getdoc(documented) or "").partition(chr(10))[0]}"""'


def _function(name: str, function: Any, types: Mapping[str, str] | None = None) -> Iterator[str]:
    """One function; annotated by `types` or as it is itself."""
    signature = inspect.signature(function)
    items = []
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in items:
            items.append("*")
        stars = "**" if parameter.kind is inspect.Parameter.VAR_KEYWORD else ""
        annotation = types[parameter.name] if types else parameter.annotation
        annotated = "" if annotation is inspect.Parameter.empty else f": {annotation}"
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        items.append(f"{stars}{parameter.name}{annotated}{default}")
    returned = "Any" if types else signature.return_annotation
    line = f"def {name}({', '.join(items)}) -> {returned}:"
    if len(line) <= 110:
        yield line
    else:
        yield f"def {name}("
        yield from (f"    {item}," for item in items)
        yield f") -> {returned}:"
    if name == "__init__":
        yield "    ..."
    else:
        yield f"    {_first_line(function)}"


def _class(cls: type) -> Iterator[str]:
    """A class: fields, properties and methods as they are annotated."""
    yield f"class {cls.__name__}:"
    yield f"    {_first_line(cls)}"
    fields = cls.__dict__.get("__annotations__", {})
    yield from (f"    {name}: {annotation}" for name, annotation in fields.items())
    for name, member in vars(cls).items():
        if isinstance(member, property):
            yield "    @property"
            yield from (f"    {line}" for line in _function(name, member.fget))
        elif inspect.isfunction(member) and (not name.startswith("_") or (name == "__init__" and not fields)):
            yield from (f"    {line}" for line in _function(name, member))


def ma_stub() -> str:
    """`ma.pyi`: the averages with exactly the keywords they know."""
    lines = [f"__all__ = {ma.__all__!r}", "", "@dataclasses.dataclass(frozen=True)", *_class(ma.Info)]
    for name in ("kinds", "info"):
        lines += ["", *_function(name, getattr(ma, name))]
    for kind in ma.kinds():
        lines += ["", *_function(kind, getattr(ma, kind), TYPES)]
    lines += ["", *_class(ma.Stream), ""]
    return MA_HEAD + "\n".join(lines)


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a stub is out of date")
    check = parser.parse_args().check
    stale = []
    for file, text in ((PACKAGE / "_core.pyi", core_stub()), (PACKAGE / "ma.pyi", ma_stub())):
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(file.name)
            if not check:
                file.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'out of date' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
