// Where we write.

import { found } from "./page";
import { Signal } from "./signal";

export class Composer {
  readonly written = new Signal<string>();
  readonly typing = new Signal<void>();

  readonly #form = found("composer", HTMLFormElement);
  readonly #words = found("words", HTMLTextAreaElement);

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#words.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#words.addEventListener("input", () => {
      this.#grow();
      if (this.#words.value.trim()) this.typing.emit();
    });
  }

  focus(): void {
    this.#words.focus();
  }

  /** The text to begin with in this room, and the name the field goes by. */
  turnTo(room: string): void {
    this.#words.placeholder = `Say something in ${room}`;
  }

  #send(): void {
    const text = this.#words.value.trim();
    if (!text) return;
    this.#words.value = "";
    this.#grow();
    this.written.emit(text);
  }

  #grow(): void {
    this.#words.style.setProperty("height", "auto");
    this.#words.style.setProperty("height", `${this.#words.scrollHeight}px`);
  }
}
