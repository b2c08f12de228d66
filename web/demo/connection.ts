// The one connection of this page.

import { Centrifuge } from "centrifuge";
import type { Identity } from "./identity";
import type { Line } from "./line";

/** The hub does not know our token's signature: it was started anew since. */
const INVALID_TOKEN = 3500;

/** In the order in which they are tried, until one gets through. */
const TRANSPORTS = ["websocket", "http_stream", "sse"] as const;

/** A Centrifuge client on the breakable line, not connected yet. */
export function connection(line: Line, identity: Identity): Centrifuge {
  const transports = TRANSPORTS.map((transport) => ({ transport, endpoint: endpoint(transport) }));
  const centrifuge = new Centrifuge(transports, {
    emulationEndpoint: address("emulation").href,
    websocket: line.Socket,
    fetch: line.fetch,
    eventsource: line.Events,
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

function endpoint(transport: (typeof TRANSPORTS)[number]): string {
  const url = address(`connection/${transport}`);
  if (transport === "websocket") url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

/** Where the hub has a path: beside the page, wherever the app is mounted. */
function address(path: string): URL {
  return new URL(path, location.href.split("#")[0]);
}
