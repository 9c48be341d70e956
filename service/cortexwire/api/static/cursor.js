// The cursor on its plane: the rig's own cursor and target where the stream has them, else what the decoded and the
// known velocity make of a cursor that drifts back to the middle, so that neither wanders out of sight.

import { Surface } from "./canvas.js";
import { knownCursor, knownTarget, knownVelocity } from "./known.js";

const TRAIL = 75;
const LEAK_S = 1.5;
const STEPS = 3;

export class CursorPlane {
  constructor(canvas, history) {
    this.history = history;
    this.surface = new Surface(canvas, () => (this.dirty = true));
    this.trails = {
      decoded: [new Float32Array(TRAIL), new Float32Array(TRAIL)],
      known: [new Float32Array(TRAIL), new Float32Array(TRAIL)],
    };
    this.reset();
  }

  reset() {
    this.length = 0;
    this.at = { decoded: [0, 0], known: [0, 0] };
    this.taken = -1;
    this.generation = this.history.generation;
    this.half = 1;
  }

  // What stands at the two trails' ends, in words.
  get names() {
    const rig = knownCursor(this.history);
    return { decoded: rig ? "cursor" : "decoded", known: knownTarget(this.history) ? "target" : "" };
  }

  advance(binS) {
    const { history } = this;
    if (this.generation !== history.generation) this.reset();
    const cursor = knownCursor(history);
    const target = knownTarget(history);
    const velocity = knownVelocity(history);
    this.hasKnown = Boolean(target || (velocity && !cursor));
    const keep = Math.max(0, 1 - binS / LEAK_S);
    const from = Math.max(this.taken + 1, history.newest - 2 * TRAIL);
    for (let bin = from; bin <= history.newest; bin++) {
      if (!history.has(bin)) continue;
      const slot = history.slot(bin);
      const decoded = [history.vx, history.vy];
      for (let axis = 0; axis < 2; axis++) {
        const known = (pair) => (pair ? history.knownAt(pair[axis], bin) : NaN);
        this.move("decoded", axis, known(cursor), decoded[axis][slot] * binS, keep);
        this.move("known", axis, known(target), known(velocity) * binS, keep);
      }
      this.length = Math.min(TRAIL, this.length + 1);
    }
    this.taken = history.newest;
  }

  move(which, axis, place, step, keep) {
    const at = this.at[which];
    at[axis] = Number.isFinite(place) ? place : keep * at[axis] + (Number.isFinite(step) ? step : 0);
    const trail = this.trails[which][axis];
    trail.copyWithin(0, 1);
    trail[TRAIL - 1] = at[axis];
  }

  draw(palette, binS) {
    this.advance(binS);
    const { surface } = this;
    const { context, width, height, ratio } = surface;
    this.fitScale();
    surface.fill(palette.bg);
    const side = Math.min(width, height) / 2;
    const place = (x, y) => [width / 2 + (x / this.half) * side * 0.92, height / 2 - (y / this.half) * side * 0.92];
    context.fillStyle = palette.line;
    context.fillRect(0, Math.round(height / 2), width, ratio);
    context.fillRect(Math.round(width / 2), 0, ratio, height);
    context.strokeStyle = palette.line;
    context.lineWidth = ratio;
    context.beginPath();
    context.arc(width / 2, height / 2, side * 0.46, 0, 2 * Math.PI);
    context.stroke();
    if (!this.length) return;
    if (this.hasKnown) this.trail("known", palette.known, 1.5 * ratio, place);
    this.trail("decoded", palette.decoded, 2.5 * ratio, place);
    if (this.hasKnown) this.ring(place(...this.at.known), 11 * ratio, palette.known, 3 * ratio);
    this.dot(place(...this.at.decoded), 6.5 * ratio, palette.decoded, palette.bg);
  }

  // Three strokes of growing strength instead of one for each piece.
  trail(which, colour, width, place) {
    const { context } = this.surface;
    const [xs, ys] = this.trails[which];
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineJoin = "round";
    for (let step = 0; step < STEPS; step++) {
      const first = TRAIL - Math.floor((this.length * (STEPS - step)) / STEPS);
      const last = TRAIL - Math.floor((this.length * (STEPS - step - 1)) / STEPS);
      context.globalAlpha = (step + 1) / STEPS - 0.15;
      context.beginPath();
      for (let i = first; i < Math.min(last + 1, TRAIL); i++) context.lineTo(...place(xs[i], ys[i]));
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  ring([x, y], radius, colour, width) {
    const { context } = this.surface;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }

  dot([x, y], radius, colour, edge) {
    const { context } = this.surface;
    context.fillStyle = colour;
    context.strokeStyle = edge;
    context.lineWidth = 2 * this.surface.ratio;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }

  fitScale() {
    let most = 0;
    for (const which of this.hasKnown ? ["decoded", "known"] : ["decoded"]) {
      for (const trail of this.trails[which]) {
        for (let i = TRAIL - this.length; i < TRAIL; i++) most = Math.max(most, Math.abs(trail[i]));
      }
    }
    const wanted = 1.1 * most;
    if (wanted <= this.half && wanted > this.half / 5) return;
    const ten = 10 ** Math.floor(Math.log10(Math.max(wanted, 1e-3)));
    this.half = [1, 2, 5, 10].find((step) => step * ten >= wanted) * ten;
  }
}
