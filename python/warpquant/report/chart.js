// SPDX-License-Identifier: Apache-2.0
// The chart of the selected symbol.

const GUTTER = 80, LEAST_BARS = 8, FIRST_BARS = 250;
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
        times, start: packed.start, n: close.length, flips,
        decimals: packed.decimals[0], equityDecimals: packed.decimals[9],
      });
    }
    return cache.get(symbol);
  }

  async function show(row) {
    const has = row !== null && Object.hasOwn(data.charts, row.symbol);
    canvas.hidden = !has;
    for (const part of document.querySelectorAll("#detail .controls, #detail .help")) part.hidden = !has;
    $("no-chart").hidden = has;
    $("name").textContent = row ? row.symbol : "No symbol";
    if (!has) {
      series = null;
      $("read").replaceChildren();
      const reason = Object.keys(data.charts).length
        ? "This symbol has no chart in this file: only the strongest have one." : "This page was made without charts.";
      $("no-chart").textContent = row ? reason : "Nothing was scanned.";
      return;
    }
    const loaded = await load(row.symbol);
    if (selected !== row) return; // another was chosen meanwhile
    series = loaded;
    view = { a: Math.max(0, series.n - FIRST_BARS), b: series.n };
    cursor = null;
    const [low, high] = range([series.close], 0, series.n - 1);
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

  const bounded = (span) => clamp(span, Math.min(LEAST_BARS, series.n), series.n);

  function setView(a, b) {
    const span = bounded(b - a);
    const left = clamp(a, 0, series.n - span);
    view = { a: left, b: left + span };
    draw();
  }
  function zoom(factor, at = cursor === null ? view.b : cursor + 0.5) {
    const pivot = clamp(at, view.a, view.b);
    const span = bounded((view.b - view.a) * factor);
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
    if (!series || !canvas.clientWidth) return; // hidden, or not laid out
    const width = canvas.clientWidth, narrow = width < 520;
    const plot = width - GUTTER;
    const s = series, i = cursor === null ? lastBar() : cursor;
    const picked = chosen();
    const title = (text) => ({ text, color: colors.muted, bold: true });
    const value = (text) => ({ text, color: colors.ink, bold: true });
    const family = (k, text) => ({ text, color: colors.ink, patch: colors.family[k] });
    const titles = {
      price: [title("Price and averages"), value(plain(s.close[i], s.decimals)), ...picked.map(([k, j]) =>
        family(k, `${FAMILIES[k].label} ${FAMILIES[k].lengths[j]} ${plain(s.nine[k][j][i], s.decimals)}`))],
      average: [title("Average signal"), value(signed(s.average[i], 3)),
        { text: "shaded: direction, dashed: thresholds", color: colors.muted }],
      lanes: [title("Layer 1: signal of each family")],
      equity: [title("Layer 2: equity of each family"), ...FAMILIES.map((f, k) =>
        family(k, `${f.label} ${plain(s.equities[k][i], clamp(s.equityDecimals, 0, 3))}`))],
    };
    const probe = canvas.getContext("2d");
    const heads = headings(probe, titles, plot);
    const sizes = narrow
      ? { price: 190, average: 70, lanes: 6 * 18, equity: 90 } : { price: 250, average: 84, lanes: 6 * 19, equity: 110 };
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

  let tallest = { key: "", heights: {} };
  /** Heights of the headings. While the same things are shown they only grow: moving over bars moves no pane. */
  function headings(ctx, titles, plot) {
    const key = [series.symbol, plot, $("family").value, $("length").value].join("\n");
    if (tallest.key !== key) tallest = { key, heights: {} };
    for (const [name, items] of Object.entries(titles)) {
      tallest.heights[name] = Math.max(tallest.heights[name] || 0, words(ctx, items, 0, 0, plot, true));
    }
    return tallest.heights;
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
    const ticks = (log ? logTicks : niceTicks)(low, high, Math.max(2, Math.floor(pane.height / 34)));
    for (const tick of ticks) level(ctx, toY(tick), tickText(tick));
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
    for (const v of [-1, 0, 1]) level(ctx, middle - v * scale, signed(v, 0), v === 0 ? colors.line : colors.faint);
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
      ctx.fillText(signed(series.signals[k][i], 2), place.plot + GUTTER, middle);
    });
  }

  function paintEquity(ctx, first, last) {
    const pane = place.panes.equity;
    let [low, high] = range(series.equities, first, last);
    [low, high] = [low - 0.06 * (high - low), high + 0.06 * (high - low)];
    const toY = (v) => pane.top + pane.height * (1 - (v - low) / (high - low));
    pane.value = (y) => low + (1 - (y - pane.top) / pane.height) * (high - low);
    const ticks = niceTicks(low, high, Math.max(2, Math.floor(pane.height / 36)));
    for (const tick of ticks) level(ctx, toY(tick), tickText(tick));
    if (low < 1 && high > 1) level(ctx, toY(1), undefined, colors.line);
    clipTo(ctx, pane, () => {
      series.equities.forEach((values, k) => line(ctx, values, first, last, toY, colors.family[k], 1.3));
    });
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
      const middle = (q.x + r.x) / 2, gap = Math.max(20, Math.abs(q.x - r.x));
      drag = { kind: "pinch", gap, span: view.b - view.a, at: barAt(middle), share: middle / place.plot };
      brush = null;
      return;
    }
    const strip = inStrip(p), bar = strip ? p.x / place.plot * series.n : barAt(p.x);
    const inside = strip && !isFull() && bar >= view.a && bar <= view.b;
    if (inside) drag = { kind: "strip", x: p.x, a: view.a };
    else if (strip || event.shiftKey || (isFull() && event.pointerType === "mouse")) {
      drag = { kind: "brush", strip, from: bar };
    } else drag = { kind: "pan", x: p.x, a: view.a };
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
      const wanted = bounded(drag.span * drag.gap / Math.max(20, Math.abs(q.x - r.x)));
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
      const pixels = (to - from) / (brush.strip ? series.n : view.b - view.a) * place.plot;
      if (to - from >= 2 && pixels > 4) setView(from, to);
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
    const families = FAMILIES.map((f) => option(f.name, f.label));
    $("family").append(option("base", "All, base"), ...families, option("none", "None"));
    const lengths = () => {
      const family = FAMILIES.find((f) => f.name === $("family").value);
      $("length").disabled = !family;
      const sorted = family ? family.lengths.map((length, j) => [length, j]).sort((p, q) => p[0] - q[0]) : [];
      const single = sorted.map(([length, j]) => option(j, j === 0 ? `${length} (base)` : length));
      $("length").replaceChildren(option("all", family ? "All nine" : "–"), ...single);
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
