// SPDX-License-Identifier: Apache-2.0
// The ranked table: sorting, filter, selection.

const rows = data.rows.map((cells, rank) => ({
  rank, symbol: cells[0], side: cells[1], price: cells[2], average: cells[3], direction: cells[4], flip: cells[5],
  signals: cells.slice(6, 12), time: cells[12], bars: cells[13],
}));
let order = rows.slice(); // as sorted and filtered
let selected = null;

const COLUMNS = [
  { key: "symbol", title: "Symbol", text: true, value: (r) => r.symbol },
  { key: "average", title: "Average", value: (r) => r.average },
  { key: "side", title: "Side", text: true, value: (r) => r.side },
  { key: "direction", title: "Dir", hint: "Direction, latched at the thresholds", value: (r) => r.direction },
  {
    key: "flip", title: "Flip", hint: "Bars since the direction took its present value", first: "ascending",
    value: (r) => r.flip,
  },
  { key: "price", title: "Price", hint: "Last close", value: (r) => r.price },
  ...FAMILIES.map((f, k) => ({
    key: f.name, title: f.label, hint: `Layer-1 signal of ${f.label}`, family: true, value: (r) => r.signals[k],
  })),
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
  $("table").setAttribute("aria-rowcount", rows.length + 1);
}

/** The element of a row, made when it is first shown. */
function element(row) {
  if (!row.tr) {
    row.tr = document.createElement("tr");
    for (const column of COLUMNS) {
      const td = document.createElement("td");
      fillCell(td, row, column);
      row.tr.append(td);
    }
    row.tr.tabIndex = -1;
    row.tr.dataset.symbol = row.symbol;
    row.tr.row = row;
  }
  return row.tr;
}

function fillCell(td, row, column) {
  const value = column.value(row);
  if (column.text) td.classList.add("text");
  if (column.key === "symbol") {
    td.textContent = value;
    td.title = value;
  } else if (column.key === "average") {
    const size = 22 * Math.abs(value || 0);
    td.className = "meter";
    td.style.setProperty("--tint", value < 0 ? "var(--down)" : "var(--up)");
    td.style.setProperty("--size", `${size}px`);
    td.style.setProperty("--from", `${value < 0 ? 26 - size : 26}px`);
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

// Rows enter the document as they are scrolled to: layout of many thousand would take seconds.
const CHUNK = 300;
let entered = 0;

function enter(upTo) {
  while (entered < order.length && entered <= upTo) {
    $("table").tBodies[0].append(...order.slice(entered, entered + CHUNK).map(element));
    entered = Math.min(order.length, entered + CHUNK);
  }
}

function showTable() {
  const texts = $("filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const side = $("side").value;
  order = rows.filter((r) => (!side || r.side === side)
    && (!texts.length || texts.some((t) => r.symbol.toLowerCase().includes(t)))).sort(compare);
  for (const th of document.querySelectorAll("#table th")) {
    if (th.dataset.key !== sorting.column.key) th.removeAttribute("aria-sort");
    else th.setAttribute("aria-sort", sorting.sign > 0 ? "ascending" : "descending");
  }
  $("table").tBodies[0].replaceChildren();
  entered = 0;
  enter(0);
  $("table-box").scrollTop = 0;
  $("none").hidden = order.length > 0 || rows.length === 0;
  const [some, all] = [order.length, rows.length].map((n) => n.toLocaleString("en-US"));
  $("shown").textContent = some === all ? all : `${some} of ${all}`;
  markSelected();
  heat.rowsChanged();
}

let marked = null, entry = null; // the row shown as selected, and the one that the Tab key reaches

function markSelected() {
  if (marked) marked.tr.removeAttribute("aria-current");
  if (selected) element(selected).setAttribute("aria-current", "true");
  marked = selected;
  const wanted = selected && order.includes(selected) ? selected : order[0];
  if (entry) entry.tr.tabIndex = -1;
  if (wanted) element(wanted).tabIndex = 0;
  entry = wanted;
}

function tableEvents() {
  const body = $("table").tBodies[0], box = $("table-box");
  box.addEventListener("scroll", () => {
    if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) enter(entered);
  }, { passive: true });
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
    const moves = {
      ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 15, PageUp: at - 15, Home: 0, End: order.length - 1,
    };
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
  const place = clamp(to, 0, order.length - 1), row = order[place];
  enter(place);
  select(row);
  if (focus) row.tr.focus({ preventScroll: true });
  const box = $("table-box"), head = box.querySelector("thead").offsetHeight;
  const top = row.tr.offsetTop - head, bottom = row.tr.offsetTop + row.tr.offsetHeight - box.clientHeight;
  box.scrollTop = clamp(box.scrollTop, bottom, top);
}

const smooth = () => (matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth");
