// What was said in the room on view.

import { timeOfDay } from "./clock";
import { face } from "./face";
import type { Draft, Message } from "./message";
import { found, made } from "./page";
import type { Room } from "./room";

/** Messages of one person within this time stand together under one name. */
const TOGETHER_MS = 4 * 60_000;
/** How long a screen reader may take to notice what was shown. */
const QUIET_MS = 300;
/** Closer to the end than this, the log follows what is new. */
const NEAR_PIXELS = 80;

export class Log {
  readonly #me: string;
  readonly #box = found("log", HTMLElement);
  readonly #chip = found("newest", HTMLButtonElement);
  #drafts: HTMLElement[] = [];
  #below = 0;

  constructor(me: string) {
    this.#me = me;
    this.#chip.addEventListener("click", () => this.#follow());
    this.#box.addEventListener("scroll", () => {
      if (this.#near()) this.#seen();
    });
    new ResizeObserver(() => {
      if (this.#below === 0) this.#follow();
    }).observe(this.#box);
  }

  /** Show a room from its beginning; a screen reader reads out only what comes after. */
  show(room: Room): void {
    this.#box.setAttribute("aria-live", "off");
    this.#box.replaceChildren();
    this.#drafts = [];
    for (const message of room.messages()) this.#place({ ...message, origin: "history" });
    this.drafts(room.drafts.all(), room);
    this.#follow();
    window.setTimeout(() => this.#box.setAttribute("aria-live", "polite"), QUIET_MS);
  }

  add(message: Message): void {
    const follows = this.#near();
    this.#place(message);
    if (follows || message.user === this.#me) this.#follow();
    else this.#more();
  }

  /** A line of its own about the room itself. */
  note(text: string, kind: string): void {
    const follows = this.#near();
    const note = made("p", "note", text);
    note.dataset["kind"] = kind;
    this.#append(note);
    if (follows) this.#follow();
  }

  /** Where what was missed begins. */
  markRecovered(count: number): void {
    const first = [...this.#box.querySelectorAll<HTMLElement>('[data-origin="recovered"]')].at(-count);
    const note = made("p", "note", `Recovered ${count} message${count === 1 ? "" : "s"} said while the line was cut`);
    note.dataset["kind"] = "recovered";
    first?.before(note);
    if (first) this.#join(first);
    if (this.#below === 0) this.#follow();
  }

  /** What we said and the hub has not carried yet; always last. */
  drafts(drafts: Draft[], room: Room): void {
    for (const element of this.#drafts) element.remove();
    this.#drafts = drafts.map((draft) => this.#draft(draft, room));
    this.#box.append(...this.#drafts);
    if (drafts.length) this.#follow();
  }

  #draft(draft: Draft, room: Room): HTMLElement {
    const status = made("p", "status", draft.problem ? `Not sent: ${draft.problem}` : "Waits for the line…");
    const element = made("article", "message mine draft", made("p", "words", draft.text), status);
    if (draft.problem) {
      const drop = made("button", "plain", "Discard");
      drop.type = "button";
      drop.addEventListener("click", () => room.drafts.remove(draft.key));
      status.append(" ", drop);
      element.dataset["problem"] = "true";
    }
    return element;
  }

  #place(message: Message): void {
    const mine = message.user === this.#me;
    const element = made("article", mine ? "message mine" : "message");
    element.dataset["offset"] = String(message.offset);
    element.dataset["user"] = message.user;
    element.dataset["at"] = String(message.at_ms);
    element.dataset["origin"] = message.origin;
    element.append(
      made("header", "", face(message.user, message.author), made("b", "", mine ? "You" : message.author), timeOfDay(message.at_ms)),
      made("p", "words", message.text),
    );
    const later = [...this.#box.querySelectorAll<HTMLElement>("[data-offset]")].findLast(
      (each) => Number(each.dataset["offset"]) < message.offset,
    );
    if (later === undefined && message.origin === "history") this.#box.prepend(element);
    else if (message.origin === "history") later!.after(element);
    else this.#append(element);
    this.#join(element);
    const next = element.nextElementSibling;
    if (next instanceof HTMLElement) this.#join(next);
  }

  #append(element: HTMLElement): void {
    const draft = this.#drafts[0];
    if (draft) draft.before(element);
    else this.#box.append(element);
  }

  /** Whether a message goes on from the one above it. */
  #join(element: HTMLElement): void {
    const above = element.previousElementSibling;
    const together =
      above instanceof HTMLElement &&
      above.dataset["user"] !== undefined &&
      above.dataset["user"] === element.dataset["user"] &&
      Number(element.dataset["at"]) - Number(above.dataset["at"]) < TOGETHER_MS;
    element.classList.toggle("goes-on", together);
  }

  #near(): boolean {
    return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < NEAR_PIXELS;
  }

  #follow(): void {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#seen();
  }

  #more(): void {
    this.#below += 1;
    this.#chip.textContent = `${this.#below} new below`;
    this.#chip.hidden = false;
  }

  #seen(): void {
    this.#below = 0;
    this.#chip.hidden = true;
  }
}
