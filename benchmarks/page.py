# SPDX-License-Identifier: Apache-2.0
"""Size and speed of report pages: ``python benchmarks/page.py [chromium]``. Needs Playwright and a Chromium.

Random walks on a common calendar. "Ready" is from the start of the navigation to the first picture of everything;
"sort", "zoom" and "filter" are from the event to the end of the frame that shows it. Fastest of five each.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import tempfile
import time
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from warpquant.report import report
from warpquant.scan import Prices

CASES = ((20, 1500, 50), (100, 1000, 50), (1000, 1000, 50), (1000, 1000, 0), (5000, 1000, 50))
ACTIONS = {
    "sort": "document.querySelector('th[data-key=symbol] button').click()",
    "filter": "const f = document.querySelector('#filter'); f.value = '7'; f.dispatchEvent(new Event('input'))",
    "zoom": "document.querySelector('#chart').dispatchEvent(new KeyboardEvent('keydown', { key: '+' }))",
}


def walks(symbols: int, bars: int) -> Prices:
    steps = np.random.default_rng(7).normal(0.0, 0.01, (symbols, bars))
    dates = np.datetime64("2018-01-01") + np.arange(bars)
    names = [f"S{i:04d}" for i in range(symbols)]
    closes = 100.0 * np.exp(np.cumsum(steps, axis=1))
    return Prices(dict(zip(names, closes, strict=True)), dict.fromkeys(names, dates))


def measure(browser: Any, path: pathlib.Path) -> list[float]:
    """Milliseconds until the page is ready and of each action, of one visit."""
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", timeout=120_000)
    times = [tab.evaluate("Number(document.documentElement.dataset.ready)")]
    for action in ACTIONS.values():
        code = f"const begin = performance.now(); {action}; "
        frame = "requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)))"
        times.append(tab.evaluate(f"() => {{ {code} return new Promise((done) => {frame}); }}"))
    tab.close()
    return times


def main() -> None:
    chromium = sys.argv[1] if len(sys.argv) > 1 else shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        machine = f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f}"
        print(f"Chromium {browser.version}, headless, 1440 x 900 pixels; {machine}")
        print(
            "\n| symbols | bars | charts | MB | made, s | ready, ms |" + "".join(f" {name}, ms |" for name in ACTIONS)
        )
        print("|---:" * (6 + len(ACTIONS)) + "|")
        for symbols, bars, charts in CASES:
            prices = walks(symbols, bars)
            begin = time.perf_counter()
            page = report(prices, bars=bars, charts=charts)
            path = page.write(pathlib.Path(folder, "page.html"))
            made = time.perf_counter() - begin
            times = [measure(browser, path) for _ in range(5)]
            ready, *took = map(min, zip(*times, strict=True))
            size = path.stat().st_size / 1e6
            cells = [
                f"{symbols:,}",
                f"{bars:,}",
                len(page.charts),
                f"{size:.1f}",
                f"{made:.1f}",
                round(ready),
                *map(round, took),
            ]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
