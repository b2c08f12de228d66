// The list of rooms, and opening a new one.

import type { Centrifuge } from "centrifuge";
import { found, made } from "./page";
import { Signal } from "./signal";

export class Directory {
  /** A room was asked for by name. */
  readonly chosen = new Signal<string>();
  /** The list is another one. */
  readonly changed = new Signal<void>();

  readonly #centrifuge: Centrifuge;
  readonly #list = found("rooms-list", HTMLUListElement);
  readonly #unread = found("views-unread", HTMLElement);
  #names: string[] = [];

  constructor(centrifuge: Centrifuge) {
    this.#centrifuge = centrifuge;
    const news = centrifuge.newSubscription("rooms");
    news.on("publication", ({ data }) => this.#add((data as { name: string }).name));
    news.on("subscribed", () => void this.#load());
    news.subscribe();
    const name = found("rooms-name", HTMLInputElement);
    found("rooms-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const slug = roomName(name.value);
      name.setCustomValidity(slug ? "" : "Use letters from a to z, digits and hyphens.");
      if (!name.reportValidity()) return;
      name.value = "";
      this.chosen.emit(slug);
    });
    name.addEventListener("input", () => name.setCustomValidity(""));
  }

  /** Draw the list: which room is on view, and what waits unread in those we are in. */
  show(current: string, unread: Map<string, number>): void {
    const names = this.#names.includes(current) ? this.#names : [...this.#names, current];
    this.#list.replaceChildren(
      ...names.map((name) => {
        const link = made("a", "", name);
        link.href = `#${name}`;
        if (name === current) link.setAttribute("aria-current", "page");
        link.classList.toggle("entered", unread.has(name));
        const waiting = unread.get(name) ?? 0;
        if (waiting) link.append(made("span", "unread", String(waiting), made("span", "unseen", " unread")));
        return made("li", "", link);
      }),
    );
    const all = [...unread.values()].reduce((sum, each) => sum + each, 0);
    this.#unread.hidden = all === 0;
    this.#unread.textContent = String(all);
    document.title = `${all ? `(${all}) ` : ""}${current} · Openline`;
  }

  async #load(): Promise<void> {
    try {
      this.#names = (await this.#centrifuge.rpc("rooms.list", {})).data as string[];
    } catch {
      return; // the line broke: the next arrival loads again
    }
    this.changed.emit();
  }

  #add(name: string): void {
    if (this.#names.includes(name)) return;
    this.#names.push(name);
    this.changed.emit();
  }
}

/** What a room can be called, closest to what was typed. */
export function roomName(typed: string): string {
  const plain = typed.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.replace(/[^a-z0-9]+/g, "-").slice(0, 32).replace(/^-+|-+$/g, "");
}
