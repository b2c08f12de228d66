// On a narrow screen one part is shown at a time.

import { found } from "./page";

export class Views {
  readonly #house = found("house", HTMLElement);
  readonly #buttons = [...this.#house.querySelectorAll<HTMLButtonElement>("[data-show]")];

  constructor() {
    for (const button of this.#buttons) {
      button.addEventListener("click", () => this.show(button.dataset["show"]!));
    }
    this.show("chat");
  }

  show(view: string): void {
    this.#house.dataset["view"] = view;
    for (const button of this.#buttons) {
      if (button.dataset["show"] === view) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }
}
