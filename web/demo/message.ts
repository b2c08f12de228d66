// A message as the hub carries it, and as it waits here to be carried.

/** What the hub publishes in a room; `user`, `author` and `at_ms` are stamped by the server. */
export interface Said {
  text: string;
  key: string;
  user: string;
  author: string;
  at_ms: number;
}

/** How a message came: as it was said, after a cut, or from before we entered. */
export type Origin = "live" | "recovered" | "history";

export interface Message extends Said {
  offset: number;
  origin: Origin;
}

/** A message of ours that the hub has not carried yet. */
export interface Draft {
  readonly key: string;
  readonly text: string;
  /** Why it will not be carried; empty while it still may. */
  problem: string;
}
