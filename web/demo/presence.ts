// Who is in a room: a snapshot when we come in, kept true by those who join and leave.

import type { ClientInfo, Subscription } from "centrifuge";
import { Signal } from "./signal";

export interface Person {
  user: string;
  name: string;
}

/** What the token says of a client; the hub shows it to the others. */
export function person(info: ClientInfo): Person {
  const said = info.connInfo as { name?: unknown } | undefined;
  return { user: info.user, name: typeof said?.name === "string" ? said.name : "somebody" };
}

export class Presence {
  readonly changed = new Signal<void>();
  /** Somebody came with the first of their windows or left with the last. */
  readonly moved = new Signal<{ person: Person; came: boolean }>();

  readonly #subscription: Subscription;
  readonly #clients = new Map<string, Person>();
  #known = false;
  #meanwhile: (() => void)[] = []; // what happened while the snapshot was on its way

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
    subscription.on("join", ({ info }) => this.#when(() => this.#join(info)));
    subscription.on("leave", ({ info }) => this.#when(() => this.#leave(info)));
  }

  /** Everyone here, each once however many windows they have, by name. */
  people(): Person[] {
    const users = new Map([...this.#clients.values()].map((who) => [who.user, who]));
    return [...users.values()].sort((one, other) => one.name.localeCompare(other.name));
  }

  async load(): Promise<void> {
    this.#known = false;
    this.#meanwhile = [];
    const { clients } = await this.#subscription.presence();
    this.#clients.clear();
    for (const info of Object.values(clients)) this.#clients.set(info.client, person(info));
    for (const happened of this.#meanwhile.splice(0)) happened();
    this.#known = true;
    this.changed.emit();
  }

  #when(happened: () => void): void {
    if (this.#known) happened();
    else this.#meanwhile.push(happened);
  }

  #join(info: ClientInfo): void {
    const who = person(info);
    const new_ = !this.#has(who.user);
    this.#clients.set(info.client, who);
    this.#tell(new_, who, true);
  }

  #leave(info: ClientInfo): void {
    const gone = this.#clients.delete(info.client);
    const who = person(info);
    this.#tell(gone && !this.#has(who.user), who, false);
  }

  #tell(moved: boolean, who: Person, came: boolean): void {
    if (!this.#known) return;
    if (moved) this.moved.emit({ person: who, came });
    this.changed.emit();
  }

  #has(user: string): boolean {
    return [...this.#clients.values()].some((who) => who.user === user);
  }
}
