// The state of the line, as a visitor would tell it: from what the SDK, the scissors and the rooms say.

import type { Centrifuge } from "centrifuge";
import type { Line } from "./line";
import type { Recovery } from "./room";
import { Signal } from "./signal";

export type LineState =
  | { kind: "connecting" }
  | { kind: "open" }
  | { kind: "cut"; mendsAt: number }
  | { kind: "recovering" }
  | { kind: "recovered"; count: number }
  | { kind: "lost" } // the history no longer held what was missed
  | { kind: "closed"; reason: string };

/** How long the news of a recovery stays before the line is simply open again. */
const NEWS_MS = 10_000;

export class State {
  readonly changed = new Signal<LineState>();

  #now: LineState = { kind: "connecting" };
  #mendsAt: number | null = null;
  #awaited = new Set<string>(); // the rooms that have yet to say how their recovery went
  #count = 0;
  #lost = false;
  #news: number | undefined;

  /** `joined` names the rooms that will come back with the connection. */
  constructor(centrifuge: Centrifuge, line: Line, joined: () => Iterable<string>) {
    let before = false;
    line.cutting.listen((mendsAt) => {
      this.#mendsAt = mendsAt;
      this.#become(mendsAt === null ? { kind: "connecting" } : { kind: "cut", mendsAt });
    });
    centrifuge.on("connecting", () => {
      if (this.#mendsAt === null) this.#become({ kind: "connecting" });
    });
    centrifuge.on("connected", () => {
      this.#awaited = new Set(before ? joined() : []);
      this.#count = 0;
      this.#lost = false;
      before = true;
      this.#become(this.#awaited.size ? { kind: "recovering" } : { kind: "open" });
    });
    centrifuge.on("disconnected", ({ reason }) => this.#become({ kind: "closed", reason }));
  }

  get now(): LineState {
    return this.#now;
  }

  /** A room has come back. */
  cameBack(room: string, recovery: Recovery): void {
    if (this.#now.kind !== "recovering" || !this.#awaited.delete(room)) return;
    if (recovery === "lost") this.#lost = true;
    else this.#count += recovery;
    if (this.#awaited.size) return;
    this.#become(this.#lost ? { kind: "lost" } : { kind: "recovered", count: this.#count });
    this.#news = window.setTimeout(() => this.#become({ kind: "open" }), NEWS_MS);
  }

  #become(state: LineState): void {
    window.clearTimeout(this.#news);
    this.#now = state;
    this.changed.emit(state);
  }
}

/** The state in words, for the badge and the journal. */
export function told(state: LineState): string {
  switch (state.kind) {
    case "connecting":
      return "Connecting";
    case "open":
      return "Open";
    case "cut":
      return "Cut";
    case "recovering":
      return "Recovering";
    case "recovered":
      if (state.count === 0) return "Recovered: nothing was missed";
      return `Recovered ${state.count} message${state.count === 1 ? "" : "s"}`;
    case "lost":
      return "Back, but some messages are gone";
    case "closed":
      return `Closed: ${state.reason}`;
  }
}
