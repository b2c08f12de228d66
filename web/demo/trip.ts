// The round trip: a call to the hub each second, measured and drawn.

import { type Centrifuge, State } from "centrifuge";
import { found, holdsStill } from "./page";

const EACH_MS = 1_000;
const KEPT = 60;
const WIDTH = 240;
const HEIGHT = 64;
const SVG = "http://www.w3.org/2000/svg";

export class Trip {
  readonly #centrifuge: Centrifuge;
  readonly #chart = found("trip-chart", SVGSVGElement);
  readonly #pulse = found("wire", HTMLElement).querySelector("b")!;
  readonly #area = document.createElementNS(SVG, "path");
  readonly #curve = document.createElementNS(SVG, "path");
  readonly #gaps = document.createElementNS(SVG, "path");
  /** Milliseconds, oldest first; null where there was no line to measure. */
  readonly #samples: (number | null)[] = [];

  constructor(centrifuge: Centrifuge) {
    this.#centrifuge = centrifuge;
    this.#chart.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.#area.setAttribute("class", "trip-area");
    this.#curve.setAttribute("class", "trip-curve");
    this.#gaps.setAttribute("class", "trip-gaps");
    this.#chart.append(this.#area, this.#curve, this.#gaps);
    window.setInterval(() => void this.#measure(), EACH_MS);
  }

  async #measure(): Promise<void> {
    if (document.hidden) return; // a hidden page's timers are too lazy to measure with
    this.#keep(await this.#sample());
    this.#draw();
  }

  async #sample(): Promise<number | null> {
    if (this.#centrifuge.state !== State.Connected) return null;
    const start = performance.now();
    try {
      await this.#centrifuge.rpc("ping", {});
    } catch {
      return null;
    }
    const tookMs = performance.now() - start;
    if (!holdsStill()) {
      this.#pulse.animate([{ left: "0%", opacity: 1 }, { left: "100%", opacity: 1 }, { left: "0%", opacity: 0 }], {
        duration: 700,
        easing: "ease-in-out",
      });
    }
    return tookMs;
  }

  #keep(sample: number | null): void {
    this.#samples.push(sample);
    if (this.#samples.length > KEPT) this.#samples.shift();
    const known = this.#samples.filter((each) => each !== null).sort((one, other) => one - other);
    const median = known[Math.floor(known.length / 2)];
    const slowest = known.at(-1);
    found("trip-now", HTMLElement).textContent = shown(sample);
    found("trip-median", HTMLElement).textContent = shown(median);
    found("trip-slowest", HTMLElement).textContent = shown(slowest);
    if (this.#samples.length % 10 === 1) {
      const words = known.length ? `median ${shown(median)}, slowest ${shown(slowest)}` : "no answer yet";
      this.#chart.setAttribute("aria-label", `Round trips of the last minute: ${words}`);
    }
  }

  #draw(): void {
    const top = Math.max(2, ...this.#samples.map((each) => each ?? 0)) * 1.15;
    const first = KEPT - this.#samples.length;
    const x = (index: number): number => ((first + index) / (KEPT - 1)) * WIDTH;
    const y = (sample: number): number => HEIGHT - 3 - (sample / top) * (HEIGHT - 6);
    let curve = "";
    let area = "";
    let gaps = "";
    this.#samples.forEach((sample, index) => {
      if (sample === null) {
        gaps += `M${x(index).toFixed(1)} ${HEIGHT - 7}v6`;
        return;
      }
      const at = `${x(index).toFixed(1)} ${y(sample).toFixed(1)}`;
      const starts = index === 0 || this.#samples[index - 1] === null;
      const ends = index === this.#samples.length - 1 || this.#samples[index + 1] === null;
      curve += `${starts ? "M" : "L"}${at}`;
      area += `${starts ? `M${x(index).toFixed(1)} ${HEIGHT}L` : "L"}${at}`;
      if (ends) area += `L${x(index).toFixed(1)} ${HEIGHT}Z`;
    });
    this.#curve.setAttribute("d", curve);
    this.#area.setAttribute("d", area);
    this.#gaps.setAttribute("d", gaps);
  }
}

function shown(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
