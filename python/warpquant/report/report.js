"use strict";
(() => {
  // ---- data ----

  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const FAMILIES = data.families;
  const MISSING = -0x80000000;
  const DAY = 86400000;

  /** The other direction of _pack.py: text to one Int32Array for each series. */
  async function unpack(text, series) {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const n = bytes.length / 4, bars = n / series;
    return Array.from({ length: series }, (_, s) => {
      const row = new Int32Array(bars);
      for (let i = 0, k = s * bars, sum = 0; i < bars; i++, k++) {
        sum = (sum + (bytes[k] | bytes[n + k] << 8 | bytes[2 * n + k] << 16 | bytes[3 * n + k] << 24)) | 0;
        row[i] = sum;
      }
      return row;
    });
  }

  async function unpackSeries({ codes, decimals }) {
    const rows = await unpack(codes, decimals.length);
    return rows.map((row, s) => {
      const unit = 10 ** Math.abs(decimals[s]);
      return Float64Array.from(row, (c) => (c === MISSING ? NaN : decimals[s] < 0 ? c * unit : c / unit));
    });
  }

  /** Times of bars as numbers, with the ways of writing them. */
  async function unpackTimes(times) {
    if (!times) return null;
    const [codes] = await unpack(times.codes, 1);
    const values = Float64Array.from(codes, (c) => (c === MISSING ? NaN : times.start + c * times.step));
    return { values, dates: times.dates, step: times.step };
  }

  const pad = (n) => String(n).padStart(2, "0");
  const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

  function timeText(times, i, start) {
    if (!times) return `bar ${start + i}`;
    const t = times.values[i];
    if (Number.isNaN(t)) return "no time";
    if (!times.dates) return String(t);
    const text = new Date(t).toISOString().replace("T", " ");
    if (times.step % DAY === 0) return text.replace(/ .*/, "");
    return times.step % 60000 === 0 ? text.replace(/:\d\d\.\d+Z/, "") : text.replace(/(\.000)?Z/, "");
  }

  /** Bars at which a new year, month, day or hour begins, in the finest division that leaves few enough. */
  function timeTicks(times, first, last, most, start) {
    const ticks = [];
    if (!times || !times.dates) {
      const raw = (last - first + 1) / most, size = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
      const every = Math.max(1, [1, 2, 5, 10].find((m) => m * size >= raw) * size);
      for (let i = first; i <= last; i++) {
        if ((start + i) % every === 0) ticks.push([i, timeText(times, i, start)]);
      }
      return ticks;
    }
    const month = (d) => d.getUTCFullYear() * 12 + d.getUTCMonth();
    const days = (d) => Math.floor(d / DAY);
    const hours = (d) => Math.floor(d / 3600000);
    const name = (d) => MONTHS[d.getUTCMonth()];
    const clock = (d) => `${pad(d.getUTCHours())}:00`;
    const divisions = [
      ...[1, 3, 6].map((n) => [(d) => Math.floor(hours(d) / n), clock]),
      ...[1, 2, 4, 7, 14].map((n) => [(d) => Math.floor(days(d) / n), (d) => `${d.getUTCDate()} ${name(d)}`]),
      ...[1, 3, 6].map((n) => [(d) => Math.floor(month(d) / n), (d) => `${name(d)} ${d.getUTCFullYear()}`]),
      ...[1, 2, 5, 10, 25, 50].map((n) => [(d) => Math.floor(d.getUTCFullYear() / n), (d) => `${d.getUTCFullYear()}`]),
    ];
    for (const [period, label] of divisions) {
      ticks.length = 0;
      for (let i = Math.max(first, 1); i <= last && ticks.length <= most; i++) {
        const [before, now] = [new Date(times.values[i - 1]), new Date(times.values[i])];
        if (!isNaN(before) && !isNaN(now) && period(before) !== period(now)) ticks.push([i, label(now)]);
      }
      if (ticks.length && ticks.length <= most) return ticks;
    }
    return [];
  }

  // ---- numbers, colours, drawing ----

  const signed = (x, digits) => (Number.isFinite(x) ? (x < 0 ? "−" : x > 0 ? "+" : "") + Math.abs(x).toFixed(digits) : "–");
  function plain(x, decimals) {
    if (!Number.isFinite(x)) return "–";
    if (Math.abs(x) >= 1e12 || decimals > 12) return x.toPrecision(6);
    const places = Math.max(0, decimals);
    return x.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
  }
  const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
  const sideOf = (direction) => (direction > 0 ? "long" : direction < 0 ? "short" : "none");

  let colors = {};
  function readColors() {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const name of ["panel", "ink", "muted", "faint", "line", "up", "down", "blank", "focus"]) colors[name] = get(name);
    colors.family = get("family").split(" ");
    const stops = get("scale").split(" ").map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
    colors.scale = Array.from({ length: 201 }, (_, k) => {
      const at = k / 50, low = Math.min(Math.floor(at), stops.length - 2);
      return stops[low].map((c, j) => Math.round(c + (stops[low + 1][j] - c) * (at - low)));
    });
    colors.blankRgb = [1, 3, 5].map((k) => parseInt(colors.blank.slice(k, k + 2), 16));
  }
  const shade = (signal) => (Number.isNaN(signal) ? colors.blankRgb : colors.scale[Math.round(100 + 100 * clamp(signal, -1, 1))]);
  const rgb = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

  const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

  /** A canvas of this size in CSS pixels, cleared, with its context. */
  function paper(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = FONT;
    ctx.textBaseline = "middle";
    ctx.lineJoin = "round";
    return ctx;
  }

  /** Words of several colours in lines of at most this width; gives the height. With `measure` nothing is drawn. */
  function words(ctx, items, x, y, width, measure = false) {
    let [left, line] = [x, 0];
    for (const [text, color, bold] of items) {
      ctx.font = bold ? `600 ${FONT}` : FONT;
      const size = ctx.measureText(text).width;
      if (left > x && left + size > x + width) [left, line] = [x, line + 1];
      if (!measure) {
        ctx.fillStyle = color;
        ctx.textAlign = "left";
        ctx.fillText(text, left, y + 8 + 15 * line);
      }
      left += size + 10;
    }
    ctx.font = FONT;
    return 15 * (line + 1) + 3;
  }

  /** Round values between two others. */
  function niceTicks(low, high, most) {
    const raw = (high - low) / most, size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((m) => m * size >= raw) * size;
    const ticks = [];
    for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12); k++) ticks.push(k * step);
    return ticks;
  }
  function logTicks(low, high, most) {
    const ticks = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
      for (const m of [1, 2, 5]) if (m * 10 ** e >= low && m * 10 ** e <= high) ticks.push(m * 10 ** e);
    }
    return high / low > 8 && ticks.length <= 2 * most ? ticks : niceTicks(low, high, most).filter((t) => t > 0);
  }
  const tickText = (x) => (x === 0 ? "0" : Math.abs(x) >= 1e6 || Math.abs(x) < 1e-4 ? x.toPrecision(3) : String(+x.toPrecision(6)));

  // ---- state ----

  const rows = data.rows.map((cells, rank) => ({
    rank, symbol: cells[0], side: cells[1], price: cells[2], average: cells[3], direction: cells[4], flip: cells[5],
    signals: cells.slice(6, 12), time: cells[12], bars: cells[13],
  }));
  let order = rows.slice(); // as sorted and filtered
  let selected = null;
  const symbolKey = "symbol=";

  // ---- table ----

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

  // ---- chart of a symbol ----

  const GUTTER = 74, LEAST_BARS = 8, FIRST_BARS = 250;
  const chart = (() => {
    const canvas = $("chart");
    const cache = new Map();
    let series = null; // of the selected symbol
    let view = { a: 0, b: 1 }; // edges of what is visible, in bars
    let cursor = null, place = null, brush = null, waiting = 0;

    async function load(symbol) {
      if (!cache.has(symbol)) {
        const packed = data.charts[symbol];
        const [all, times] = await Promise.all([unpackSeries(packed), unpackTimes(packed.times)]);
        const at = (from, n) => all.slice(from, from + n);
        const nine = FAMILIES.map((f, k) => at(15 + f.lengths.length * k, f.lengths.length));
        const [close, direction] = all, flips = [];
        for (let i = 1; i < close.length; i++) if (direction[i] !== direction[i - 1]) flips.push(i);
        cache.set(symbol, {
          symbol, close, direction, average: all[2], signals: at(3, 6), equities: at(9, 6), nine,
          times, start: packed.start, n: close.length, flips, decimals: packed.decimals[0], equityDecimals: packed.decimals[9],
        });
      }
      return cache.get(symbol);
    }

    async function show(row) {
      const has = row !== null && Object.hasOwn(data.charts, row.symbol);
      canvas.hidden = !has;
      document.querySelector(".controls").hidden = !has;
      $("no-chart").hidden = has;
      $("name").textContent = row ? row.symbol : "No symbol";
      if (!has) {
        series = null;
        $("read").replaceChildren();
        $("no-chart").textContent = row ? "This symbol has no chart in this file: only the strongest symbols have one." : "Nothing was scanned.";
        return;
      }
      const loaded = await load(row.symbol);
      if (selected !== row) return; // another was chosen meanwhile
      series = loaded;
      view = { a: Math.max(0, series.n - FIRST_BARS), b: series.n };
      cursor = null;
      const [low, high] = series.close.reduce(([l, h], x) => (Number.isNaN(x) ? [l, h] : [Math.min(l, x), Math.max(h, x)]), [Infinity, -Infinity]);
      $("log").disabled = !(low > 0);
      $("log").checked = low > 0 && high / low > 3;
      canvas.setAttribute("aria-label", `Chart of ${row.symbol}`);
      canvas.dataset.symbol = row.symbol;
      draw();
    }

    // -- what is visible --

    const firstBar = () => Math.max(0, Math.floor(view.a + 1e-9));
    const lastBar = () => Math.min(series.n - 1, Math.ceil(view.b - 1e-9) - 1);
    const isFull = () => view.a <= 0 && view.b >= series.n;

    function setView(a, b) {
      const span = clamp(b - a, Math.min(LEAST_BARS, series.n), series.n);
      const left = clamp(a, 0, series.n - span);
      view = { a: left, b: left + span };
      draw();
    }
    function zoom(factor, at = cursor === null ? view.b : cursor + 0.5) {
      const pivot = clamp(at, view.a, view.b);
      const span = clamp((view.b - view.a) * factor, Math.min(LEAST_BARS, series.n), series.n);
      const a = pivot - (pivot - view.a) / (view.b - view.a) * span;
      setView(a, a + span);
    }
    const pan = (bars) => setView(view.a + bars, view.b + bars);
    function moveCursor(to) {
      cursor = clamp(to, 0, series.n - 1);
      const span = view.b - view.a;
      if (cursor < view.a) setView(cursor, cursor + span);
      else if (cursor + 1 > view.b) setView(cursor + 1 - span, cursor + 1);
      else draw();
    }
    function reset() {
      cursor = null;
      setView(0, series.n);
    }

    // -- drawing --

    function draw() {
      if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; paint(); });
    }

    /** Which averages are shown: [family, index of the length]. */
    function chosen() {
      const family = $("family").value, length = $("length").value;
      if (family === "none") return [];
      if (family === "base") return FAMILIES.map((_, k) => [k, 0]);
      const k = FAMILIES.findIndex((f) => f.name === family);
      return length === "all" ? FAMILIES[k].lengths.map((_, j) => [k, j]).reverse() : [[k, Number(length)]];
    }

    function paint() {
      if (!series || canvas.hidden) return;
      const width = canvas.clientWidth, narrow = width < 520;
      const plot = width - GUTTER;
      const s = series, i = cursor === null ? lastBar() : cursor;
      const picked = chosen();
      const titles = {
        price: [["Price and averages", colors.muted, true], [plain(s.close[i], s.decimals), colors.ink, true],
          ...picked.map(([k, j]) => [`${FAMILIES[k].label} ${FAMILIES[k].lengths[j]} ${plain(s.nine[k][j][i], s.decimals)}`, colors.family[k]])],
        average: [["Average signal", colors.muted, true], [signed(s.average[i], 3), colors.ink, true], ["shaded: direction, dashed: thresholds", colors.muted]],
        lanes: [["Layer 1: signal of each family", colors.muted, true]],
        equity: [["Layer 2: equity of each family", colors.muted, true],
          ...FAMILIES.map((f, k) => [`${f.label} ${plain(s.equities[k][i], clamp(s.equityDecimals, 0, 3))}`, colors.family[k]])],
      };
      const probe = canvas.getContext("2d");
      const heads = Object.fromEntries(Object.entries(titles).map(([name, items]) => [name, words(probe, items, 0, 0, plot, true)]));
      const sizes = narrow ? { price: 190, average: 70, lanes: 6 * 18, equity: 90 } : { price: 250, average: 84, lanes: 6 * 19, equity: 110 };
      let y = 0;
      place = { plot, panes: {} };
      for (const name of ["price", "average", "lanes", "equity"]) {
        place.panes[name] = { head: y, top: y + heads[name], height: sizes[name] };
        y += heads[name] + sizes[name] + 8;
      }
      place.axis = y;
      place.strip = { top: y + 20, height: 34 };
      const ctx = paper(canvas, width, y + 20 + 34 + 2);
      const [first, last] = [firstBar(), lastBar()];
      const x = place.x = (bar) => (bar + 0.5 - view.a) / (view.b - view.a) * plot;
      const ticks = timeTicks(s.times, first, last, Math.max(2, Math.floor(plot / 85)), s.start);
      for (const [name, items] of Object.entries(titles)) words(ctx, items, 0, place.panes[name].head, plot);

      const bottom = place.panes.equity.top + place.panes.equity.height;
      ctx.strokeStyle = colors.faint;
      ctx.lineWidth = 1;
      for (const [bar] of ticks) {
        for (const pane of Object.values(place.panes)) rule(ctx, x(bar - 0.5), pane.top, pane.height);
      }
      paintPrice(ctx, first, last, picked);
      paintAverage(ctx, first, last);
      paintLanes(ctx, first, last, i);
      paintEquity(ctx, first, last);
      ctx.fillStyle = colors.muted;
      ctx.textAlign = "center";
      let right = -Infinity;
      for (const [bar, text] of ticks) {
        const half = ctx.measureText(text).width / 2, at = clamp(x(bar), half, plot - half);
        if (at - half < right + 6) continue;
        ctx.fillText(text, at, bottom + 12);
        right = at + half;
      }
      paintStrip(ctx);
      if (cursor !== null && cursor >= first && cursor <= last) paintCross(ctx, bottom);
      if (brush) {
        ctx.fillStyle = colors.focus;
        ctx.globalAlpha = 0.15;
        const [from, to] = [brush.from, brush.to].sort((p, q) => p - q);
        if (brush.strip) ctx.fillRect(from / s.n * plot, place.strip.top, (to - from) / s.n * plot, place.strip.height);
        else ctx.fillRect(x(from - 0.5), 0, x(to - 0.5) - x(from - 0.5), bottom);
        ctx.globalAlpha = 1;
      }
      report(i, first, last);
    }

    function rule(ctx, at, top, height) {
      ctx.beginPath();
      ctx.moveTo(Math.round(at) + 0.5, top);
      ctx.lineTo(Math.round(at) + 0.5, top + height);
      ctx.stroke();
    }
    function level(ctx, at, text, color = colors.faint) {
      ctx.strokeStyle = color;
      ctx.beginPath();
      ctx.moveTo(0, Math.round(at) + 0.5);
      ctx.lineTo(place.plot, Math.round(at) + 0.5);
      ctx.stroke();
      if (text !== undefined) {
        ctx.fillStyle = colors.muted;
        ctx.textAlign = "left";
        ctx.fillText(text, place.plot + 6, at);
      }
    }
    function clipTo(ctx, pane, drawing) {
      ctx.save();
      ctx.beginPath();
      ctx.rect(0, pane.top, place.plot, pane.height);
      ctx.clip();
      drawing();
      ctx.restore();
    }
    /** A line that is broken where values are missing. */
    function line(ctx, values, from, to, toY, color, width, alpha = 1) {
      ctx.strokeStyle = color;
      ctx.lineWidth = width;
      ctx.globalAlpha = alpha;
      ctx.beginPath();
      let down = false;
      for (let i = Math.max(0, from - 1); i <= Math.min(series.n - 1, to + 1); i++) {
        const y = toY(values[i]);
        if (!Number.isFinite(y)) down = false;
        else if (down) ctx.lineTo(place.x(i), y);
        else {
          ctx.moveTo(place.x(i), y);
          ctx.lineTo(place.x(i) + 0.01, y); // a bar between missing ones still shows
          down = true;
        }
      }
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
    /** Bars from zero, blue above and orange below. */
    function area(ctx, values, from, to, zero, scale) {
      const half = place.x(0.5) - place.x(0);
      for (const [sign, color] of [[1, colors.up], [-1, colors.down]]) {
        ctx.fillStyle = color;
        ctx.beginPath();
        for (let i = from; i <= to; i++) {
          if (sign * values[i] > 0) ctx.rect(place.x(i) - half, zero, 2 * half + 0.3, -values[i] * scale);
        }
        ctx.fill();
      }
    }
    /** Bands behind a pane: the direction. */
    function bands(ctx, pane, from, to, alpha) {
      const { direction } = series, half = place.x(0.5) - place.x(0);
      ctx.globalAlpha = alpha;
      for (let i = from; i <= to;) {
        let j = i;
        while (j < to && direction[j + 1] === direction[i]) j++;
        if (direction[i]) {
          ctx.fillStyle = direction[i] > 0 ? colors.up : colors.down;
          ctx.fillRect(place.x(i) - half, pane.top, place.x(j) - place.x(i) + 2 * half, pane.height);
        }
        i = j + 1;
      }
      ctx.globalAlpha = 1;
    }

    function range(series_, from, to) {
      let [low, high] = [Infinity, -Infinity];
      for (const values of series_) {
        for (let i = from; i <= to; i++) {
          if (values[i] < low) low = values[i];
          if (values[i] > high) high = values[i];
        }
      }
      if (low > high) return [0, 1];
      if (low === high) return [low - (Math.abs(low) * 0.01 || 1), high + (Math.abs(high) * 0.01 || 1)];
      return [low, high];
    }

    function paintPrice(ctx, first, last, picked) {
      const pane = place.panes.price, log = $("log").checked && !$("log").disabled;
      // The closes set the scale: the first values of some averages lie far from the price.
      let [low, high] = range([series.close], first, last);
      if (log) [low, high] = [low * (low / high) ** 0.06, high * (high / low) ** 0.06];
      else [low, high] = [low - 0.06 * (high - low), high + 0.06 * (high - low)];
      const f = log ? Math.log : (v) => v;
      const toY = pane.toY = (v) => pane.top + pane.height * (1 - (f(v) - f(low)) / (f(high) - f(low)));
      pane.value = (y) => {
        const share = 1 - (y - pane.top) / pane.height, v = f(low) + share * (f(high) - f(low));
        return log ? Math.exp(v) : v;
      };
      for (const tick of (log ? logTicks : niceTicks)(low, high, Math.max(2, Math.floor(pane.height / 42)))) level(ctx, toY(tick), tickText(tick));
      clipTo(ctx, pane, () => {
        bands(ctx, pane, first, last, 0.05);
        for (const [k, j] of picked) {
          const others = picked.length > 1 && $("family").value !== "base" && j > 0;
          line(ctx, series.nine[k][j], first, last, toY, colors.family[k], others ? 0.9 : 1.3, others ? 0.45 : 0.95);
        }
        line(ctx, series.close, first, last, toY, colors.ink, 1.3);
        const flips = series.flips.filter((i) => i >= first && i <= last && series.direction[i]);
        const size = clamp(place.plot / (flips.length + 1) * 0.3, 1.5, 5.5);
        for (const i of flips) {
          marker(ctx, place.x(i), toY(series.close[i]), series.direction[i], size);
        }
      });
    }

    function marker(ctx, x, y, direction, size) {
      const sign = direction > 0 ? 1 : -1;
      ctx.beginPath();
      ctx.moveTo(x, y + sign * 3);
      ctx.lineTo(x - size, y + sign * (3 + 1.7 * size));
      ctx.lineTo(x + size, y + sign * (3 + 1.7 * size));
      ctx.closePath();
      ctx.fillStyle = direction > 0 ? colors.up : colors.down;
      ctx.strokeStyle = colors.panel;
      ctx.lineWidth = 0.8;
      ctx.fill();
      ctx.stroke();
    }

    function paintAverage(ctx, first, last) {
      const pane = place.panes.average, middle = pane.top + pane.height / 2, scale = pane.height / 2.1;
      pane.value = (y) => (middle - y) / scale;
      for (const v of [-1, 0, 1]) level(ctx, middle - v * scale, signed(v, 0) || "0", v === 0 ? colors.line : colors.faint);
      clipTo(ctx, pane, () => {
        bands(ctx, pane, first, last, 0.12);
        area(ctx, series.average, first, last, middle, scale);
        ctx.setLineDash([4, 3]);
        for (const v of data.thresholds) level(ctx, middle - v * scale, undefined, colors.ink);
        ctx.setLineDash([]);
      });
    }

    function paintLanes(ctx, first, last, i) {
      const pane = place.panes.lanes, each = pane.height / FAMILIES.length;
      FAMILIES.forEach((family, k) => {
        const middle = pane.top + each * (k + 0.5);
        clipTo(ctx, pane, () => area(ctx, series.signals[k], first, last, middle, each / 2 - 1));
        level(ctx, middle, undefined, colors.faint);
        ctx.textAlign = "left";
        ctx.fillStyle = colors.family[k];
        ctx.fillRect(place.plot + 5, middle - 4, 3, 8);
        ctx.fillStyle = colors.muted;
        ctx.fillText(`${family.label}`, place.plot + 11, middle);
        ctx.textAlign = "right";
        ctx.fillText(signed(series.signals[k][i], 1).replace(/^([+−])0\.0$/, "$10"), place.plot + GUTTER, middle);
      });
    }

    function paintEquity(ctx, first, last) {
      const pane = place.panes.equity;
      let [low, high] = range(series.equities, first, last);
      [low, high] = [low - 0.06 * (high - low), high + 0.06 * (high - low)];
      const toY = (v) => pane.top + pane.height * (1 - (v - low) / (high - low));
      pane.value = (y) => low + (1 - (y - pane.top) / pane.height) * (high - low);
      for (const tick of niceTicks(low, high, Math.max(2, Math.floor(pane.height / 36)))) level(ctx, toY(tick), tickText(tick));
      if (low < 1 && high > 1) level(ctx, toY(1), undefined, colors.line);
      clipTo(ctx, pane, () => series.equities.forEach((values, k) => line(ctx, values, first, last, toY, colors.family[k], 1.3)));
    }

    /** All bars, with the visible ones marked. */
    function paintStrip(ctx) {
      const { top, height } = place.strip, { n, close } = series, { plot } = place;
      const log = $("log").checked && !$("log").disabled, f = log ? Math.log : (v) => v;
      const [low, high] = range([close], 0, n - 1);
      ctx.fillStyle = colors.faint;
      ctx.globalAlpha = 0.45;
      ctx.fillRect(0, top, plot, height);
      ctx.globalAlpha = 1;
      ctx.strokeStyle = colors.muted;
      ctx.lineWidth = 1;
      ctx.beginPath();
      let down = false;
      for (let i = 0; i < n; i++) {
        const y = top + 3 + (height - 6) * (1 - (f(close[i]) - f(low)) / (f(high) - f(low)));
        if (!Number.isFinite(y)) down = false;
        else if (down) ctx.lineTo((i + 0.5) / n * plot, y);
        else [down] = [true, ctx.moveTo((i + 0.5) / n * plot, y)];
      }
      ctx.stroke();
      const [from, to] = [view.a / n * plot, view.b / n * plot];
      ctx.fillStyle = colors.panel;
      ctx.globalAlpha = 0.6;
      ctx.fillRect(0, top, from, height);
      ctx.fillRect(to, top, plot - to, height);
      ctx.globalAlpha = 1;
      ctx.strokeStyle = colors.focus;
      ctx.strokeRect(from + 0.5, top + 0.5, Math.max(2, to - from - 1), height - 1);
    }

    function paintCross(ctx, bottom) {
      const at = Math.round(place.x(cursor)) + 0.5;
      ctx.strokeStyle = colors.muted;
      ctx.lineWidth = 1;
      ctx.setLineDash([3, 3]);
      ctx.beginPath();
      ctx.moveTo(at, place.panes.price.top);
      ctx.lineTo(at, bottom);
      ctx.stroke();
      const pane = pointer && Object.values(place.panes).find((p) => pointer.y >= p.top && pointer.y <= p.top + p.height);
      if (pane && pane.value) {
        ctx.beginPath();
        ctx.moveTo(0, Math.round(pointer.y) + 0.5);
        ctx.lineTo(place.plot, Math.round(pointer.y) + 0.5);
        ctx.stroke();
        badge(ctx, tickText(+pane.value(pointer.y).toPrecision(5)), place.plot + 2, pointer.y, "left");
      }
      ctx.setLineDash([]);
      badge(ctx, timeText(series.times, cursor, series.start), at, bottom + 12, "center");
    }
    function badge(ctx, text, x, y, align) {
      const width = ctx.measureText(text).width + 10;
      const left = align === "left" ? x : clamp(x - width / 2, 0, place.plot - width);
      ctx.fillStyle = colors.ink;
      ctx.fillRect(left, y - 9, width, 18);
      ctx.fillStyle = colors.panel;
      ctx.textAlign = "left";
      ctx.fillText(text, left + 5, y + 0.5);
    }

    /** What the chart shows, in words and for scripts. */
    function report(i, first, last) {
      Object.assign(canvas.dataset, { first, last, cursor: cursor === null ? "" : cursor });
      const s = series, direction = s.direction[i];
      const parts = [
        ["b", timeText(s.times, i, s.start)], ["", "  close "], ["b", plain(s.close[i], s.decimals)],
        ["", "  average "], ["b", signed(s.average[i], 3)], ["", "  direction "], [sideOf(direction), sideOf(direction)],
        ["", `  bars ${(s.start + first + 1).toLocaleString("en-US")}–${(s.start + last + 1).toLocaleString("en-US")}`],
      ];
      fill($("read"), parts);
    }

    // -- pointer and keys --

    let pointer = null; // position of a hovering pointer
    const touches = new Map();
    let drag = null;
    const barAt = (px) => view.a + px / place.plot * (view.b - view.a);
    const position = (event) => {
      const box = canvas.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const inStrip = (p) => p.y >= place.strip.top;

    function hover(p) {
      pointer = p;
      if (p.x <= place.plot && !inStrip(p)) cursor = clamp(Math.floor(barAt(p.x)), firstBar(), lastBar());
      draw();
    }

    canvas.addEventListener("pointerdown", (event) => {
      if (!series || !place || event.button > 0) return;
      const p = position(event);
      canvas.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, p);
      if (touches.size === 2) {
        const [q, r] = [...touches.values()];
        drag = { kind: "pinch", gap: Math.max(20, Math.abs(q.x - r.x)), span: view.b - view.a, at: barAt((q.x + r.x) / 2), share: (q.x + r.x) / 2 / place.plot };
        brush = null;
        return;
      }
      const strip = inStrip(p), bar = strip ? p.x / place.plot * series.n : barAt(p.x);
      const inside = strip && !isFull() && bar >= view.a && bar <= view.b;
      if (inside) drag = { kind: "strip", x: p.x, a: view.a };
      else if (strip || event.shiftKey || (isFull() && event.pointerType === "mouse")) drag = { kind: "brush", strip, from: bar };
      else drag = { kind: "pan", x: p.x, a: view.a };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!series || !place) return;
      const p = position(event);
      if (touches.has(event.pointerId)) touches.set(event.pointerId, p);
      if (!drag) {
        hover(p);
        return;
      }
      const span = view.b - view.a;
      if (drag.kind === "pinch" && touches.size === 2) {
        const [q, r] = [...touches.values()];
        const wanted = clamp(drag.span * drag.gap / Math.max(20, Math.abs(q.x - r.x)), Math.min(LEAST_BARS, series.n), series.n);
        const a = drag.at - drag.share * wanted;
        setView(a, a + wanted);
      } else if (drag.kind === "pan") {
        canvas.classList.add("grab");
        const a = drag.a - (p.x - drag.x) / place.plot * span;
        setView(a, a + span);
      } else if (drag.kind === "strip") {
        const a = drag.a + (p.x - drag.x) / place.plot * series.n;
        setView(a, a + span);
      } else if (drag.kind === "brush") {
        const to = clamp(drag.strip ? p.x / place.plot * series.n : barAt(p.x), 0, series.n);
        brush = { strip: drag.strip, from: drag.from, to };
        draw();
      }
    });
    function release(event) {
      touches.delete(event.pointerId);
      canvas.classList.remove("grab");
      if (drag && drag.kind === "brush" && brush && event.type === "pointerup") {
        const [from, to] = [brush.from, brush.to].sort((p, q) => p - q);
        if (to - from >= 2 && (to - from) / (brush.strip ? series.n : view.b - view.a) * place.plot > 4) setView(from, to);
      } else if (drag && event.type === "pointerup" && series) {
        const p = position(event);
        if (drag.kind === "pan" && Math.abs(p.x - drag.x) < 4) hover(p); // a tap
      }
      brush = null;
      drag = null;
      draw();
    }
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !drag && series) {
        pointer = cursor = null;
        draw();
      }
    });
    canvas.addEventListener("dblclick", () => series && reset());
    canvas.addEventListener("wheel", (event) => {
      if (!series || !place) return;
      const p = position(event);
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (sideways ? isFull() : event.deltaY > 0 && isFull()) return; // nothing to do here: let the page scroll
      event.preventDefault();
      const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
      if (sideways) pan((event.deltaX || event.deltaY) * unit / place.plot * (view.b - view.a));
      else zoom(Math.exp(clamp(event.deltaY * unit, -200, 200) * 0.0018), barAt(clamp(p.x, 0, place.plot)));
    }, { passive: false });

    canvas.addEventListener("keydown", (event) => {
      if (!series || event.ctrlKey || event.metaKey || event.altKey) return;
      const from = cursor === null ? lastBar() : cursor;
      const tenth = Math.max(1, (view.b - view.a) / 10);
      const flip = (forward) => (forward ? series.flips.find((i) => i > from) : series.flips.findLast((i) => i < from));
      const actions = {
        ArrowLeft: () => (event.shiftKey ? pan(-tenth) : moveCursor(cursor === null ? from : from - 1)),
        ArrowRight: () => (event.shiftKey ? pan(tenth) : moveCursor(cursor === null ? from : from + 1)),
        PageUp: () => pan(-5 * tenth),
        PageDown: () => pan(5 * tenth),
        Home: () => moveCursor(0),
        End: () => moveCursor(series.n - 1),
        "+": () => zoom(0.7),
        "=": () => zoom(0.7),
        "-": () => zoom(1 / 0.7),
        "−": () => zoom(1 / 0.7),
        "[": () => flip(false) !== undefined && moveCursor(flip(false)),
        "]": () => flip(true) !== undefined && moveCursor(flip(true)),
        Escape: reset,
        0: reset,
        ArrowUp: () => step(order.indexOf(selected) - 1, false),
        ArrowDown: () => step(order.indexOf(selected) + 1, false),
      };
      if (!Object.hasOwn(actions, event.key)) return;
      event.preventDefault();
      pointer = null;
      actions[event.key]();
    });
    canvas.addEventListener("blur", () => {
      if (pointer === null && cursor !== null) {
        cursor = null;
        draw();
      }
    });

    function controls() {
      const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
      $("family").append(option("base", "All, base"), ...FAMILIES.map((f) => option(f.name, f.label)), option("none", "None"));
      const lengths = () => {
        const family = FAMILIES.find((f) => f.name === $("family").value);
        $("length").disabled = !family;
        const sorted = family ? family.lengths.map((length, j) => [length, j]).sort((p, q) => p[0] - q[0]) : [];
        $("length").replaceChildren(option("all", family ? "All nine" : "–"), ...sorted.map(([length, j]) => option(j, j === 0 ? `${length} (base)` : length)));
      };
      lengths();
      $("family").addEventListener("change", () => { lengths(); draw(); });
      $("length").addEventListener("change", draw);
      $("log").addEventListener("change", draw);
      $("in").addEventListener("click", () => series && zoom(0.7, (view.a + view.b) / 2));
      $("out").addEventListener("click", () => series && zoom(1 / 0.7, (view.a + view.b) / 2));
      $("all").addEventListener("click", () => series && reset());
    }

    return { show, draw, paint, controls };
  })();

  function fill(target, parts) {
    target.replaceChildren(...parts.map(([kind, text]) => {
      if (!kind) return document.createTextNode(text);
      const node = document.createElement("b");
      if (kind !== "b") node.className = kind;
      node.textContent = text;
      return node;
    }));
  }

  // ---- heat map ----

  const heat = (() => {
    const canvas = $("map"), box = $("heat-box"), space = $("heat-space");
    const FOOT = 20, LABELS = 78, TALL = 15, FIT = 560;
    let signal = null, times = null, columns = 0, geometry = null, cell = null, waiting = 0;

    async function load() {
      const strip = data.strip;
      $("heat").hidden = !strip || !rows.length;
      if ($("heat").hidden) return;
      [signal, times] = await Promise.all([unpackSeries(strip.signal), unpackTimes(strip.times)]);
      columns = strip.signal.bars;
      draw();
    }

    function draw() {
      if (signal && !waiting) waiting = requestAnimationFrame(() => { waiting = 0; paint(); });
    }
    function rowsChanged() {
      if (cell) cell = null;
      draw();
    }

    function paint() {
      if (!signal) return;
      const width = canvas.clientWidth, count = order.length;
      const each = $("tall").checked ? TALL : clamp(FIT / Math.max(count, 1), 0.001, 18);
      const total = Math.max(Math.ceil(each * count), 20), visible = Math.min(total, FIT);
      const labels = each >= 11 ? (width < 520 ? 62 : LABELS) : 0;
      space.style.height = `${total + FOOT}px`;
      const scroll = total > visible ? clamp(box.scrollTop, 0, total - visible) : 0;
      const ctx = paper(canvas, width, visible + FOOT);
      geometry = { each, labels, scroll, visible, plot: width - labels };
      cells(ctx);
      ctx.fillStyle = colors.ink;
      ctx.textAlign = "left";
      const [from, to] = [Math.floor(scroll / each), Math.min(count, Math.ceil((scroll + visible) / each))];
      if (labels) {
        for (let r = from; r < to; r++) {
          ctx.fillStyle = order[r] === selected ? colors.focus : colors.ink;
          ctx.fillText(shorten(ctx, order[r].symbol, labels - 6), 0, (r + 0.5) * each - scroll);
        }
        ctx.fillStyle = colors.panel;
        for (let r = from + 1; r < to; r++) ctx.fillRect(labels, r * each - scroll - 0.5, geometry.plot, 1);
      }
      ctx.fillStyle = colors.panel;
      ctx.fillRect(0, visible, width, FOOT);
      ctx.fillStyle = colors.muted;
      ctx.textAlign = "center";
      let right = -Infinity;
      for (const [k, text] of ticks()) {
        const half = ctx.measureText(text).width / 2;
        const at = clamp(labels + (k + 0.5) / columns * geometry.plot, labels + half, width - half);
        if (at - half < right + 8) continue;
        ctx.fillText(text, at, visible + 11);
        right = at + half;
      }
      outline(ctx, order.indexOf(selected), null, colors.focus);
      if (cell) outline(ctx, cell.row, cell.column, colors.ink);
      canvas.dataset.rows = count;
      read();
    }

    function ticks() {
      const most = Math.max(2, Math.floor(geometry.plot / 90));
      if (times) return timeTicks(times, 0, columns - 1, most, 0);
      return niceTicks(1 - columns, 0, most).filter((t) => Number.isInteger(t)).map((t) => [columns - 1 + t, t === 0 ? "last bar" : `−${-t}`]);
    }

    /** One pixel of the picture is the mean of the symbols and bars that fall on it. */
    function cells(ctx) {
      const { each, labels, scroll, visible, plot } = geometry;
      const ratio = canvas.width / canvas.clientWidth;
      const [w, h] = [Math.max(1, Math.round(plot * ratio)), Math.round(visible * ratio)];
      const picture = ctx.createImageData(w, h), pixels = new Uint32Array(picture.data.buffer);
      const across = Math.max(1, Math.ceil(columns / w));
      const word = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
      const edge = (p, size, n) => Math.min(n, Math.floor(p * n / size));
      let done = -1, doneTo = -1;
      for (let y = 0; y < h; y++) {
        const top = Math.floor((y / ratio + scroll) / each), below = ((y + 1) / ratio + scroll) / each;
        const bottom = Math.max(top + 1, Math.ceil(below - 1e-9 - (each >= 1 / ratio ? 1 : 0)));
        const at = y * w;
        if (top >= order.length) {
          pixels.fill(word(colors.blankRgb), at, at + w);
          continue;
        }
        if (top === done && bottom === doneTo) {
          pixels.copyWithin(at, at - w, at);
          continue;
        }
        [done, doneTo] = [top, bottom];
        const mean = new Float64Array(columns), known = new Uint32Array(columns);
        for (let r = top; r < Math.min(bottom, order.length); r++) {
          const values = signal[order[r].rank];
          for (let k = 0; k < columns; k++) {
            if (!Number.isNaN(values[k])) {
              mean[k] += values[k];
              known[k]++;
            }
          }
        }
        for (let x = 0; x < w; x++) {
          let sum = 0, n = 0;
          const from = across > 1 ? edge(x, w, columns) : Math.floor((x + 0.5) * columns / w);
          const to = across > 1 ? Math.max(from + 1, edge(x + 1, w, columns)) : from + 1;
          for (let k = from; k < to; k++) {
            sum += mean[k];
            n += known[k];
          }
          pixels[at + x] = word(shade(n ? sum / n : NaN));
        }
      }
      ctx.putImageData(picture, Math.round(labels * ratio), 0);
    }

    function shorten(ctx, text, width) {
      if (ctx.measureText(text).width <= width) return text;
      let n = text.length;
      while (n > 1 && ctx.measureText(`${text.slice(0, n)}…`).width > width) n--;
      return `${text.slice(0, n)}…`;
    }

    function outline(ctx, row, column, color) {
      if (row < 0) return;
      const { each, labels, scroll, visible, plot } = geometry;
      const top = row * each - scroll, height = Math.max(each, 2);
      if (top + height < 0 || top > visible) return;
      ctx.strokeStyle = color;
      ctx.lineWidth = column === null ? 1 : 1.5;
      const [x, w] = column === null ? [labels, plot] : [labels + column / columns * plot, Math.max(2, plot / columns)];
      ctx.strokeRect(x + 0.5, top + 0.5, w - 1, height - 1);
    }

    function read() {
      if (!cell || !order[cell.row]) {
        $("heat-read").textContent = order.length ? "Point at a cell to read it." : "No symbol fits the filter.";
        canvas.dataset.symbol = canvas.dataset.column = "";
        return;
      }
      const row = order[cell.row], value = signal[row.rank][cell.column];
      const when = times ? timeText(times, cell.column, 0) : cell.column === columns - 1 ? "last bar" : `${columns - 1 - cell.column} bars before the last`;
      const kind = Number.isNaN(value) ? "" : value > 0 ? "long" : value < 0 ? "short" : "b";
      fill($("heat-read"), [["b", row.symbol], ["", `  ${when}  `], [kind, Number.isNaN(value) ? "no bar" : signed(value, 3)]]);
      Object.assign(canvas.dataset, { symbol: row.symbol, column: cell.column });
    }

    function cellAt(event) {
      if (!geometry) return null;
      const area = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - area.left - geometry.labels, event.clientY - area.top];
      const row = Math.floor((y + geometry.scroll) / geometry.each);
      if (y < 0 || y >= geometry.visible || row >= order.length) return null;
      return { row, column: clamp(Math.floor(x / geometry.plot * columns), 0, columns - 1) };
    }

    canvas.addEventListener("pointermove", (event) => {
      cell = cellAt(event);
      draw();
    });
    canvas.addEventListener("pointerleave", () => {
      if (document.activeElement !== canvas) {
        cell = null;
        draw();
      }
    });
    canvas.addEventListener("click", (event) => {
      cell = cellAt(event);
      if (cell) select(order[cell.row]);
    });
    canvas.addEventListener("keydown", (event) => {
      if (!signal || !order.length || event.ctrlKey || event.metaKey || event.altKey) return;
      const at = cell || { row: Math.max(0, order.indexOf(selected)), column: columns - 1 };
      const moves = {
        ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [-15, 0], PageDown: [15, 0],
        Home: [0, -columns], End: [0, columns],
      };
      if (event.key === "Enter" || event.key === " ") select(order[at.row]);
      else if (event.key === "Escape") cell = null;
      else if (!Object.hasOwn(moves, event.key)) return;
      else if (cell) {
        const [down, right] = moves[event.key];
        cell = { row: clamp(at.row + down, 0, order.length - 1), column: clamp(at.column + right, 0, columns - 1) };
      } else cell = at;
      event.preventDefault();
      if (cell) {
        const top = cell.row * geometry.each;
        if (top < geometry.scroll) box.scrollTop = top;
        else if (top + geometry.each > geometry.scroll + geometry.visible) box.scrollTop = top + geometry.each - geometry.visible;
      }
      draw();
    });
    canvas.addEventListener("blur", () => {
      cell = null;
      draw();
    });
    box.addEventListener("scroll", draw, { passive: true });
    $("tall").addEventListener("change", draw);

    return { load, draw, paint, rowsChanged };
  })();

  // ---- the whole ----

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
    tintTable();
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
      addEventListener(event, () => { document.documentElement.classList.toggle("print", is); recolor(); });
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
})();
