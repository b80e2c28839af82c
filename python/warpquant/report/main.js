// SPDX-License-Identifier: Apache-2.0
// What holds the parts together.

function select(row) {
  if (row === selected) return Promise.resolve();
  selected = row;
  markSelected();
  heat.draw();
  try {
    history.replaceState(null, "", `#${new URLSearchParams({ symbol: row.symbol })}`);
  } catch {
    // A frame without an address of its own: the page works all the same, only links to symbols do not.
  }
  return chart.show(row);
}

/** The row that the address names, if it does. */
function fromAddress() {
  const symbol = new URLSearchParams(location.hash.slice(1)).get("symbol");
  return rows.find((r) => r.symbol === symbol);
}

function scale() {
  const canvas = $("scale"), ctx = canvas.getContext("2d");
  colors.scale.forEach((color, k) => {
    ctx.fillStyle = rgb(color);
    ctx.fillRect(k, 0, 1, 1);
  });
}

function recolor() {
  readColors();
  scale();
  chart.paint(); // at once: a page about to be printed does not wait for a frame
  heat.paint();
}

async function start() {
  readColors();
  for (const side of ["long", "neutral", "short"]) {
    document.querySelector(`.split .${side}`).style.flexGrow = rows.filter((r) => r.side === side).length;
  }
  buildTable();
  chart.controls();
  tableEvents();
  scale();
  showTable();
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser cannot unpack the charts; those of 2023 and later can");
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  new ResizeObserver(() => { chart.draw(); heat.draw(); }).observe(document.querySelector("main"));
  addEventListener("hashchange", () => { const row = fromAddress(); if (row) select(row); });
  for (const [event, is] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => {
      if (is) enter(order.length);
      document.documentElement.classList.toggle("print", is);
      recolor();
    });
  }
  const withChart = rows.filter((r) => Object.hasOwn(data.charts, r.symbol));
  const first = fromAddress() || withChart[0] || rows[0];
  await Promise.all([first ? select(first) : chart.show(null), heat.load()]);
  // Behind the callbacks that draw the first pictures.
  requestAnimationFrame(() => { document.documentElement.dataset.ready = Math.round(performance.now()); });
}

function trouble(error) {
  $("trouble").hidden = false;
  $("trouble").textContent = `Something on this page cannot be shown: ${error.message}`;
}

addEventListener("unhandledrejection", (event) => trouble(event.reason));
addEventListener("error", (event) => trouble(event.error || event));
start();
