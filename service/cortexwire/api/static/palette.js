// Colours for canvases, taken from the style sheet, so that both themes have one home.

const NAMES = ["bg", "line", "text", "muted", "decoded", "known", "ok", "warn", "alarm", "none"];
const RAMP = ["ramp-0", "ramp-1", "ramp-2", "ramp-3", "ramp-4"];
export const LEVELS = 32;

const probe = document.createElement("i");
probe.hidden = true;

function resolve(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function parts(colour) {
  return colour
    .match(/[\d.]+/g)
    .slice(0, 3)
    .map(Number);
}

// A pixel as ImageData has it in a Uint32Array on a little-endian machine, which is every one with a browser.
function pixel([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function mix(stops, share) {
  const at = share * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * (at - low)));
}

export function readPalette() {
  if (!probe.isConnected) document.body.append(probe);
  const palette = Object.fromEntries(NAMES.map((name) => [name, resolve(name)]));
  const stops = RAMP.map((name) => parts(resolve(name)));
  const levels = Array.from({ length: LEVELS }, (_, level) => mix(stops, level / (LEVELS - 1)));
  palette.ramp = levels.map(([r, g, b]) => `rgb(${r} ${g} ${b})`);
  // Ink that stands out on each level.
  palette.ink = levels.map(([r, g, b]) => (0.3 * r + 0.59 * g + 0.11 * b > 128 ? "#000" : "#fff"));
  const background = parts(palette.bg);
  const marks = [0, 0.55, 0.75, 0.9, 1].map((share) => mix(stops, share));
  palette.counts = Uint32Array.from([pixel(background), ...marks.slice(1).map(pixel)]);
  palette.nonePixel = pixel(parts(palette.none));
  return palette;
}
