// The one connection of this page.

import { Centrifuge } from "centrifuge";
import type { Identity } from "./identity";
import type { Line } from "./line";

/** The hub does not know our token's signature: it was started anew since. */
const INVALID_TOKEN = 3500;

/** A Centrifuge client on the breakable line, not connected yet. */
export function connection(line: Line, identity: Identity): Centrifuge {
  const endpoint = new URL("connection/websocket", location.href.split("#")[0]);
  endpoint.protocol = endpoint.protocol.replace("http", "ws");
  const centrifuge = new Centrifuge(endpoint.href, {
    websocket: line.Socket,
    networkEventTarget: line.network,
    getToken: () => identity.token(),
    name: "openline-demo",
    minReconnectDelay: 300,
    maxReconnectDelay: 5_000,
  });
  centrifuge.on("disconnected", ({ code }) => {
    if (code !== INVALID_TOKEN) return;
    centrifuge.setToken("");
    window.setTimeout(() => centrifuge.connect(), 1_000);
  });
  return centrifuge;
}
