// The line to the hub, and a way to cut it.
//
// Centrifuge is given BreakableSocket instead of the browser's WebSocket, and what fetches and streams events is
// breakable too. Cutting drops what is real under it: the SDK sees what it would see of a torn cable, an abnormal
// closure at once, and no attempt to come back succeeds until the line is mended. Nothing else is made up: what was
// missed comes from the hub.

import { Signal } from "./signal";

/** The cut line mends itself after this long, for those who forget it. */
const CUT_MS = 20_000;

export class Line {
  /** A cut (with the moment it will mend by itself) or its mending (null). */
  readonly cutting = new Signal<number | null>();
  /** What the SDK listens to for the network coming and going. */
  readonly network = new EventTarget();
  /** What the SDK opens instead of a WebSocket. */
  readonly Socket: new (url: string, protocols?: string) => BreakableSocket;
  /** What it streams and posts with, where WebSocket does not get through. */
  readonly fetch: typeof fetch;
  /** What it streams with where that does not get through either. */
  readonly Events: new (url: string) => BreakableEvents;

  readonly #sockets = new Set<BreakableSocket>();
  #mending: number | undefined;
  #cut = false;
  #breaking = new AbortController(); // aborted while the line is cut

  constructor() {
    const line = this;
    this.Socket = class extends BreakableSocket {
      constructor(url: string, protocols?: string) {
        super(line.#sockets, line.#cut ? null : new WebSocket(url, protocols));
      }
    };
    this.fetch = (url, options) => {
      const signals = [this.#breaking.signal, ...(options?.signal ? [options.signal] : [])];
      return fetch(url, { ...options, signal: AbortSignal.any(signals) });
    };
    this.Events = class extends BreakableEvents {
      constructor(url: string) {
        super(line.#breaking.signal, url);
      }
    };
    for (const name of ["online", "offline"]) {
      window.addEventListener(name, () => {
        if (!this.#cut) this.network.dispatchEvent(new Event(name));
      });
    }
  }

  get isCut(): boolean {
    return this.#cut;
  }

  cut(): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#mending = window.setTimeout(() => this.mend(), CUT_MS);
    this.cutting.emit(Date.now() + CUT_MS);
    for (const socket of [...this.#sockets]) socket.break();
    this.#breaking.abort();
  }

  mend(): void {
    if (!this.#cut) return;
    this.#cut = false;
    this.#breaking = new AbortController();
    window.clearTimeout(this.#mending);
    this.cutting.emit(null);
    this.network.dispatchEvent(new Event("online")); // the SDK tries at once instead of waiting out its backoff
  }
}

class BreakableSocket {
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;
  onclose: ((event: CloseEvent) => void) | null = null;

  readonly #sockets: Set<BreakableSocket>;
  readonly #socket: WebSocket | null;
  #broken = false;

  constructor(sockets: Set<BreakableSocket>, socket: WebSocket | null) {
    this.#sockets = sockets;
    this.#socket = socket;
    sockets.add(this);
    if (!socket) {
      window.setTimeout(() => this.break()); // as an address that cannot be reached
      return;
    }
    socket.onopen = (event) => this.onopen?.(event);
    socket.onmessage = (event: MessageEvent) => this.onmessage?.(event);
    socket.onerror = (event) => this.onerror?.(event);
    socket.onclose = (event) => {
      sockets.delete(this);
      this.onclose?.(event);
    };
  }

  send(data: string): void {
    if (!this.#broken) this.#socket?.send(data);
  }

  close(): void {
    this.#sockets.delete(this);
    this.#socket?.close();
  }

  break(): void {
    if (this.#broken) return;
    this.#broken = true;
    this.#sockets.delete(this);
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onerror = this.#socket.onclose = null;
      this.#socket.close();
    }
    this.onerror?.(new Event("error"));
    this.onclose?.(new CloseEvent("close", { code: 1006, wasClean: false }));
  }
}

class BreakableEvents {
  onopen: ((event: Event) => void) | null = null;
  onmessage: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;

  readonly #breaking: AbortSignal;
  readonly #source: EventSource | null;

  constructor(breaking: AbortSignal, url: string) {
    this.#breaking = breaking;
    this.#source = breaking.aborted ? null : new EventSource(url);
    if (!this.#source) {
      window.setTimeout(this.#break); // as an address that cannot be reached
      return;
    }
    this.#source.onopen = (event) => this.onopen?.(event);
    this.#source.onmessage = (event: MessageEvent) => this.onmessage?.(event);
    this.#source.onerror = (event) => this.onerror?.(event);
    breaking.addEventListener("abort", this.#break);
  }

  close(): void {
    this.#breaking.removeEventListener("abort", this.#break);
    this.#source?.close();
  }

  readonly #break = (): void => {
    this.close();
    this.onerror?.(new Event("error"));
  };
}
