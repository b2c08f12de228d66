// What people do on a standalone server whose back end publishes over its API.

import assert from "node:assert/strict";
import { describe } from "node:test";

import { subscriptionToken } from "../sdk_js/login.mjs";
import { decode, encode, refusal, scenario } from "../sdk_js/people.mjs";

/** Have the back end call a method of the server API. */
async function call(scene, method, parameters) {
  const answer = await scene.tell(`/api/${method}?api_key=key-of-the-back-end`, parameters);
  assert.equal(answer.error, undefined, JSON.stringify(answer.error));
  return answer.result;
}

const publish = (scene, channel, data, more = {}) => call(scene, "publish", { channel, data, ...more });

describe("scenarios", { concurrency: 8 }, () => {
  scenario("what a client publishes reaches all", async (scene) => {
    const rooms = [];
    for (const user of ["alice", "bob"]) rooms.push(await (await scene.connected(user)).enter(`room:${scene.name}`));

    await rooms[0].say({ text: "hello" });

    for (const room of rooms) assert.deepEqual(await room.hear(), { text: "hello" });
  });

  scenario("what the back end publishes reaches clients", async (scene) => {
    const room = await (await scene.connected("alice")).enter(`room:${scene.name}`);

    const { offset } = await publish(scene, `room:${scene.name}`, { text: "hello" });

    const publication = await room.ear.next("publication");
    assert.deepEqual(decode(publication.data), { text: "hello" });
    assert.equal(publication.offset, offset);
  });

  scenario("what was missed is brought, in order", async (scene) => {
    const channel = `room:${scene.name}`;
    const alice = await scene.connected("alice");
    const room = await alice.enter(channel);
    alice.client.disconnect();
    for (const number of [1, 2, 3]) await publish(scene, channel, { number });

    await alice.connect();

    assert.equal((await room.ear.next("subscribed")).recovered, true);
    assert.deepEqual(await room.hearEach(3), [{ number: 1 }, { number: 2 }, { number: 3 }]);
  });

  scenario("what history has no longer is told to be lost", async (scene) => {
    const channel = `brief:${scene.name}`;
    const alice = await scene.connected("alice");
    const room = await alice.enter(channel);
    await publish(scene, channel, { number: 0 });
    await room.hear();
    alice.client.disconnect();
    for (const number of [1, 2, 3, 4]) await publish(scene, channel, { number });

    await alice.connect();

    const { wasRecovering, recovered } = await room.ear.next("subscribed");
    assert.deepEqual([wasRecovering, recovered], [true, false]);
  });

  scenario("deltas are put together again, before and after a recovery", async (scene) => {
    const channel = `room:${scene.name}`;
    const alice = await scene.connected("alice");
    const room = await alice.enter(channel, { delta: "fossil" });
    const filler = "the same again, ".repeat(30);
    const messages = [1, 2, 3, 4, 5, 6].map((number) => ({ number, filler }));

    for (const message of messages.slice(0, 3)) await publish(scene, channel, message);
    assert.deepEqual(await room.hearEach(3), messages.slice(0, 3));
    alice.client.disconnect();
    for (const message of messages.slice(3, 5)) await publish(scene, channel, message);
    await alice.connect();
    assert.deepEqual(await room.hearEach(2), messages.slice(3, 5));
    await publish(scene, channel, messages[5]);
    assert.deepEqual(await room.hear(), messages[5]);

    assert.equal(room.subscription.deltaStats().numPublications, 6);
    assert.ok(room.subscription.deltaStats().numDeltaPayloads >= 3);
  });

  scenario("a filter lets through what it names", async (scene) => {
    const channel = `prices:${scene.name}`;
    const alice = await scene.connected("alice");
    const prices = await alice.enter(channel, { tagsFilter: { key: "coin", cmp: "eq", val: "eur" } });

    await publish(scene, channel, 1, { tags: { coin: "usd" } });
    await publish(scene, channel, 2, { tags: { coin: "eur" } });

    assert.equal(await prices.hear(), 2);
  });

  scenario("who is here is shown, and who comes and goes", async (scene) => {
    const channel = `room:${scene.name}`;
    const [alice, bob] = [await scene.connected("alice"), await scene.connected("bob")];
    const room = await alice.enter(channel);
    assert.equal((await room.ear.next("join")).info.user, "alice");
    const other = await bob.enter(channel);
    assert.equal((await room.ear.next("join")).info.user, "bob");

    const { clients } = await room.subscription.presence();
    assert.deepEqual(Object.values(clients).map((client) => client.user).sort(), ["alice", "bob"]);
    assert.equal((await call(scene, "presence_stats", { channel })).num_users, 2);

    await other.leave();
    assert.equal((await room.ear.next("leave")).info.user, "bob");
  });

  scenario("each user has a channel of their own", async (scene) => {
    const user = `user-${scene.name}`;
    const alice = scene.person(user);
    await alice.connect();
    assert.equal((await alice.ear.next("subscribed")).channel, `#${user}`);
    const mallory = (await scene.connected("mallory")).channel(`#${user}`);
    assert.equal((await mallory.refused()).code, 103);

    await publish(scene, `#${user}`, "for you");

    assert.equal(decode((await alice.ear.next("publication")).data), "for you");
  });

  scenario("a protected channel asks for its token", async (scene) => {
    const channel = `vault:${scene.name}`;
    const alice = await scene.connected("alice");

    assert.equal((await alice.channel(channel).refused()).code, 103);
    alice.client.removeSubscription(alice.client.getSubscription(channel));
    await alice.enter(channel, { token: subscriptionToken("alice", channel) });
  });

  scenario("who has no token is not let in", async (scene) => {
    const nobody = scene.person("");
    nobody.client.connect();

    assert.equal((await nobody.ear.next("disconnected")).code, 3501);
  });

  scenario("the back end ends a connection", async (scene) => {
    const user = `user-${scene.name}`;
    const alice = await scene.connected(user);

    await call(scene, "disconnect", { user });

    assert.equal((await alice.ear.next("disconnected")).code, 3503);
  });

  scenario("there is nothing to call", async (scene) => {
    const alice = await scene.connected("alice");

    assert.equal((await refusal(alice.client.rpc("anything", encode({})))).code, 108);
  });
});
