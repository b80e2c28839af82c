// SPDX-License-Identifier: Apache-2.0
// The heat map of all symbols.

const heat = (() => {
  const canvas = $("map"), box = $("heat-box"), space = $("heat-space");
  const FOOT = 20, LABELS = 78, TALL = 15, FIT = 560; // FIT and FOOT make the height of the box in report.css
  let signal = null, times = null, columns = 0, geometry = null, cell = null, waiting = 0;
  let version = 0; // of the order of the rows

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
    cell = null;
    version++;
    draw();
  }

  function paint() {
    if (!signal || !canvas.clientWidth) return; // not laid out
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
    const bars = niceTicks(1 - columns, 0, most).filter(Number.isInteger);
    return bars.map((bar) => [columns - 1 + bar, bar === 0 ? "last bar" : `−${-bar}`]);
  }

  let drawn = { key: "", picture: null };
  /** Draws the cells, anew only if something else is to be seen than the last time. */
  function cells(ctx) {
    const ratio = canvas.width / canvas.clientWidth;
    const key = JSON.stringify([geometry, ratio, version, colors.blank]);
    if (drawn.key !== key) drawn = { key, picture: pictureOf(ctx, ratio) };
    ctx.putImageData(drawn.picture, Math.round(geometry.labels * ratio), 0);
  }

  /** One pixel is the mean of the symbols and bars that fall on it. */
  function pictureOf(ctx, ratio) {
    const { each, scroll, visible, plot } = geometry;
    const [w, h] = [Math.max(1, Math.round(plot * ratio)), Math.round(visible * ratio)];
    const picture = ctx.createImageData(w, h), pixels = new Uint32Array(picture.data.buffer);
    const across = Math.max(1, Math.ceil(columns / w));
    const word = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
    const edge = (p, size, n) => Math.min(n, Math.floor(p * n / size));
    let done = -1, doneTo = -1;
    for (let y = 0; y < h; y++) {
      const top = Math.floor((y / ratio + scroll) / each), below = ((y + 1) / ratio + scroll) / each;
      const bottom = each * ratio >= 1 ? top + 1 : Math.max(top + 1, Math.ceil(below - 1e-9));
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
    return picture;
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
    const before = columns - 1 - cell.column;
    const place = before === 0 ? "last bar" : `${before} bars before the last`;
    const when = times ? timeText(times, cell.column, 0) : place;
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
    if (cell) step(cell.row, false);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!signal || !order.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = cell || { row: Math.max(0, order.indexOf(selected)), column: columns - 1 };
    const moves = {
      ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], PageUp: [-15, 0], PageDown: [15, 0],
      Home: [0, -columns], End: [0, columns],
    };
    if (event.key === "Enter" || event.key === " ") step(at.row, false);
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
      else if (top + geometry.each > geometry.scroll + geometry.visible) {
        box.scrollTop = top + geometry.each - geometry.visible;
      }
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
