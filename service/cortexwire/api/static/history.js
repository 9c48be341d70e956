// What came in the last seconds, by bin: rings of fixed size, written when a message comes and read when a picture is
// due.

export const SLOTS = 2048; // a power of two: bin b has slot b & (SLOTS - 1), if its tag says so
const MASK = SLOTS - 1;
const NONE = -1;

export class History {
  constructor() {
    this.tag = new Int32Array(SLOTS).fill(NONE);
    this.knownTag = new Int32Array(SLOTS).fill(NONE);
    this.vx = new Float32Array(SLOTS);
    this.vy = new Float32Array(SLOTS);
    this.validity = new Uint8Array(SLOTS);
    this.flags = new Int32Array(SLOTS);
    this.latencyUs = new Float32Array(SLOTS);
    this.known = []; // known movement, one ring for each column of the stream
    this.counts = new Uint8Array(0);
    this.nChannels = 0;
    this.columns = "";
    this.epoch = "";
    this.clear();
  }

  clear() {
    this.tag.fill(NONE);
    this.knownTag.fill(NONE);
    this.newest = NONE;
    this.generation = (this.generation ?? 0) + 1; // pictures made before are of another stream
  }

  has(bin) {
    return bin >= 0 && this.tag[bin & MASK] === bin;
  }

  slot(bin) {
    return bin & MASK;
  }

  countsOf(bin) {
    const at = (bin & MASK) * this.nChannels;
    return this.counts.subarray(at, at + this.nChannels);
  }

  take({ head, arrays }) {
    const names = (head.columns ?? []).join();
    const n = head.engine.n_channels ?? 0;
    if ((head.engine.epoch ?? "") !== this.epoch || n !== this.nChannels || names !== this.columns) {
      this.epoch = head.engine.epoch ?? "";
      this.columns = names;
      this.nChannels = n;
      this.counts = new Uint8Array(SLOTS * n);
      this.known = (head.columns ?? []).map(() => new Float32Array(SLOTS));
      this.clear();
    }
    const bins = arrays.bins;
    if (!bins) return;
    if (bins.length && bins[bins.length - 1] < this.newest - SLOTS / 4) this.clear(); // the same epoch, begun again
    this.put(bins, arrays);
  }

  put(bins, { velocity, validity, flags, latency_us: latency, counts, columns, column_bins: columnBins }) {
    const n = this.nChannels;
    for (let i = 0; i < bins.length; i++) {
      const bin = bins[i];
      const slot = bin & MASK;
      const again = this.tag[slot] === bin; // a safe message beside the decoded one: what either says counts
      this.tag[slot] = bin;
      this.vx[slot] = velocity[2 * i];
      this.vy[slot] = velocity[2 * i + 1];
      this.validity[slot] = again ? Math.max(this.validity[slot], validity[i]) : validity[i];
      this.flags[slot] = again ? this.flags[slot] | flags[i] : flags[i];
      this.latencyUs[slot] = latency[i];
      if (counts && counts.length === bins.length * n) {
        this.counts.set(counts.subarray(i * n, (i + 1) * n), slot * n);
      }
      if (bin > this.newest) this.newest = bin;
    }
    if (columns?.length && this.known.length) this.putKnown(bins, columns, columnBins);
  }

  // The last row in a bin is what is known of it. Columns may come a frame before their bin, or after it.
  putKnown(bins, columns, columnBins) {
    const width = this.known.length;
    const rows = columns.length / width;
    for (let row = 0; row < rows; row++) {
      const bin = columnBins ? columnBins[row] : bins[Math.floor((row * bins.length) / rows)];
      if (bin === undefined || bin < 0) continue;
      const slot = bin & MASK;
      this.knownTag[slot] = bin;
      for (let j = 0; j < width; j++) this.known[j][slot] = columns[row * width + j];
    }
  }

  // Where a column is known in a bin; NaN where it is not.
  knownAt(ring, bin) {
    return this.knownTag[bin & MASK] === bin ? ring[bin & MASK] : NaN;
  }
}
