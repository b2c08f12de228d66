// The chat, put together: which rooms we are in, which one is on view, and who hears of what.

import type { Centrifuge } from "centrifuge";
import { Composer } from "./composer";
import { Directory, roomName } from "./directory";
import type { Identity } from "./identity";
import type { Journal } from "./journal";
import { Log } from "./log";
import { found } from "./page";
import { People } from "./people";
import { Room } from "./room";
import type { State } from "./state";
import { Typing } from "./typing";
import { Views } from "./views";

const FIRST = "lobby";

export class House {
  /** The rooms we are in, in the order we entered them. */
  readonly #rooms: Map<string, Room>;
  readonly #centrifuge: Centrifuge;
  readonly #identity: Identity;
  readonly #state: State;
  readonly #journal: Journal;
  readonly #log: Log;
  readonly #people: People;
  readonly #directory: Directory;
  readonly #typing: Typing;
  readonly #composer = new Composer();
  readonly #views = new Views();
  readonly #leave = found("room-leave", HTMLButtonElement);
  #current!: Room;

  constructor(centrifuge: Centrifuge, identity: Identity, state: State, journal: Journal, rooms: Map<string, Room>) {
    this.#centrifuge = centrifuge;
    this.#identity = identity;
    this.#state = state;
    this.#journal = journal;
    this.#rooms = rooms;
    this.#log = new Log(identity.user);
    this.#people = new People(identity.user);
    this.#directory = new Directory(centrifuge);
    this.#typing = new Typing(centrifuge, identity.user);
    this.#directory.chosen.listen((name) => (location.hash = name));
    this.#directory.changed.listen(() => this.#list());
    this.#composer.typing.listen(() => this.#typing.say());
    this.#composer.written.listen((text) => {
      this.#typing.said();
      this.#current.drafts.add(text);
    });
    this.#leave.addEventListener("click", () => this.#leaveCurrent());
    window.addEventListener("hashchange", () => this.#enterByLink());
    document.addEventListener("visibilitychange", () => this.#read());
    this.#enterByLink();
  }

  #enterByLink(): void {
    const name = roomName(location.hash) || FIRST;
    this.#enter(this.#rooms.get(name) ?? this.#join(name));
  }

  #join(name: string): Room {
    const room = new Room(this.#centrifuge, name);
    this.#rooms.set(name, room);
    room.said.listen((message) => {
      if (message.origin !== "history" && message.user !== this.#identity.user && !this.#onView(room)) {
        room.unread += 1;
        this.#list();
      }
      if (room !== this.#current || message.origin === "history") return;
      this.#typing.stopped(message.user);
      this.#log.add(message);
      this.#place();
    });
    room.drafts.changed.listen(() => {
      if (room === this.#current) this.#log.drafts(room.drafts.all(), room);
    });
    room.presence.changed.listen(() => {
      if (room === this.#current) this.#people.show(room.presence.people());
    });
    room.presence.moved.listen(({ person, came }) => {
      if (room !== this.#current || person.user === this.#identity.user) return;
      this.#log.note(`${person.name} ${came ? "came in" : "left"}`, came ? "came" : "left");
    });
    this.#hearOfRecovery(room);
    return room;
  }

  #hearOfRecovery(room: Room): void {
    room.emptied.listen(() => {
      if (room === this.#current) this.#log.show(room);
    });
    room.loaded.listen(() => {
      if (room === this.#current) this.#log.show(room);
    });
    room.recovered.listen((recovery) => {
      if (recovery === "lost") this.#journal.note(`${room.name}: the history no longer held everything`, "lost");
      else if (recovery) this.#journal.note(`${room.name}: ${recovery} came after`, "recovered");
      if (recovery !== "lost" && recovery > 0 && room === this.#current) this.#log.markRecovered(recovery);
      this.#state.cameBack(room.name, recovery);
      this.#place();
    });
    room.refused.listen((reason) => {
      this.#forget(room);
      this.#journal.note(`${room.name}: not let in, ${reason}`, "lost");
      if (room === this.#current) location.hash = this.#rooms.keys().next().value ?? FIRST;
    });
  }

  #enter(room: Room): void {
    this.#current = room;
    this.#typing.enter(room.name);
    found("room-name", HTMLElement).textContent = room.name;
    this.#composer.turnTo(room.name);
    this.#log.show(room);
    this.#people.show(room.presence.people());
    this.#leave.hidden = this.#rooms.size < 2;
    this.#views.show("chat");
    this.#read();
    this.#place();
    if (!matchMedia("(pointer: coarse)").matches) this.#composer.focus(); // no keyboard over what there is to read
  }

  #leaveCurrent(): void {
    this.#current.leave();
    this.#forget(this.#current);
    location.hash = [...this.#rooms.keys()].at(-1) ?? FIRST;
  }

  #forget(room: Room): void {
    this.#rooms.delete(room.name);
    this.#state.cameBack(room.name, 0); // nobody waits for it any more
  }

  #onView(room: Room): boolean {
    return room === this.#current && !document.hidden;
  }

  #read(): void {
    if (!document.hidden) this.#current.unread = 0;
    this.#list();
  }

  #list(): void {
    this.#directory.show(this.#current.name, new Map([...this.#rooms.values()].map((room) => [room.name, room.unread])));
  }

  #place(): void {
    found("line-position", HTMLElement).textContent = `${this.#current.name} @ ${this.#current.position}`;
  }
}
