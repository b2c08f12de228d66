// "Ada is typing": a channel beside each room that keeps nothing.

import type { Centrifuge, Subscription } from "centrifuge";
import { found } from "./page";
import { person } from "./presence";

/** We say so again at most this often, and forget of others what is older than the second. */
const SAY_MS = 2_000;
const BELIEVE_MS = 4_000;

export class Typing {
  readonly #centrifuge: Centrifuge;
  readonly #me: string;
  readonly #line = found("typing", HTMLElement);
  readonly #typists = new Map<string, { name: string; timer: number }>();
  #subscription: Subscription | null = null;
  #saidAt = 0;

  constructor(centrifuge: Centrifuge, me: string) {
    this.#centrifuge = centrifuge;
    this.#me = me;
  }

  /** Listen in this room, and no longer in the one before. */
  enter(room: string): void {
    this.leave();
    this.#subscription = this.#centrifuge.newSubscription(`typing:${room}`);
    this.#subscription.on("publication", ({ info }) => {
      if (!info || info.user === this.#me) return;
      this.stopped(info.user);
      const timer = window.setTimeout(() => this.stopped(info.user), BELIEVE_MS);
      this.#typists.set(info.user, { name: person(info).name, timer });
      this.#show();
    });
    this.#subscription.subscribe();
  }

  leave(): void {
    for (const user of [...this.#typists.keys()]) this.stopped(user);
    this.#saidAt = 0;
    if (!this.#subscription) return;
    this.#subscription.unsubscribe();
    this.#centrifuge.removeSubscription(this.#subscription);
    this.#subscription = null;
  }

  /** We are typing. */
  say(): void {
    if (Date.now() - this.#saidAt < SAY_MS || this.#subscription?.state !== "subscribed") return;
    this.#saidAt = Date.now();
    this.#subscription.publish({}).catch(() => undefined); // a hint that may be lost
  }

  /** What we typed is said: the next letter is news again. */
  said(): void {
    this.#saidAt = 0;
  }

  /** Somebody has said it, or gave up. */
  stopped(user: string): void {
    const typist = this.#typists.get(user);
    if (!typist) return;
    window.clearTimeout(typist.timer);
    this.#typists.delete(user);
    this.#show();
  }

  #show(): void {
    const names = [...this.#typists.values()].map((typist) => typist.name);
    if (names.length === 0) this.#line.textContent = "";
    else if (names.length > 2) this.#line.textContent = "Several people are typing…";
    else this.#line.textContent = `${names.join(" and ")} ${names.length === 1 ? "is" : "are"} typing…`;
    this.#line.dataset["busy"] = String(names.length > 0);
  }
}
