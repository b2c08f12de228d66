// A back end with the released `cent.js`: every method it has, each printed with what it gave.
import { CentClient } from "cent.js";

const client = new CentClient({ url: process.argv[2], apiKey: "test-key" });

async function tell(name, promise) {
  const given = await promise.catch((error) => ({ failed: String(error.message ?? error) }));
  console.log(JSON.stringify({ name, given }));
  return given;
}

await tell("publish", client.publish({ channel: "news:a", data: { a: 1 }, tags: { kind: "big" } }));
await tell("broadcast", client.broadcast({ channels: ["news:a", "nowhere"], data: { a: 2 } }));
await tell("subscribe", client.subscribe({ user: "ann", channel: "tick:a" }));
await tell("getPresence", client.getPresence({ channel: "tick:a" }));
await tell("getPresenceStats", client.getPresenceStats({ channel: "tick:a" }));
await tell("getChannels", client.getChannels({ pattern: "tick:*" }));
await tell("getInfo", client.getInfo());
await tell("getHistory", client.getHistory({ channel: "news:a", limit: 1, reverse: true }));
await tell("removeHistory", client.removeHistory({ channel: "news:a" }));
await tell("unsubscribe", client.unsubscribe({ user: "ann", channel: "tick:a" }));
await tell("refresh", client.refresh({ user: "ann" }));
await tell("refused", client.publish({ channel: "nowhere", data: {} }));
await tell(
  "pipeline",
  client.pipeline([
    { method: "publish", params: { channel: "news:b", data: { b: 1 } } },
    { method: "channels", params: {} },
    { method: "publish", params: { channel: "nowhere", data: {} } },
  ]),
);
await tell("disconnect", client.disconnect({ user: "ann" }));
