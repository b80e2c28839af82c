// SPDX-License-Identifier: Apache-2.0
// The ranked table: sorting, filter, selection.

const rows = data.rows.map((cells, rank) => ({
  rank, symbol: cells[0], side: cells[1], price: cells[2], average: cells[3], direction: cells[4], flip: cells[5],
  signals: cells.slice(6, 12), time: cells[12], bars: cells[13],
}));
let order = rows.slice(); // as sorted and filtered
let selected = null;
const symbolKey = "symbol=";

const COLUMNS = [
  { key: "symbol", title: "Symbol", text: true, value: (r) => r.symbol },
  { key: "average", title: "Average", value: (r) => r.average },
  { key: "side", title: "Side", text: true, value: (r) => r.side },
  { key: "direction", title: "Dir", hint: "Direction, latched at the thresholds", value: (r) => r.direction },
  { key: "flip", title: "Flip", hint: "Bars since the direction took its present value", value: (r) => r.flip, first: "ascending" },
  { key: "price", title: "Price", hint: "Last close", value: (r) => r.price },
  ...FAMILIES.map((f, k) => ({ key: f.name, title: f.label, hint: `Layer-1 signal of ${f.label}`, family: true, value: (r) => r.signals[k] })),
  { key: "time", title: "Last bar", value: (r) => r.time },
  { key: "bars", title: "Bars", value: (r) => r.bars },
];
let sorting = { column: COLUMNS[1], sign: -1 };

function buildTable() {
  const head = document.querySelector("#table thead tr");
  for (const column of COLUMNS) {
    const th = document.createElement("th"), button = document.createElement("button");
    th.scope = "col";
    th.dataset.key = column.key;
    if (column.text) th.className = "text";
    button.type = "button";
    button.textContent = column.title;
    if (column.hint) button.title = column.hint;
    button.addEventListener("click", () => sortBy(column));
    th.append(button);
    head.append(th);
  }
  for (const row of rows) {
    const tr = document.createElement("tr");
    for (const column of COLUMNS) {
      const td = document.createElement("td");
      fillCell(td, row, column);
      tr.append(td);
    }
    tr.tabIndex = -1;
    tr.dataset.symbol = row.symbol;
    row.tr = tr;
    tr.row = row;
  }
  tintTable();
}

function fillCell(td, row, column) {
  const value = column.value(row);
  if (column.text) td.classList.add("text");
  if (column.key === "symbol") {
    td.textContent = value;
    td.title = value;
  } else if (column.key === "average") {
    td.className = "meter";
    td.textContent = value === null ? "–" : signed(value, 3);
  } else if (column.key === "side") {
    td.classList.add(value);
    td.textContent = value;
  } else if (column.key === "direction") {
    td.textContent = value > 0 ? "▲" : value < 0 ? "▼" : "–";
    td.classList.add(value > 0 ? "long" : value < 0 ? "short" : "neutral");
    td.setAttribute("aria-label", sideOf(value));
  } else if (column.family) {
    td.classList.add("cell");
    td.classList.add(value > 0 ? "long" : value < 0 ? "short" : "neutral");
    td.textContent = value === null ? "–" : signed(value, 2);
  } else if (column.key === "price") {
    td.textContent = String(+value.toPrecision(6));
  } else {
    td.textContent = value === null ? "–" : typeof value === "number" ? value.toLocaleString("en-US") : value;
  }
}

/** The meter of the average and the tints of the families, which follow the colour scheme. */
function tintTable() {
  for (const { tr, average } of rows) {
    const meter = tr.children[1];
    const size = 22 * Math.abs(average || 0);
    meter.style.setProperty("--tint", average < 0 ? colors.down : colors.up);
    meter.style.setProperty("--size", `${size}px`);
    meter.style.setProperty("--from", `${average < 0 ? 26 - size : 26}px`);
  }
}

function compare(a, b) {
  const [x, y] = [sorting.column.value(a), sorting.column.value(b)];
  if (x === null || y === null) return (x === null) - (y === null) || a.rank - b.rank; // missing ones last, either way
  const difference = typeof x === "string" ? (x < y ? -1 : x > y ? 1 : 0) : x - y;
  return sorting.sign * difference || a.rank - b.rank;
}

function sortBy(column) {
  const first = column.first || (column.text ? "ascending" : "descending");
  const again = sorting.column === column;
  sorting = { column, sign: again ? -sorting.sign : first === "ascending" ? 1 : -1 };
  showTable();
}

function showTable() {
  const texts = $("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const side = $("side").value;
  order = rows.filter((r) => (!side || r.side === side)
    && (!texts.length || texts.some((t) => r.symbol.toLowerCase().includes(t)))).sort(compare);
  for (const th of document.querySelectorAll("#table th")) {
    if (th.dataset.key === sorting.column.key) th.setAttribute("aria-sort", sorting.sign > 0 ? "ascending" : "descending");
    else th.removeAttribute("aria-sort");
  }
  document.querySelector("#table tbody").replaceChildren(...order.map((r) => r.tr));
  $("none").hidden = order.length > 0 || rows.length === 0;
  $("shown").textContent = order.length === rows.length ? `${rows.length.toLocaleString("en-US")}` : `${order.length.toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")}`;
  markSelected();
  heat.rowsChanged();
}

function markSelected() {
  for (const r of rows) {
    const is = r === selected;
    if (is) r.tr.setAttribute("aria-current", "true");
    else r.tr.removeAttribute("aria-current");
    r.tr.tabIndex = is || (!order.includes(selected) && r === order[0]) ? 0 : -1;
  }
}

function tableEvents() {
  const body = document.querySelector("#table tbody");
  body.addEventListener("click", (event) => {
    const tr = event.target.closest("tr");
    if (!tr) return;
    select(tr.row);
    tr.focus({ preventScroll: true });
    // Where the chart lies below the table, out of sight, a click that changes it must show it.
    if ($("detail").getBoundingClientRect().top > innerHeight - 120) $("detail").scrollIntoView({ behavior: smooth() });
  });
  body.addEventListener("keydown", (event) => {
    const tr = event.target.closest("tr");
    const at = tr ? order.indexOf(tr.row) : -1;
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 15, PageUp: at - 15, Home: 0, End: order.length - 1 };
    if (event.key === "Enter" || event.key === " ") $("chart").hidden || $("chart").focus();
    else if (event.key in moves) step(moves[event.key], true);
    else return;
    event.preventDefault();
  });
  $("filter").addEventListener("input", showTable);
  $("side").addEventListener("change", showTable);
  $("filter").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && order.length) step(0, true);
  });
}

/** Select a row by its place in the table. */
function step(to, focus) {
  if (!order.length) return;
  const row = order[clamp(to, 0, order.length - 1)];
  select(row);
  if (focus) row.tr.focus({ preventScroll: true });
  const [box, at] = [$("table-box"), row.tr.offsetTop];
  const head = box.querySelector("thead").offsetHeight;
  if (at < box.scrollTop + head) box.scrollTop = at - head;
  else if (at + row.tr.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = at + row.tr.offsetHeight - box.clientHeight;
}

const smooth = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
