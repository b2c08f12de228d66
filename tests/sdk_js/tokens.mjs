// Tokens that run out and are renewed.

import assert from "node:assert/strict";

import { connectionToken, subscriptionToken } from "./login.mjs";
import { scenario, within } from "./people.mjs";

/** Where tokens are fetched: the first is good for a moment, those after it for a minute. */
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
      return make({ ...context, expiresIn: visits === 1 ? 0.9 : 60 });
    },
    visited: (times) => within(visited(times), `token ${times}`),
    visits: () => visits,
  };
}

/** A promise, and what keeps it. */
function gate() {
  let keep;
  return [new Promise((resolve) => (keep = resolve)), (value) => keep(value)];
}

export default function tokens() {
  scenario("tokens are renewed while the line stays", async (scene) => {
    const connection = desk((order) => connectionToken("alice", order));
    const subscription = desk((order) => subscriptionToken("alice", order.channel, order));
    const alice = scene.person("alice", { token: "", getToken: connection.get });
    await alice.connect();
    const vault = await alice.enter(`vault:${scene.name}`, { getToken: subscription.get });

    await connection.visited(2);
    await subscription.visited(2);
    // Behind the second the server has answered whatever the SDK sent with its tokens.
    for (let time = 0; time < 2; time++) await vault.say("still here");

    assert.deepEqual(await vault.hearEach(2), ["still here", "still here"]);
    assert.deepEqual(alice.ear.heard("connecting"), []);
    assert.deepEqual(vault.ear.heard("subscribing"), []);
  });

  scenario("a connection that is renewed too late ends with 3005 and comes back", async (scene) => {
    const [late, hand] = gate();
    const alice = scene.person("alice", { hasty: true, expiresIn: 0.9, getToken: () => late });
    await alice.connect();

    const ended = await alice.ear.next("connecting");
    hand(connectionToken("alice"));
    await alice.ear.next("connected");

    assert.deepEqual([ended.code, ended.reason], [3005, "connection expired"]);
  });

  scenario("a subscription that is renewed too late ends with 2501 and comes back", async (scene) => {
    const [[late, hand], channel] = [gate(), `safe:${scene.name}`];
    const token = subscriptionToken("alice", channel, { expiresIn: 0.9 });
    const alice = await scene.connected("alice", { hasty: true });
    const safe = await alice.enter(channel, { token, getToken: () => late });

    const ended = await safe.ear.next("subscribing");
    hand(subscriptionToken("alice", channel));
    await safe.ear.next("subscribed");

    assert.deepEqual([ended.code, ended.reason], [2501, "subscription expired"]);
  });

  scenario("a renewal by somebody else's token ends the connection", async (scene) => {
    let user = "bob";
    const fresh = desk((order) => connectionToken(user, order));
    const alice = scene.person("alice", { token: "", getToken: fresh.get });
    await alice.connect();

    user = "alice";

    assert.equal((await alice.ear.next("disconnected")).code, 3500);
  });

  scenario("an expired token sends the client for a new one", async (scene) => {
    const fresh = desk((order) => connectionToken("alice", order));
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
