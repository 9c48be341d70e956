// What happened, newest first: runs of bins that were not as they should be, notes of the engine, counters that grew.

import { clock, pretty, since, troubles, whole } from "./words.js";

const KEPT = 60;
const MINUTE_MS = 60_000;
// Counters that grow when something is wrong; the others count work, or tell of the same once more.
const FAULTS = new RegExp(
  "^(lost_packets|duplicates|reordered|old_epoch|mismatched|restarts|restarts_same_epoch|gaps|partial_bins|" +
    "stale_bins|late_bins|nonfinite_bins|skipped_bins|resets|tap_refused|budget_breaches|malformed_.+)$",
);

export class Journal {
  constructor(list) {
    this.element = list;
    this.entries = 0;
    this.counters = null;
    this.grown = new Map(); // name: [[time, by], ...] of the last minute
    this.notes = -1;
    this.run = null;
  }

  // Bins of a frame: neighbours with the same words become one entry.
  take({ head, arrays }) {
    const { bins, validity, flags } = arrays;
    for (let i = 0; i < (bins?.length ?? 0); i++) {
      const words = troubles(validity[i], flags[i]);
      if (this.run && this.run.words === words && bins[i] <= this.run.last + 1) {
        this.run.last = bins[i];
      } else if (words) {
        this.run = {
          words,
          first: bins[i],
          last: bins[i],
          row: this.add(validity[i] === 2 ? "alarm" : "warn", words, ""),
        };
      } else {
        this.run = null;
      }
      if (this.run) this.tell(this.run, head.engine.bin_ms);
    }
    this.note(head.engine);
    this.count(head.counters ?? {});
  }

  tell({ first, last, row }, binMs) {
    const n = last - first + 1;
    const text = n === 1 ? `bin ${whole(first)}` : `bins ${whole(first)}–${whole(last)} (${since(n * binMs)})`;
    if (row.detail.textContent !== text) row.detail.textContent = text;
  }

  note({ notes, last_note: text }) {
    if (this.notes >= 0 && notes > this.notes && text) this.add("off", text, "engine");
    else if (this.notes < 0 && text) this.add("off", text, "engine, last note");
    this.notes = notes;
  }

  count(counters) {
    const now = Date.now();
    for (const [name, value] of Object.entries(counters)) {
      if (!FAULTS.test(name)) continue;
      const by = this.counters ? value - (this.counters[name] ?? 0) : 0;
      if (by > 0) this.grow(name, by, now);
    }
    this.counters = counters;
  }

  grow(name, by, now) {
    const grown = this.grown.get(name) ?? [];
    const last = grown.at(-1);
    if (last && now - last[0] < 1000) last[1] += by;
    else grown.push([now, by]);
    this.grown.set(name, grown);
  }

  // Faults of the last minute by name.
  recent() {
    const now = Date.now();
    const found = {};
    for (const [name, grown] of this.grown) {
      while (grown.length && now - grown[0][0] > MINUTE_MS) grown.shift();
      const sum = grown.reduce((total, [, by]) => total + by, 0);
      if (sum) found[pretty(name)] = sum;
      else this.grown.delete(name);
    }
    return found;
  }

  add(level, text, detail) {
    const element = document.createElement("li");
    element.dataset.level = level;
    const [time, words, small] = ["time", "span", "small"].map((tag) =>
      element.appendChild(document.createElement(tag)),
    );
    time.textContent = clock();
    words.textContent = text;
    small.textContent = detail;
    this.element.prepend(element);
    this.entries += 1;
    while (this.element.children.length > KEPT) this.element.lastChild.remove();
    return { element, detail: small };
  }
}
