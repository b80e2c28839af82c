// SPDX-License-Identifier: Apache-2.0
// Numbers as text, colours of the scheme, and what both pictures draw with.

const signOf = (x) => (x < 0 ? "−" : x > 0 ? "+" : "");
const signed = (x, digits) => (Number.isFinite(x) ? signOf(x) + Math.abs(x).toFixed(digits) : "–");
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
  const names = ["panel", "ink", "muted", "faint", "line", "up", "down", "blank", "focus"];
  for (const name of names) colors[name] = get(name);
  colors.family = get("family").split(" ");
  const stops = get("scale").split(" ").map((hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)));
  colors.scale = Array.from({ length: 201 }, (_, k) => {
    const at = k / 50, low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((c, j) => Math.round(c + (stops[low + 1][j] - c) * (at - low)));
  });
  colors.blankRgb = [1, 3, 5].map((k) => parseInt(colors.blank.slice(k, k + 2), 16));
}
const shadeAt = (signal) => colors.scale[Math.round(100 + 100 * clamp(signal, -1, 1))];
const shade = (signal) => (Number.isNaN(signal) ? colors.blankRgb : shadeAt(signal));
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

/** Words in lines of at most this width, some led by a patch of colour; gives the height. Only that with `measure`. */
function words(ctx, items, x, y, width, measure = false) {
  let [left, line] = [x, 0];
  for (const { text, color, bold, patch } of items) {
    ctx.font = bold ? `600 ${FONT}` : FONT;
    const size = ctx.measureText(text).width + (patch ? 6 : 0);
    if (left > x && left + size > x + width) [left, line] = [x, line + 1];
    if (!measure) {
      ctx.fillStyle = color;
      ctx.textAlign = "left";
      ctx.fillText(text, left + (patch ? 6 : 0), y + 8 + 15 * line);
      if (patch) {
        ctx.fillStyle = patch;
        ctx.fillRect(left, y + 3 + 15 * line, 3, 10);
      }
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
function tickText(x) {
  if (x === 0) return "0";
  return Math.abs(x) >= 1e6 || Math.abs(x) < 1e-4 ? x.toPrecision(3) : String(+x.toPrecision(6));
}
