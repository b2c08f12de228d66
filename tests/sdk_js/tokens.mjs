// Tokens that run out and are renewed.

import assert from "node:assert/strict";

import { connectionToken, subscriptionToken } from "./login.mjs";
import { scenario, within } from "./people.mjs";

/** Where tokens are fetched; `visited` waits until this many were. */
function desk(make) {
  let visits = 0;
  let wake = () => {};
  const visited = async (times) => {
    while (visits < times) await new Promise((resolve) => (wake = resolve));
  };
  return {
    get: async (context) => {
      visits += 1;
      wake();
      return make(context);
    },
    visited: (times) => within(visited(times), `token ${times}`),
    visits: () => visits,
  };
}

export default function tokens() {
  scenario("tokens are renewed while the line stays", async (scene) => {
    const connection = desk(() => connectionToken("alice", { expiresIn: 0.9 }));
    const subscription = desk(({ channel }) => subscriptionToken("alice", channel, { expiresIn: 0.9 }));
    const alice = scene.person("alice", { token: "", getToken: connection.get });
    const before = await alice.connect();
    const vault = await alice.enter(`vault:${scene.name}`, { getToken: subscription.get });

    await connection.visited(2);
    await subscription.visited(2);
    await vault.say("still here");

    assert.equal(await vault.hear(), "still here");
    assert.deepEqual(alice.ear.heard("connecting"), []);
    assert.ok(before.client);
  });

  scenario("a connection nobody renews ends with 3005", async (scene) => {
    const alice = scene.person("alice", { hasty: true, expiresIn: 0.5 });
    await alice.connect();

    const ended = await alice.ear.next("connecting");
    const away = await alice.ear.next("disconnected");

    assert.deepEqual([ended.code, ended.reason], [3005, "connection expired"]);
    assert.deepEqual([away.code, away.reason], [1, "unauthorized"]);
  });

  scenario("an expired token sends the client for a new one", async (scene) => {
    const fresh = desk(() => connectionToken("alice", { expiresIn: 60 }));
    const alice = scene.person("alice", { expiresIn: -1, getToken: fresh.get });

    await alice.connect();

    assert.equal(fresh.visits(), 1);
  });

  scenario("a protected channel wants a token of the user's own", async (scene) => {
    const [alice, channel] = [await scene.connected("alice"), `vault:${scene.name}`];

    const refused = await alice.channel(channel).refused();
    await alice.enter(`${channel}-2`, { token: subscriptionToken("alice", `${channel}-2`) });
    alice.channel(`${channel}-3`, { token: subscriptionToken("bob", `${channel}-3`) }).subscription.subscribe();

    assert.equal(refused.code, 103);
    assert.equal((await alice.ear.next("disconnected")).code, 3500);
  });

  scenario("a token of another issuer is refused for good", async (scene) => {
    const [header, claims] = connectionToken("alice").split(".");
    const alice = scene.person("alice", { token: `${header}.${claims}.${"A".repeat(43)}` });

    alice.client.connect();

    assert.equal((await alice.ear.next("disconnected")).code, 3500);
  });
}
