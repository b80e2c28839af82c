# SPDX-License-Identifier: Apache-2.0
"""Every benchmark in turn, then the tables of README.md and docs/performance.md: ``python -m benchmarks``."""

from __future__ import annotations

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent

for script in (*sorted(HERE.glob("bench_*.py")), HERE / "report.py"):
    print(f"== {script.name}", flush=True)
    subprocess.run([sys.executable, script, *(sys.argv[1:] if script.name != "report.py" else ())], check=True)
