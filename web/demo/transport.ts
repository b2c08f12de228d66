// How the line gets through this network, as the SDK found out.

import type { Centrifuge } from "centrifuge";
import { found } from "./page";

const NAMES: Readonly<Record<string, string>> = {
  websocket: "WebSocket",
  http_stream: "HTTP stream",
  sse: "Server-sent events",
};

export class Transport {
  constructor(centrifuge: Centrifuge) {
    const shown = found("line-transport", HTMLElement);
    centrifuge.on("connected", ({ transport }) => (shown.textContent = NAMES[transport] ?? transport));
    centrifuge.on("connecting", () => (shown.textContent = "–"));
  }
}
