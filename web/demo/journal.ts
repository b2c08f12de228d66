// What happened to the line, newest first.

import { timeOfDay } from "./clock";
import { found, made } from "./page";

const KEPT = 40;

export class Journal {
  readonly #list = found("journal", HTMLOListElement);

  note(text: string, kind = ""): void {
    const entry = made("li", "", timeOfDay(Date.now(), true), " ", made("span", "", text));
    if (kind) entry.dataset["kind"] = kind;
    this.#list.prepend(entry);
    while (this.#list.children.length > KEPT) this.#list.lastElementChild!.remove();
  }
}
