"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const expiry = byId("expiry"), moment = byId("moment"), play = byId("play"), time = byId("time");
  const GHOSTS = 8, MARGIN = { left: 48, right: 12, top: 12, bottom: 26 };
  let timer = null;

  data.names.forEach((name, i) => expiry.add(new Option(name, String(i))));
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /** A canvas in the pixels of the screen, and the box that is drawn in. */
  function canvas(id) {
    const element = byId(id), ratio = window.devicePixelRatio || 1;
    const width = element.clientWidth, height = element.clientHeight;
    element.width = Math.round(width * ratio);
    element.height = Math.round(height * ratio);
    const pen = element.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    const box = { x: MARGIN.left, y: MARGIN.top, w: width - MARGIN.left - MARGIN.right,
                  h: height - MARGIN.top - MARGIN.bottom };
    return { pen, box };
  }

  /** About so many round numbers between two. */
  function ticks(low, high, count) {
    const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const found = [];
    for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) found.push(v);
    return { found, decimals: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
  }

  function frame({ pen, box }, range, xTicks) {
    const x = (v) => box.x + (v - range.x0) / (range.x1 - range.x0) * box.w;
    const y = (v) => box.y + box.h - (v - range.y0) / (range.y1 - range.y0) * box.h;
    pen.strokeStyle = color("--line");
    pen.fillStyle = color("--muted");
    pen.lineWidth = 0.5;
    const vertical = ticks(100 * range.y0, 100 * range.y1, 5);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const v of vertical.found) {
      pen.beginPath();
      pen.moveTo(box.x, y(v / 100));
      pen.lineTo(box.x + box.w, y(v / 100));
      pen.stroke();
      pen.fillText(v.toFixed(vertical.decimals) + " %", box.x - 5, y(v / 100));
    }
    pen.textBaseline = "top";
    for (const [v, text, align] of xTicks) {
      pen.textAlign = align;
      pen.fillText(text, x(v), box.y + box.h + 6);
    }
    return { x, y };
  }

  function line(pen, xs, ys, at) {
    pen.beginPath();
    let down = false;
    xs.forEach((v, i) => {
      if (ys[i] === null) { down = false; return; }
      if (down) pen.lineTo(at.x(v), at.y(ys[i])); else pen.moveTo(at.x(v), at.y(ys[i]));
      down = true;
    });
    pen.stroke();
  }

  /** From the least to the largest that an expiry ever has, so that the picture stands still. */
  function bounds(i) {
    let low = Infinity, high = -Infinity;
    for (const f of data.frames) {
      const s = f.s[i];
      if (!s) continue;
      for (const v of s.v) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
    }
    const room = 0.08 * (high - low) || 0.01;
    return [Math.max(0, low - room), high + room];
  }

  function drawSmile(i, now) {
    const k = data.k[i], at = canvas("smile"), [y0, y1] = bounds(i);
    const range = { x0: k[0], x1: k[k.length - 1], y0, y1 };
    const across = ticks(range.x0, range.x1, 7);
    const scale = frame(at, range, across.found.map((v) => [v, v.toFixed(across.decimals), "center"]));
    const pen = at.pen;
    pen.save();
    pen.beginPath();
    pen.rect(at.box.x, at.box.y, at.box.w, at.box.h);
    pen.clip();
    pen.strokeStyle = color("--curve");
    for (let back = Math.min(GHOSTS, now); back >= 0; --back) {
      const s = data.frames[now - back].s[i];
      if (!s) continue;
      if (back === 0 && s.q) {
        pen.strokeStyle = color("--quote");
        pen.globalAlpha = 1;
        pen.lineWidth = 2;
        s.q[0].forEach((v, n) => {
          const low = s.q[1][n] === null ? y0 : s.q[1][n], high = s.q[2][n] === null ? y1 : s.q[2][n];
          pen.beginPath();
          pen.moveTo(scale.x(v), scale.y(low));
          pen.lineTo(scale.x(v), scale.y(high));
          pen.stroke();
        });
        pen.strokeStyle = color("--curve");
      }
      pen.globalAlpha = back === 0 ? 1 : 0.35 * (1 - back / (GHOSTS + 1));
      pen.lineWidth = back === 0 ? 2 : 1;
      line(pen, k, s.v, scale);
    }
    pen.restore();
  }

  function drawMoney(i, now) {
    const at = canvas("money"), middle = (data.k[i].length - 1) / 2, last = data.frames.length - 1;
    const vols = data.frames.map((f) => (f.s[i] ? f.s[i].v[middle] : null));
    const known = vols.filter((v) => v !== null);
    const low = Math.min(...known), high = Math.max(...known), room = 0.1 * (high - low) || 0.005;
    const range = { x0: 0, x1: Math.max(last, 1), y0: low - room, y1: high + room };
    const ends = [[0, data.frames[0].t, "left"]];
    if (last > 0) ends.push([last, data.frames[last].t, "right"]);
    const scale = frame(at, range, ends);
    at.pen.strokeStyle = color("--curve");
    at.pen.lineWidth = 1.5;
    line(at.pen, vols.map((_, n) => n), vols, scale);
    at.pen.strokeStyle = color("--mark");
    at.pen.beginPath();
    at.pen.moveTo(scale.x(now), at.box.y);
    at.pen.lineTo(scale.x(now), at.box.y + at.box.h);
    at.pen.stroke();
  }

  function draw() {
    const i = Number(expiry.value), now = Number(moment.value);
    time.textContent = data.frames[now].t;
    drawSmile(i, now);
    drawMoney(i, now);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  play.addEventListener("click", () => {
    if (timer !== null) { stop(); return; }
    if (Number(moment.value) === data.frames.length - 1) moment.value = "0";
    play.textContent = "Stop";
    timer = setInterval(() => {
      if (Number(moment.value) === data.frames.length - 1) { stop(); return; }
      moment.value = String(Number(moment.value) + 1);
      draw();
    }, 80);
  });
  moment.addEventListener("input", draw);
  expiry.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
