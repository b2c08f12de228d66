// Our own messages on their way to the hub.
//
// One at a time and in order. A message whose fate is unknown (the line was cut before the answer) waits for the line;
// its key tells whether it had got through after all, so none is said twice.

import { type Subscription, SubscriptionState } from "centrifuge";
import type { Draft } from "./message";
import { Signal } from "./signal";

/** Answers below this number are the SDK's own: the hub has not refused anything. */
const FIRST_SERVER_CODE = 100;
const RETRY_MS = 2_000;

interface Refusal {
  code: number;
  message: string;
  temporary?: boolean;
}

export class Drafts {
  readonly changed = new Signal<void>();

  readonly #subscription: Subscription;
  readonly #waiting = new Map<string, Draft>();
  #sending = false;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
  }

  all(): Draft[] {
    return [...this.#waiting.values()];
  }

  add(text: string): void {
    const key = crypto.getRandomValues(new Uint32Array(3)).join("-");
    this.#waiting.set(key, { key, text, problem: "" });
    this.changed.emit();
    void this.send();
  }

  /** The hub carried the message of this key, or its author gave it up. */
  remove(key: string): void {
    if (this.#waiting.delete(key)) this.changed.emit();
  }

  /** Send what waits; to be called when the room has come back, after what was recovered. */
  async send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let draft = this.#next(); draft; draft = this.#next()) await this.#publish(draft);
    } finally {
      this.#sending = false;
    }
  }

  #next(): Draft | undefined {
    if (this.#subscription.state !== SubscriptionState.Subscribed) return undefined;
    return this.all().find((draft) => !draft.problem);
  }

  async #publish(draft: Draft): Promise<void> {
    try {
      await this.#subscription.publish({ key: draft.key, text: draft.text });
      this.remove(draft.key);
    } catch (thrown) {
      const refusal = thrown as Refusal;
      if (refusal.code >= FIRST_SERVER_CODE && !refusal.temporary) {
        draft.problem = refusal.message;
        this.changed.emit();
      } else {
        await new Promise((resolve) => window.setTimeout(resolve, RETRY_MS));
      }
    }
  }
}
