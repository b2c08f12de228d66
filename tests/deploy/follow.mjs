// Clients of the released SDK, each on one transport, that follow a channel and say what they hear.
//
// The argument is {"base", "channel", "clients": [{"name", "transport", "codec"}]}. Each line of the output is
// {"name", "ready"} once a client is subscribed for the first time, {"name", "number"} for each publication,
// {"name", "published"} for what it was told to publish, {"name", "problem"} for what must not be.
// Each line of the input is {"name", "publish"}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const builds = {
  json: require("centrifuge").Centrifuge,
  protobuf: require("centrifuge/build/protobuf").Centrifuge,
};
const WebSocket = require("ws");

/** As much of a browser's EventSource as the SDK uses: Node has none. */
class EventSource {
  #ended = new AbortController();

  constructor(address) {
    this.#read(address).catch(() => this.#ended.signal.aborted || this.onerror?.(new Event("error")));
  }

  async #read(address) {
    const answer = await fetch(address, { headers: { Accept: "text/event-stream" }, signal: this.#ended.signal });
    if (!answer.ok || !answer.headers.get("content-type").startsWith("text/event-stream")) throw new Error("no stream");
    this.onopen?.(new Event("open"));
    let text = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      const events = (text + chunk).split(/\r?\n\r?\n/);
      text = events.pop();
      for (const event of events) {
        const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
        if (data.length) this.onmessage?.({ data: data.join("\n") });
      }
    }
    throw new Error("the end");
  }

  close() {
    this.#ended.abort();
  }
}

const { base, channel, clients } = JSON.parse(process.argv[2]);
const tell = (name, told) => process.stdout.write(`${JSON.stringify({ name, ...told })}\n`);

const subscriptions = new Map();
for (const { name, transport, codec } of clients) {
  const Centrifuge = builds[codec];
  const scheme = transport === "websocket" ? base.replace("http", "ws") : base;
  const centrifuge = new Centrifuge([{ transport, endpoint: `${scheme}/connection/${transport}` }], {
    websocket: WebSocket,
    eventsource: EventSource,
    fetch,
    readableStream: ReadableStream,
    emulationEndpoint: `${base}/emulation`,
    minReconnectDelay: 20,
    maxReconnectDelay: 200,
  });
  const subscription = centrifuge.newSubscription(channel, { minResubscribeDelay: 20, maxResubscribeDelay: 200 });
  subscription.once("subscribed", () => tell(name, { ready: true }));
  subscription.on("subscribed", ({ wasRecovering, recovered }) => {
    if (wasRecovering && !recovered) tell(name, { problem: "not recovered" });
  });
  subscription.on("publication", ({ data }) => {
    tell(name, { number: codec === "protobuf" ? JSON.parse(new TextDecoder().decode(data)) : data });
  });
  subscription.on("unsubscribed", ({ code, reason }) => tell(name, { problem: `unsubscribed: ${code} ${reason}` }));
  centrifuge.on("disconnected", ({ code, reason }) => tell(name, { problem: `disconnected: ${code} ${reason}` }));
  subscription.subscribe();
  centrifuge.connect();
  subscriptions.set(name, (number) =>
    subscription.publish(codec === "protobuf" ? new TextEncoder().encode(`${number}`) : number),
  );
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { name, publish } = JSON.parse(line);
  subscriptions.get(name)(publish).then(
    () => tell(name, { published: publish }),
    (error) => tell(name, { problem: `publish: ${error.code} ${error.message}` }),
  );
});
