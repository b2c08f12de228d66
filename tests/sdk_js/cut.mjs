// A TCP proxy that breaks the line on purpose: a cut is the end of TCP with nothing said in WebSocket.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Cutter {
  #sockets = new Set();
  #refusing = false;
  #refused = null;

  /** Stand before a port of this machine. */
  static async before(target) {
    const cutter = new Cutter();
    cutter.server = createServer((socket) => cutter.#serve(socket, target)).listen(0, "127.0.0.1");
    await once(cutter.server, "listening");
    cutter.port = cutter.server.address().port;
    return cutter;
  }

  #serve(socket, target) {
    if (this.#refusing) {
      socket.resetAndDestroy();
      this.#refused?.();
      return;
    }
    const back = connect(target, "127.0.0.1");
    for (const [one, other] of [[socket, back], [back, socket]]) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
  }

  /** Break every connection and refuse new ones until `mend`; the promise waits for the first refused. */
  cut() {
    this.#refusing = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return new Promise((resolve) => (this.#refused = resolve));
  }

  /** Let connections through again. */
  mend() {
    this.#refusing = false;
  }

  /** End it and everything that goes through it. */
  async close() {
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.server, "close");
  }
}
