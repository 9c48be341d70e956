// The array as a heat map: electrodes in channel order, grouped by bank, one figure at a time; a cell can be pointed at
// with the mouse or walked to with the arrow keys, and says all that is known of it.

import { Surface } from "./canvas.js";
import { LEVELS } from "./palette.js";
import { CHANNEL_FLAGS, DEAD, DISABLED, MASKED, RAILING, number } from "./words.js";

const GUTTER = 22;
const BETWEEN = 5;
const LARGEST = 40;
const MOST_ASPECT = 1.8;
const UNKNOWN = 255;
const FIGURES = {
  rate: { array: "rate_hz", unit: "Hz", sign: "" },
  noise: { array: "rms_uv", unit: "µV RMS", sign: "" },
  threshold: { array: "threshold_uv", unit: "µV", sign: "−" },
};

// Runs of channels of one bank, in channel order.
export function banksOf(electrodes, n) {
  const banks = [];
  for (let channel = 0; channel < n; channel++) {
    const name = electrodes[channel]?.bank ?? "";
    if (!banks.length || banks.at(-1).name !== name) banks.push({ name, first: channel, count: 0 });
    banks.at(-1).count += 1;
  }
  return banks;
}

// Banks side by side and columns in each, such that cells are largest; one that fills its rows wins over one slightly
// larger. Cells are as wide and as high as there is room, within reason.
export function arrange(banks, width, height, gutter) {
  const longest = Math.max(...banks.map((bank) => bank.count));
  let best = { abreast: 1, columns: 1, wide: 1, high: 1, worth: 0 };
  for (let abreast = 1; abreast <= banks.length; abreast++) {
    const lines = Math.ceil(banks.length / abreast);
    const room = (width - abreast * gutter - (abreast - 1) * BETWEEN) / abreast;
    for (let columns = 1; columns <= longest && columns <= room; columns++) {
      const rows = lines * Math.ceil(longest / columns);
      const wide = Math.floor(room / columns);
      const high = Math.floor((height - BETWEEN * (lines - 1)) / rows);
      const side = Math.min(wide, high);
      const full = longest % columns === 0 && banks.length % abreast === 0;
      const worth = side * (full ? 1.5 : 1) + 1 / (columns * abreast);
      if (worth > best.worth) best = { abreast, columns, wide: limit(wide, side), high: limit(high, side), worth };
    }
  }
  return best;
}

const limit = (length, side) => Math.max(1, Math.min(length, Math.round(MOST_ASPECT * side), LARGEST));

export class Electrodes {
  // `parts`: canvas, outline, readout, low, high, flags (elements). `onMask(channel)` asks to mask one.
  constructor(parts, onMask) {
    this.parts = parts;
    this.onMask = onMask;
    this.figure = "rate";
    this.chosen = 0;
    this.list = [];
    this.n = 0;
    this.surface = new Surface(parts.canvas, () => this.layOut());
    parts.canvas.addEventListener("pointermove", (event) => this.point(event));
    parts.canvas.addEventListener("pointerdown", (event) => this.point(event));
    parts.canvas.addEventListener("keydown", (event) => this.walk(event));
    parts.canvas.addEventListener("focus", () => this.choose(this.chosen));
  }

  describe(electrodes) {
    this.list = electrodes;
    this.n = 0;
  }

  show(figure) {
    this.figure = figure;
    this.range = null;
    this.drawn?.fill(UNKNOWN);
  }

  layOut() {
    this.drawn = new Uint8Array(this.n).fill(UNKNOWN);
    this.status = new Uint8Array(this.n).fill(UNKNOWN);
    this.blank = true;
    if (!this.n) return;
    const { ratio, width, height } = this.surface;
    const named = this.list.some((electrode) => electrode.bank);
    const gutter = named ? GUTTER * ratio : 0;
    this.banks = banksOf(this.list, this.n);
    const { abreast, columns, wide, high } = arrange(this.banks, width, height, gutter);
    Object.assign(this, { columns, wide, high, gutter });
    this.x = new Float32Array(this.n);
    this.y = new Float32Array(this.n);
    const rows = Math.ceil(Math.max(...this.banks.map((bank) => bank.count)) / columns);
    this.banks.forEach((bank, number) => {
      bank.left = (number % abreast) * (gutter + columns * wide + BETWEEN);
      bank.top = Math.floor(number / abreast) * (rows * high + BETWEEN);
      for (let i = 0; i < bank.count; i++) {
        this.x[bank.first + i] = bank.left + gutter + (i % columns) * wide;
        this.y[bank.first + i] = bank.top + Math.floor(i / columns) * high;
      }
    });
    this.choose(Math.min(this.chosen, this.n - 1));
  }

  draw(palette, { arrays, head }) {
    const n = head.engine.n_channels;
    const values = arrays[FIGURES[this.figure].array];
    if (!values || !n) return;
    this.latest = arrays;
    if (n !== this.n) {
      this.n = n;
      this.range = null;
      this.layOut();
      this.limits();
    }
    if (this.palette !== palette || this.blank) this.clean(palette);
    this.measure(values);
    if (!this.range) return;
    const [low, high] = this.range;
    for (let channel = 0; channel < n; channel++) {
      const share = (Math.abs(values[channel]) - low) / (high - low);
      const level = Number.isFinite(share) ? Math.round(Math.min(1, Math.max(0, share)) * (LEVELS - 1)) : UNKNOWN - 1;
      const status = arrays.status[channel];
      if (level === this.drawn[channel] && status === this.status[channel]) continue;
      this.drawn[channel] = level;
      this.status[channel] = status;
      this.cell(palette, channel, level, status);
    }
    this.tell();
  }

  clean(palette) {
    this.palette = palette;
    this.blank = false;
    this.drawn.fill(UNKNOWN);
    this.surface.fill(palette.bg);
    const { context, ratio } = this.surface;
    if (!this.gutter) return;
    context.fillStyle = palette.muted;
    context.font = `600 ${13 * ratio}px ${getComputedStyle(this.parts.canvas).fontFamily}`;
    context.textBaseline = "top";
    for (const bank of this.banks) context.fillText(bank.name.slice(0, 3), bank.left, bank.top + ratio);
  }

  // From the 2nd to the 98th percentile, so that one wild channel does not dim all others; rates count from zero. It is
  // changed only where values have left it far behind, so that colours keep their meaning.
  measure(values) {
    const sizes = Float32Array.from(values, Math.abs)
      .filter((size) => size < Infinity)
      .sort();
    if (!sizes.length) return;
    const at = (share) => sizes[Math.min(sizes.length - 1, Math.floor(share * sizes.length))];
    const top = at(0.98) || 1;
    const bottom = this.figure === "rate" ? 0 : at(0.02);
    const width = this.range ? this.range[1] - this.range[0] : 0;
    if (width && Math.abs(top - this.range[1]) < 0.25 * width && Math.abs(bottom - this.range[0]) < 0.25 * width)
      return;
    const step = 10 ** Math.floor(Math.log10(Math.max(top - bottom, 1e-3))) / 2;
    this.range = [step * Math.floor(bottom / step), step * Math.ceil(top / step + 0.01)];
    this.drawn.fill(UNKNOWN);
    const { unit, sign } = FIGURES[this.figure];
    this.parts.low.textContent = `${sign}${Number(this.range[0].toPrecision(3))}`.replace(/^−0$/, "0");
    this.parts.high.textContent = `${sign}${Number(this.range[1].toPrecision(3))} ${unit}`;
  }

  // Each fault has a shape of its own, so that no colour has to be told from another.
  cell(palette, channel, level, status) {
    const { context, ratio } = this.surface;
    const x = this.x[channel];
    const y = this.y[channel];
    const wide = Math.max(1, this.wide - ratio);
    const high = Math.max(1, this.high - ratio);
    context.fillStyle = level < LEVELS && !status ? palette.ramp[level] : palette.none;
    context.fillRect(x, y, wide, high);
    if (!status) return;
    const side = Math.min(wide, high);
    const half = side * 0.28;
    const [cx, cy] = [x + wide / 2, y + high / 2];
    context.strokeStyle = status & (DEAD | RAILING) ? palette.alarm : palette.text;
    context.lineWidth = Math.max(1, side / 8);
    context.beginPath();
    if (status & DEAD) {
      context.moveTo(cx - half, cy - half);
      context.lineTo(cx + half, cy + half);
      context.moveTo(cx + half, cy - half);
      context.lineTo(cx - half, cy + half);
    } else if (status & RAILING) {
      context.moveTo(cx - half, cy + half);
      context.lineTo(cx, cy - half);
      context.lineTo(cx + half, cy + half);
      context.closePath();
    } else if (status & MASKED) {
      context.moveTo(cx - half, cy + half);
      context.lineTo(cx + half, cy - half);
    } else if (status & DISABLED) {
      context.moveTo(cx - half, cy);
      context.lineTo(cx + half, cy);
    }
    context.stroke();
  }

  point(event) {
    const { ratio } = this.surface;
    const x = event.offsetX * ratio;
    const y = event.offsetY * ratio;
    for (let channel = 0; channel < this.n; channel++) {
      const left = this.x[channel];
      const top = this.y[channel];
      if (x >= left && x < left + this.wide && y >= top && y < top + this.high) {
        this.choose(channel);
        return;
      }
    }
  }

  walk(event) {
    const bank = this.banks?.find(({ first, count }) => this.chosen < first + count);
    if (!bank) return;
    const step = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: Math.min(this.columns, bank.count),
      ArrowUp: -Math.min(this.columns, bank.count),
      PageDown: bank.first + bank.count - this.chosen,
      PageUp: bank.first - 1 - this.chosen,
      Home: -this.chosen,
      End: this.n - 1 - this.chosen,
    }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      this.choose(Math.min(this.n - 1, Math.max(0, this.chosen + step)));
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.onMask(this.chosen);
    }
  }

  limits() {
    this.parts.canvas.setAttribute("aria-valuemin", "0");
    this.parts.canvas.setAttribute("aria-valuemax", String(Math.max(0, this.n - 1)));
  }

  choose(channel) {
    this.chosen = channel;
    if (!this.n) return;
    const { outline } = this.parts;
    const { ratio } = this.surface;
    outline.hidden = false;
    outline.style.transform = `translate(${this.x[channel] / ratio}px, ${this.y[channel] / ratio}px)`;
    outline.style.width = `${Math.max(4, this.wide / ratio)}px`;
    outline.style.height = `${Math.max(4, this.high / ratio)}px`;
    this.tell(true);
  }

  name(channel) {
    return this.list[channel]?.id ?? `channel ${channel}`;
  }

  flags(channel) {
    const status = this.latest?.status[channel] ?? 0;
    return CHANNEL_FLAGS.filter(([bit]) => status & bit).map(([, word]) => word);
  }

  tell(moved = false) {
    if (!this.latest || !this.n) return;
    const { rate_hz: rate, rms_uv: rms, threshold_uv: threshold, status } = this.latest;
    const c = this.chosen;
    const { id, bank } = this.list[c] ?? {};
    const where = [id ? `${id}` : "", bank ? `bank ${bank}` : "", `channel ${c}`].filter(Boolean);
    const { electrode, values, flags, canvas } = this.parts;
    electrode.textContent = where.join(" · ");
    const what = `${number(rate[c])} Hz · RMS ${number(rms[c])} µV · threshold ${number(threshold[c])} µV`;
    values.textContent = [what, ...this.flags(c)].join(" · ");
    const spoken = `${where.join(", ")}: ${[what, ...this.flags(c)].join(", ")}`;
    if (moved || document.activeElement !== canvas) {
      canvas.setAttribute("aria-valuenow", String(c));
      canvas.setAttribute("aria-valuetext", spoken);
    }
    const shapes = { dead: "×", railing: "△", masked: "╱", disabled: "–" };
    const found = CHANNEL_FLAGS.map(([bit, word]) => {
      let count = 0;
      for (let channel = 0; channel < this.n; channel++) count += status[channel] & bit ? 1 : 0;
      return count ? `${shapes[word]} ${count} ${word}` : "";
    }).filter(Boolean);
    flags.textContent = found.length ? found.join("   ") : "all electrodes in use";
  }
}
