// What happened, newest first: runs of bins that were not as they should be, notes of the engine, what became of the
// engine and its outputs, counters that grew.

import { clock, pretty, since, troubles, whole } from "./words.js";

const KEPT = 60;
const MINUTE_MS = 60_000;
const ASK_MS = 1000;
const TOGETHER_MS = 10_000; // bins of one trouble that are no further apart share an entry
// Counters that grow when something is wrong; the others count work, or tell of the same once more.
const FAULTS = new RegExp(
  "^(lost_packets|duplicates|reordered|old_epoch|mismatched|restarts|restarts_same_epoch|gaps|partial_bins|" +
    "stale_bins|late_bins|nonfinite_bins|skipped_bins|resets|tap_refused|budget_breaches|malformed_.+)$",
);
const WRITER = {
  stale: ["warn", "engine hangs: no heartbeat for a second"],
  dead: ["alarm", "engine gone: its heartbeat has stopped"],
  closed: ["off", "engine stopped in good order"],
  absent: ["alarm", "engine gone: it left no telemetry"],
};

export class Journal {
  // `state()` asks for the whole state, whose notes have times.
  constructor(list, state) {
    this.element = list;
    this.state = state;
    this.counters = null;
    this.grown = new Map(); // name: [[time, by], ...] of the last minute
    this.runs = new Map(); // of bins, by their words
    this.engine = null; // as the last frame told of it
    this.told = ""; // how many notes of which engine there are
    this.asks = 0; // how often to ask for them yet
    this.notedNs = -Infinity; // time of the newest of them
    this.askedAt = -Infinity;
  }

  take({ head, arrays }) {
    this.bins(head, arrays);
    this.follow(head);
    this.note(head);
    this.count(head.counters ?? {});
  }

  // Bins of a frame: those with the same words become one entry, unless they are far apart.
  bins(head, { bins, validity, flags }) {
    const binMs = head.engine.bin_ms || 20;
    for (let i = 0; i < (bins?.length ?? 0); i++) {
      const words = troubles(validity[i], flags[i]);
      if (!words) continue;
      const bin = bins[i];
      let run = this.runs.get(words);
      if (!run?.row.element.isConnected || bin < run.last || (bin - run.last) * binMs > TOGETHER_MS) {
        const at = Date.now() - (bins[bins.length - 1] - bin) * binMs;
        run = { first: bin, last: bin, n: 1, row: this.add(validity[i] === 2 ? "alarm" : "warn", words, "", at) };
        this.runs.set(words, run);
      } else if (bin > run.last) {
        run.last = bin;
        run.n += 1;
      }
      this.tell(run, binMs);
    }
  }

  tell({ first, last, n, row }, binMs) {
    const span = `bins ${whole(first)}–${whole(last)}`;
    const unbroken = last - first + 1 === n;
    const many = unbroken ? `${span} (${since(n * binMs)})` : `${whole(n)} of ${span}`;
    const text = n === 1 ? `bin ${whole(first)}` : many;
    if (row.detail.textContent !== text) row.detail.textContent = text;
  }

  // What became of the engine and its outputs, whoever asked for it: frames tell how things stand, not what was done.
  follow({ engine, realtime_ns: nowNs }) {
    const before = this.engine;
    this.engine = engine;
    if (!before) return;
    const anew = before.pid && engine.pid && startOf(before) !== startOf(engine);
    if (anew) {
      const age = engine.started_realtime_ns ? (nowNs - engine.started_realtime_ns) / 1e6 : 0;
      this.add("warn", "another engine runs", `process ${engine.pid} after ${before.pid}`, Date.now() - age);
    }
    if (engine.writer !== before.writer) {
      if (WRITER[engine.writer]) this.add(...WRITER[engine.writer], "");
      else if (!anew) this.add("off", before.writer === "stale" ? "engine goes on" : "an engine runs", "");
    }
    if (before.armed && !engine.armed) this.add("warn", "no longer armed", anew ? "the engine began anew" : "");
    else if (!before.armed && engine.armed) this.add("off", "armed", "");
    if (!before.neutral && engine.neutral) this.add("alarm", "neutral stop on", "");
    else if (before.neutral && engine.neutral === false) this.add("off", "neutral stop released", "");
    if (before.bundle_name && engine.bundle_name && before.bundle_hash !== engine.bundle_hash)
      this.add("off", `bundle ${engine.bundle_name} decodes`, `after ${before.bundle_name}`);
  }

  // Frames say how many notes there are; the state has them with their times.
  async note({ engine }) {
    const told = `${startOf(engine)} ${engine.notes}`;
    if (told !== this.told) this.asks = 2; // the service reads notes and their number from two places: one may lag
    this.told = told;
    const now = performance.now();
    if (!this.asks || now - this.askedAt < ASK_MS) return;
    this.askedAt = now;
    let state;
    try {
      state = await this.state();
    } catch {
      return; // asked again with the next frame that is due
    }
    this.asks -= 1;
    for (const { t_ns: t, text } of state.notes ?? []) {
      if (t <= this.notedNs) continue;
      this.notedNs = t;
      this.add("off", text, "engine", Date.now() - (state.t_ns - t) / 1e6);
    }
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

  // An entry where its time (ms of the wall clock) belongs.
  add(level, text, detail, at = Date.now()) {
    const element = document.createElement("li");
    element.dataset.level = level;
    element.dataset.at = at;
    const [time, words, small] = ["time", "span", "small"].map((tag) =>
      element.appendChild(document.createElement(tag)),
    );
    const when = new Date(at);
    time.textContent = clock(when);
    time.title = when.toLocaleString();
    words.textContent = text;
    small.textContent = detail;
    const older = [...this.element.children].find((entry) => Number(entry.dataset.at) <= at);
    this.element.insertBefore(element, older ?? null);
    while (this.element.children.length > KEPT) this.element.lastChild.remove();
    return { element, detail: small };
  }
}

const startOf = ({ pid, started_realtime_ns: started }) => `${pid} ${started ?? ""}`;
