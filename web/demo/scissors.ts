// The button that cuts the line and, once it is cut, mends it.

import type { Line } from "./line";
import { found } from "./page";

export class Scissors {
  readonly #button = found("cut", HTMLButtonElement);
  #ticking: number | undefined;

  constructor(line: Line) {
    this.#button.addEventListener("click", () => (line.isCut ? line.mend() : line.cut()));
    line.cutting.listen((mendsAt) => {
      window.clearInterval(this.#ticking);
      this.#button.dataset["cut"] = String(mendsAt !== null);
      if (mendsAt === null) {
        this.#button.textContent = "Cut the line";
        return;
      }
      const tick = (): void => {
        this.#button.textContent = `Mend the line (${Math.max(0, Math.ceil((mendsAt - Date.now()) / 1000))})`;
      };
      tick();
      this.#ticking = window.setInterval(tick, 1000);
    });
  }
}
