// The badge at the top and the picture of the line: each state stays long enough to be seen.

import { found } from "./page";
import { type LineState, type State, told } from "./state";

const SEEN_MS = 350;

export class Badge {
  readonly #badge = found("badge", HTMLElement);
  readonly #wire = found("wire", HTMLElement);
  readonly #waiting: LineState[] = [];
  #showing = false;

  constructor(state: State) {
    state.changed.listen((change) => {
      this.#waiting.push(change);
      if (!this.#showing) this.#next();
    });
  }

  #next(): void {
    const state = this.#waiting.shift();
    this.#showing = state !== undefined;
    if (!state) return;
    this.#badge.dataset["state"] = this.#wire.dataset["state"] = state.kind;
    this.#badge.textContent = told(state);
    window.setTimeout(() => this.#next(), SEEN_MS);
  }
}
