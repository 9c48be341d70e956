// Lanes over one time axis, newest at the right, a whole number of pixels for each bin: what was decoded stands above
// the counts that it came from, what they were worth, and how long it took.

import { Surface } from "./canvas.js";
import { SLOTS } from "./history.js";
import { knownVelocity } from "./known.js";
import { COMMAND, LATE, SAFE } from "./words.js";

const LEAST_BINS = 500;
const MOST_BINS = SLOTS - 128;
const MOST_COUNT = 4;
const LOW_US = 100;
const DECADES = 3; // the latency lane reaches from 0.1 to 100 ms
const RISE = 1.15;

export const latencyShare = (us) => Math.min(1, Math.max(0, Math.log10(us / LOW_US) / DECADES));

// How many bins a width shows, and how many pixels each has.
export function axis(width) {
  const pixels = Math.max(1, Math.floor(width / LEAST_BINS));
  return { pixels, bins: Math.min(MOST_BINS, Math.floor(width / pixels)) };
}

class Lane {
  constructor(canvas, history) {
    this.history = history;
    this.dirty = true;
    this.surface = new Surface(canvas, () => (this.dirty = true));
  }

  // Shifts what is drawn by the bins that are new and calls `column(bin, x, pixels)` for each; all anew if it must.
  scroll(palette, newest, column) {
    const { surface, history } = this;
    const { pixels, bins } = axis(surface.width);
    const same = !this.dirty && this.palette === palette && this.generation === history.generation;
    const fresh = same ? newest - this.newest : bins;
    if (fresh <= 0) return;
    const shift = Math.min(fresh, bins);
    if (shift < bins) surface.context.drawImage(surface.canvas, -shift * pixels, 0);
    else surface.fill(palette.bg);
    for (let bin = newest - shift + 1; bin <= newest; bin++)
      column(bin, surface.width - (newest - bin + 1) * pixels, pixels);
    Object.assign(this, { newest, palette, generation: history.generation, dirty: false });
  }
}

export class RasterLane extends Lane {
  draw(palette, newest) {
    const { history, surface } = this;
    if (this.height !== surface.height || this.n !== history.nChannels) this.layOut();
    this.scroll(palette, newest, (bin, x, pixels) => this.column(palette, bin, x, pixels));
  }

  // Rows of pixels of each channel: several channels share a row where there are more of them than rows.
  layOut() {
    const n = (this.n = this.history.nChannels);
    const height = (this.height = this.surface.height);
    this.rows = Int32Array.from({ length: n + 1 }, (_, channel) => Math.floor((channel * height) / n));
    this.most = new Uint8Array(height);
    this.dirty = true;
  }

  column(palette, bin, x, pixels) {
    const { history, rows, most, surface, height } = this;
    if (this.image?.width !== pixels || this.image.height !== height) {
      this.image = surface.context.createImageData(pixels, height);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const words = this.words;
    if (!history.has(bin)) {
      words.fill(palette.nonePixel);
    } else {
      const counts = history.countsOf(bin);
      most.fill(0);
      for (let channel = 0; channel < counts.length; channel++) {
        const count = counts[channel];
        if (count === 0) continue;
        const level = count < MOST_COUNT ? count : MOST_COUNT;
        const first = rows[channel];
        const last = Math.max(first + 1, rows[channel + 1]);
        for (let row = first; row < last; row++) if (most[row] < level) most[row] = level;
      }
      for (let row = 0, at = 0; row < height; row++) {
        const colour = palette.counts[most[row]];
        for (let i = 0; i < pixels; i++) words[at++] = colour;
      }
    }
    surface.context.putImageData(this.image, x, 0);
  }
}

// Height says what colour says too: a line where all is well, half where it is partial, full where it is stale.
export class ValidityLane extends Lane {
  draw(palette, newest) {
    const { context, height } = this.surface;
    this.scroll(palette, newest, (bin, x, pixels) => {
      context.fillStyle = palette.bg;
      context.fillRect(x, 0, pixels, height);
      if (!this.history.has(bin)) {
        context.fillStyle = palette.none;
        context.fillRect(x, 0, pixels, height);
        return;
      }
      const slot = this.history.slot(bin);
      const validity = this.history.validity[slot];
      const share = [0.14, 0.5, 1][validity] ?? 1;
      context.fillStyle = [palette.ok, palette.warn, palette.alarm][validity] ?? palette.alarm;
      context.fillRect(x, height * (1 - share), pixels, height * share);
      if (this.history.flags[slot] & (LATE | SAFE)) {
        context.fillStyle = palette.text;
        context.fillRect(x, 0, pixels, height * 0.3);
      }
    });
  }
}

export class LatencyLane extends Lane {
  constructor(canvas, history) {
    super(canvas, history);
    this.limitUs = NaN;
  }

  // `limitUs`: the line above which a bin is over, or NaN for none.
  draw(palette, newest, limitUs) {
    const { context, height, width } = this.surface;
    if (!Object.is(limitUs, this.limitUs)) this.dirty = true;
    this.limitUs = limitUs;
    this.scroll(palette, newest, (bin, x, pixels) => {
      context.fillStyle = palette.bg;
      context.fillRect(x, 0, pixels, height);
      context.fillStyle = palette.line;
      for (let decade = 1; decade < DECADES; decade++) context.fillRect(x, height * (1 - decade / DECADES), pixels, 1);
      if (!this.history.has(bin)) return;
      const us = this.history.latencyUs[this.history.slot(bin)];
      if (!(us > 0)) return;
      const top = Math.round(height * (1 - latencyShare(us)));
      context.fillStyle = palette.none;
      context.fillRect(x, top, pixels, height - top);
      context.fillStyle = us > limitUs ? palette.alarm : palette.decoded;
      context.fillRect(x, top, pixels, 3 * this.surface.ratio);
    });
    if (Number.isFinite(limitUs)) {
      context.fillStyle = palette.text;
      context.fillRect(0, Math.round(height * (1 - latencyShare(limitUs))), width, Math.max(1, this.surface.ratio));
    }
  }
}

// One component of the velocity, decoded and known; drawn anew each time, for lines overlap where bins meet.
export class VelocityLane extends Lane {
  constructor(canvas, history, component) {
    super(canvas, history);
    this.component = component;
  }

  draw(palette, newest, scale) {
    const { surface, history } = this;
    const { context, width, height, ratio } = surface;
    const { pixels, bins } = axis(width);
    surface.fill(palette.bg);
    context.fillStyle = palette.line;
    context.fillRect(0, Math.round(height / 2), width, ratio);
    context.lineJoin = "round";
    const known = knownVelocity(history)?.[this.component];
    const y = (value) => height / 2 - (value / scale) * (height / 2 - 2 * ratio);
    const x = (bin) => width - (newest - bin + 0.5) * pixels;
    if (known) {
      context.setLineDash([5 * ratio, 3 * ratio]);
      this.trace((bin) => history.knownAt(known, bin), newest, bins, x, y, palette.known, 1.75 * ratio);
      context.setLineDash([]);
    }
    const decoded = this.component ? history.vy : history.vx;
    this.trace(
      (bin) => (history.has(bin) ? decoded[history.slot(bin)] : NaN),
      newest,
      bins,
      x,
      y,
      palette.decoded,
      2 * ratio,
    );
  }

  trace(valueAt, newest, bins, x, y, colour, width) {
    const { context } = this.surface;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    let pen = false;
    for (let bin = newest - bins + 1; bin <= newest; bin++) {
      const value = valueAt(bin);
      if (!Number.isFinite(value)) pen = false;
      else if (pen) context.lineTo(x(bin), y(value));
      else context.moveTo(x(bin), y(value));
      pen = Number.isFinite(value);
    }
    context.stroke();
  }
}

const larger = (most, value) => (Math.abs(value) > most && Math.abs(value) < Infinity ? Math.abs(value) : most);

// A round scale that holds the values of the last bins: it grows at once and shrinks only when far too large.
export function roundScale(history, newest, bins, before) {
  let most = 0;
  const known = knownVelocity(history) ?? [];
  for (let bin = newest - bins + 1; bin <= newest; bin++) {
    if (!history.has(bin)) continue;
    const slot = history.slot(bin);
    most = larger(larger(most, history.vx[slot]), history.vy[slot]);
    for (const ring of known) most = larger(most, history.knownAt(ring, bin));
  }
  const wanted = RISE * most;
  if (before && wanted <= before && wanted > before / 4) return before;
  if (!(wanted > 0)) return before || 1;
  const ten = 10 ** Math.floor(Math.log10(wanted));
  return [1, 1.5, 2, 3, 5, 10].find((step) => step * ten >= wanted) * ten;
}

export class Lanes {
  // `elements`: canvases by name, and the gutter texts.
  constructor(elements, history) {
    this.elements = elements;
    this.history = history;
    this.vx = new VelocityLane(elements.vx, history, 0);
    this.vy = new VelocityLane(elements.vy, history, 1);
    this.raster = new RasterLane(elements.raster, history);
    this.validity = new ValidityLane(elements.validity, history);
    this.latency = new LatencyLane(elements.latency, history);
    this.scale = 0;
  }

  get bins() {
    return axis(this.raster.surface.width).bins;
  }

  draw(palette, limitUs) {
    const newest = this.history.newest;
    if (newest < 0) return;
    this.scale = roundScale(this.history, newest, this.bins, this.scale);
    this.vx.draw(palette, newest, this.scale);
    this.vy.draw(palette, newest, this.scale);
    this.raster.draw(palette, newest);
    this.validity.draw(palette, newest);
    this.latency.draw(palette, newest, limitUs);
  }

  // Share of each validity, and what was late, safe or a command, over the last `n` bins.
  tally(n) {
    const found = { bins: 0, valid: 0, partial: 0, stale: 0, late: 0, safe: 0, commands: 0 };
    const { history } = this;
    for (let bin = history.newest; bin > history.newest - n; bin--) {
      if (!history.has(bin)) continue;
      const slot = history.slot(bin);
      found.bins += 1;
      found[["valid", "partial", "stale"][history.validity[slot]] ?? "stale"] += 1;
      const flags = history.flags[slot];
      found.late += flags & LATE ? 1 : 0;
      found.safe += flags & SAFE ? 1 : 0;
      found.commands += flags & COMMAND ? 1 : 0;
    }
    return found;
  }
}
