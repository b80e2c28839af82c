// SPDX-License-Identifier: Apache-2.0
// What holds the parts together.

function select(row) {
  if (row === selected) return Promise.resolve();
  selected = row;
  markSelected();
  heat.draw();
  if (row) history.replaceState(null, "", `#${symbolKey}${encodeURIComponent(row.symbol)}`);
  return chart.show(row);
}

function fromAddress() {
  const hash = location.hash.slice(1);
  if (!hash.startsWith(symbolKey)) return undefined;
  try {
    const symbol = decodeURIComponent(hash.slice(symbolKey.length));
    return rows.find((r) => r.symbol === symbol);
  } catch {
    return undefined; // no address of ours
  }
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
  if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack them; those of 2023 and later can");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  new ResizeObserver(() => { chart.draw(); heat.draw(); }).observe(document.querySelector("main"));
  addEventListener("hashchange", () => { const row = fromAddress(); if (row) select(row); });
  for (const [event, is] of [["beforeprint", true], ["afterprint", false]]) {
    addEventListener(event, () => { if (is) enter(order.length); document.documentElement.classList.toggle("print", is); recolor(); });
  }
  const withChart = rows.filter((r) => Object.hasOwn(data.charts, r.symbol));
  await Promise.all([select(fromAddress() || withChart[0] || rows[0] || null), heat.load()]);
  if (!rows.length) await chart.show(null);
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start().catch((error) => {
  $("trouble").hidden = false;
  $("trouble").textContent = `The charts cannot be shown: ${error.message}.`;
  throw error;
});
