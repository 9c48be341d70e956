// Model, candidate and recorder as lists of names and values, changed only where a text differs.

import { bytes, duration, number, plural, since, whole } from "./words.js";

const short = (hash) => (hash && !/^0+$/.test(hash) ? hash.slice(0, 8) : "none");

export function showModel(elements, { engine, candidate, previous }) {
  put(elements.bundle, engine.bundle_name || "no bundle");
  put(elements.hash, short(engine.bundle_hash));
  put(elements.overlay, short(engine.overlay_hash));
  elements.back.disabled = previous === null;
  elements.back.title = previous ? `to ${short(previous)}` : "";
  elements.candidate.hidden = !candidate;
  if (!candidate) return;
  const phases = {
    loading: "loading",
    warming: "warming up",
    shadow: "in shadow: decodes along, outputs nothing",
    ready: "ready to take over",
    refused: "refused",
  };
  elements.candidate.dataset.phase = candidate.phase;
  put(elements.candidateName, nameOf(candidate.path) || short(candidate.bundle_hash));
  put(elements.candidateHash, short(candidate.bundle_hash));
  put(elements.candidatePhase, phases[candidate.phase] ?? candidate.phase);
  put(elements.candidateWhy, candidate.why ?? "");
  elements.candidateWhy.title = candidate.why ?? "";
  const { divergence, bins } = candidate;
  const unit = engine.unit ?? "";
  put(
    elements.divergence,
    divergence ? `${number(divergence.rms, 2)} ${unit} RMS, ${number(divergence.max, 2)} at most` : "–",
  );
  put(elements.candidateBins, whole(bins ?? 0));
}

export function nameOf(path) {
  return (path ?? "").replace(/\/+$/, "").split("/").at(-1);
}

export function showRecorder(elements, recorder, tNs) {
  const states = { idle: "not recording", recording: "recording", full: "disk full", failed: "failed" };
  put(elements.state, recorder ? (states[recorder.state] ?? recorder.state) : "none runs");
  put(elements.folder, nameOf(recorder?.folder));
  if (!recorder) {
    for (const part of [elements.size, elements.lost, elements.note]) put(part, "");
    return;
  }
  const waiting = recorder.queued_bytes > 1e7 ? `, ${bytes(recorder.queued_bytes)} waiting` : "";
  put(elements.size, `${bytes(recorder.durable_bytes ?? 0)} safe${waiting}`);
  const lost = recorder.lost_records
    ? [`lost: ${plural(recorder.lost_records, "record")}, ${plural(recorder.lost_samples ?? 0, "sample")}`]
    : [];
  if (recorder.stalls)
    lost.push(`${plural(recorder.stalls, "stall")}, the longest ${duration(recorder.longest_stall_ns / 1000)}`);
  put(elements.lost, lost.join("; "));
  const age = recorder.heartbeat_ns && tNs ? (tNs - recorder.heartbeat_ns) / 1e6 : 0;
  put(elements.note, age > 3000 ? `no heartbeat for ${since(age)}` : (recorder.note ?? ""));
}

export function showStream(element, { engine }) {
  const rate = engine.rate_hz ? `${number(engine.rate_hz / 1000, engine.rate_hz % 1000 ? 3 : 0)} kHz` : "";
  const bins = engine.bin_ms ? `${engine.bin_ms} ms bins` : "";
  const channels = engine.n_channels ? plural(engine.n_channels, "channel") : ""; // none are known before a stream
  put(element, [channels, rate, bins].filter(Boolean).join(" · "));
}

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
