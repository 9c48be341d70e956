// What is known of the movement, by the names of the stream's columns: the simulator's and those that rigs commonly
// use.

const VELOCITIES = [
  ["intended_vx", "intended_vy"],
  ["target_vx", "target_vy"],
  ["cursor_vx", "cursor_vy"],
  ["hand_vx", "hand_vy"],
  ["vx", "vy"],
];
const TARGETS = [
  ["target_x", "target_y"],
  ["target_px", "target_py"],
  ["goal_x", "goal_y"],
];
const CURSORS = [
  ["cursor_x", "cursor_y"],
  ["cursor_px", "cursor_py"],
];

function pair(history, choices) {
  const names = history.columns ? history.columns.split(",") : [];
  const chosen = choices.find(([x, y]) => names.includes(x) && names.includes(y));
  return chosen ? chosen.map((name) => history.known[names.indexOf(name)]) : null;
}

export const knownVelocity = (history) => pair(history, VELOCITIES);
export const knownTarget = (history) => pair(history, TARGETS);
export const knownCursor = (history) => pair(history, CURSORS);

export function knownName(history) {
  const names = history.columns ? history.columns.split(",") : [];
  const chosen = VELOCITIES.find(([x, y]) => names.includes(x) && names.includes(y));
  return chosen ? chosen[0].replace(/_?vx$/, "") || "recorded" : "";
}

// How well decoded and known velocity go together over the last bins: Pearson's r of both components pooled.
export function agreement(history, n) {
  const known = knownVelocity(history);
  if (!known) return NaN;
  const decoded = [history.vx, history.vy];
  let [count, product, squareA, squareB] = [0, 0, 0, 0];
  for (let axis = 0; axis < 2; axis++) {
    let [m, sumA, sumB, sumAB, sumAA, sumBB] = [0, 0, 0, 0, 0, 0];
    for (let bin = history.newest; bin > history.newest - n; bin--) {
      if (!history.has(bin)) continue;
      const slot = history.slot(bin);
      const a = decoded[axis][slot];
      const b = history.knownAt(known[axis], bin);
      if (!Number.isFinite(a) || !Number.isFinite(b)) continue;
      m += 1;
      sumA += a;
      sumB += b;
      sumAB += a * b;
      sumAA += a * a;
      sumBB += b * b;
    }
    if (m < 2) return NaN;
    count += m;
    product += sumAB - (sumA * sumB) / m;
    squareA += sumAA - (sumA * sumA) / m;
    squareB += sumBB - (sumB * sumB) / m;
  }
  return count < n / 4 || !squareA || !squareB ? NaN : product / Math.sqrt(squareA * squareB);
}
