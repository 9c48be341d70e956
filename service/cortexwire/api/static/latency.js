// How long bins take: a histogram of the last minute, its percentiles, and every budget line against what is now.

import { Surface } from "./canvas.js";
import { latencyShare } from "./lanes.js";
import { SHORT, duration, stage } from "./words.js";

const KEPT = 3000;
const CLASSES = 60;
const LINE = /^(\w+) (p[\d.]+|max) <= ([\d.e+]+) us$/;
const KEYS = { p50: "p50_ns", p90: "p90_ns", p99: "p99_ns", "p99.9": "p999_ns", max: "max_ns" };

// What a budget line says, or null for one that is none of a stage.
export function readLine(text) {
  const found = LINE.exec(text);
  return found ? { stage: found[1], percentile: found[2], limitUs: Number(found[3]) } : null;
}

// The limit for received → published, which each bin's latency is: the tightest line on a stretch that contains it.
export function wholeLimit(budgets) {
  const lines = Object.keys(budgets ?? {}).map(readLine);
  const fitting = lines.filter((line) => line && /^(received|sent)_to_(published|received)$/.test(line.stage));
  const tail = fitting.filter((line) => line.percentile !== "p50");
  return (tail.length ? tail : fitting).sort((a, b) => a.limitUs - b.limitUs)[0] ?? null;
}

export class Latency {
  constructor(canvas, parts) {
    this.parts = parts;
    this.kept = new Float32Array(KEPT);
    this.sorted = new Float32Array(KEPT);
    this.classes = new Uint32Array(CLASSES);
    this.count = 0;
    this.next = 0;
    this.rows = new Map();
    this.surface = new Surface(canvas);
  }

  clear() {
    this.classes.fill(0);
    this.count = this.next = 0;
  }

  take(latencies) {
    for (const us of latencies ?? []) {
      if (!(us > 0)) continue;
      if (this.count === KEPT) this.classes[this.classOf(this.kept[this.next])] -= 1;
      this.kept[this.next] = us;
      this.classes[this.classOf(us)] += 1;
      this.next = (this.next + 1) % KEPT;
      this.count = Math.min(KEPT, this.count + 1);
    }
  }

  classOf(us) {
    return Math.min(CLASSES - 1, Math.floor(latencyShare(us) * CLASSES));
  }

  // Percentiles of what is kept, in microseconds.
  summary() {
    const sorted = this.sorted.subarray(0, this.count);
    sorted.set(this.kept.subarray(0, this.count));
    sorted.sort();
    const at = (share) => (this.count ? sorted[Math.min(this.count - 1, Math.ceil(share * this.count) - 1)] : NaN);
    return { p50: at(0.5), p99: at(0.99), max: at(1) };
  }

  draw(palette, limit) {
    const { surface } = this;
    const { context, width, height, ratio } = surface;
    surface.fill(palette.bg);
    context.fillStyle = palette.line;
    for (const share of [1 / 3, 2 / 3]) context.fillRect(Math.round(share * width), 0, ratio, height);
    const most = this.classes.reduce((a, b) => Math.max(a, b), 1);
    const step = width / CLASSES;
    for (let i = 0; i < CLASSES; i++) {
      if (!this.classes[i]) continue;
      // A square root, so that the few late ones are seen beside the many.
      const tall = Math.max(2 * ratio, Math.sqrt(this.classes[i] / most) * (height - 4 * ratio));
      context.fillStyle = limit && i + 1 > latencyShare(limit.limitUs) * CLASSES ? palette.alarm : palette.decoded;
      context.fillRect(Math.round(i * step), height - tall, Math.max(1, Math.round(step) - ratio), tall);
    }
    if (limit) {
      context.fillStyle = palette.text;
      context.fillRect(Math.round(latencyShare(limit.limitUs) * width), 0, Math.max(2, 2 * ratio), height);
    }
  }

  tell(head) {
    const { p50, p99, max } = this.summary();
    this.parts.p50.textContent = duration(p50);
    this.parts.p99.textContent = duration(p99);
    this.parts.max.textContent = duration(max);
    this.lines(head.budgets ?? {}, { ...head.latency, ...head.latency_window });
  }

  // Rows are kept and only their texts changed, so that nothing is laid out anew twenty times a second.
  lines(budgets, found) {
    const names = Object.keys(budgets);
    if (names.join() !== [...this.rows.keys()].join()) this.build(names);
    this.parts.none.hidden = names.length > 0;
    for (const [name, row] of this.rows) {
      const over = budgets[name] === "over";
      const line = readLine(name);
      const now = line ? (found[line.stage]?.[KEYS[line.percentile]] ?? NaN) / 1000 : NaN;
      row.line.classList.toggle("over", over);
      row.glyph.textContent = over ? "▲" : "●";
      row.word.textContent = over ? " over" : " within";
      row.now.textContent = duration(now);
      row.bar.style.transform = `scaleX(${Number.isFinite(now) && line ? Math.min(1, now / (2 * line.limitUs)) : 0})`;
    }
  }

  build(names) {
    this.rows.clear();
    const lines = names.map((name) => {
      const line = readLine(name);
      const make = (tag, kind, text = "") =>
        Object.assign(document.createElement(tag), { className: kind, textContent: text });
      const row = {
        line: make("tr", ""),
        glyph: make("i", ""),
        word: make("span", "unseen"),
        now: make("td", ""),
        bar: make("i", "fill"),
      };
      row.glyph.setAttribute("aria-hidden", "true");
      const what = Object.assign(make("th", ""), { scope: "row", title: name });
      what.append(row.glyph, line ? `${SHORT[line.stage] ?? stage(line.stage)} ` : name);
      if (line) what.append(make("b", "", line.percentile));
      what.append(row.word);
      const gauge = make("td", "gauge");
      gauge.appendChild(make("div", "track")).append(row.bar, make("i", "limit"));
      gauge.setAttribute("aria-hidden", "true"); // the figures beside it say the same
      row.line.append(what, row.now, gauge, make("td", "muted", line ? duration(line.limitUs) : ""));
      this.rows.set(name, row);
      return row.line;
    });
    this.parts.lines.replaceChildren(...lines);
  }
}
