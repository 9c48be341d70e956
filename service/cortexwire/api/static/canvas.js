// Canvases in device pixels; where nothing was drawn, the ground that the style sheet gives them shows.

const MOST_RATIO = 2;

export class Surface {
  // `onResize()` is called after the canvas has taken its new size, which empties it.
  constructor(canvas, onResize = () => {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onResize = onResize;
    this.ratio = 1;
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(canvas);
    this.fit();
  }

  get width() {
    return this.canvas.width;
  }

  get height() {
    return this.canvas.height;
  }

  fit() {
    this.ratio = Math.min(window.devicePixelRatio || 1, MOST_RATIO);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.onResize();
  }

  fill(colour) {
    this.context.fillStyle = colour;
    this.context.fillRect(0, 0, this.width, this.height);
  }
}
