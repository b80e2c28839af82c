// SPDX-License-Identifier: Apache-2.0
// What the page holds: series unpacked, times written.

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
