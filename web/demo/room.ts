// One room we are in: its subscription, what was said, who is here, what we are about to say.

import type { Centrifuge, PublicationContext, SubscribedContext, Subscription } from "centrifuge";
import { Drafts } from "./drafts";
import type { Message, Origin, Said } from "./message";
import { Presence } from "./presence";
import { Signal } from "./signal";

/** How many messages a recovery brought, or that it could not bring them all. */
export type Recovery = number | "lost";

const HISTORY = 100;

export class Room {
  readonly said = new Signal<Message>();
  /** What we showed is not what there is: everything is loaded again. */
  readonly emptied = new Signal<void>();
  readonly loaded = new Signal<void>();
  readonly recovered = new Signal<Recovery>();
  readonly refused = new Signal<string>();

  readonly drafts: Drafts;
  readonly presence: Presence;
  unread = 0;

  readonly #centrifuge: Centrifuge;
  readonly #subscription: Subscription;
  readonly #messages = new Map<number, Message>();
  #origin: Origin = "live";
  #brought = 0;

  constructor(
    centrifuge: Centrifuge,
    readonly name: string,
  ) {
    this.#centrifuge = centrifuge;
    this.#subscription = centrifuge.newSubscription(`room:${name}`, { recoverable: true, joinLeave: true });
    this.drafts = new Drafts(this.#subscription);
    this.presence = new Presence(this.#subscription);
    this.#subscription.on("publication", (publication) => this.#take(publication, this.#origin));
    this.#subscription.on("subscribed", (context) => this.#arrive(context));
    this.#subscription.on("unsubscribed", ({ code, reason }) => {
      if (code !== 0) this.refused.emit(reason);
    });
    this.#subscription.subscribe();
  }

  /** Everything said here that we know of, oldest first. */
  messages(): Message[] {
    return [...this.#messages.values()].sort((one, other) => one.offset - other.offset);
  }

  /** The offset of the newest message we know. */
  get position(): number {
    return Math.max(0, ...this.#messages.keys());
  }

  leave(): void {
    this.#subscription.unsubscribe();
    this.#centrifuge.removeSubscription(this.#subscription);
  }

  #arrive({ wasRecovering, recovered }: SubscribedContext): void {
    if (!(wasRecovering && recovered)) {
      void this.#load(wasRecovering);
      return;
    }
    // What was missed is delivered right after this event, in the same turn.
    this.#origin = "recovered";
    this.#brought = 0;
    queueMicrotask(() => {
      this.#origin = "live";
      this.recovered.emit(this.#brought);
      void this.drafts.send();
      void this.#inspect();
    });
  }

  async #load(lost: boolean): Promise<void> {
    if (lost) {
      this.#messages.clear();
      this.emptied.emit();
    }
    try {
      const { publications } = await this.#subscription.history({ limit: HISTORY, reverse: true });
      for (const publication of publications.reverse()) this.#take(publication, "history");
    } catch {
      // The line broke: the next arrival loads again.
    }
    this.loaded.emit();
    this.recovered.emit(lost ? "lost" : 0);
    void this.drafts.send();
    await this.#inspect();
  }

  async #inspect(): Promise<void> {
    try {
      await this.presence.load();
    } catch {
      // The line broke: the next arrival looks again.
    }
  }

  #take(publication: PublicationContext, origin: Origin): void {
    const said = publication.data as Said;
    const offset = publication.offset ?? 0;
    if (this.#messages.has(offset)) return; // it came while the history was on its way
    const message = { ...said, offset, origin };
    this.#messages.set(offset, message);
    if (origin === "recovered") this.#brought += 1;
    this.drafts.remove(said.key);
    this.said.emit(message);
  }
}
