// Coming back after the line broke.

import assert from "node:assert/strict";

import { decode, scenario, within } from "./people.mjs";

/** Break somebody's line; wait until they know and were refused once. */
async function cutOff(cutter, person) {
  const refused = cutter.cut();
  await person.ear.next("connecting");
  await within(refused, "a refused connection");
}

export default function recovery() {
  scenario("all that was missed comes in order and once", async (scene) => {
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const room = await alice.enter(`room:${scene.name}`);
    const announce = (text) => scene.tell(`/rooms/${scene.name}`, { author: "the house", text });
    await announce("0");
    const before = await room.ear.next("publication");

    await cutOff(cutter, alice);
    for (let number = 1; number <= 5; number++) await announce(`${number}`);
    cutter.mend();
    const subscribed = await room.ear.next("subscribed");
    await announce("6");
    const after = [];
    while (after.length < 6) after.push(await room.ear.next("publication"));

    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, true]);
    assert.deepEqual(after.map(({ data }) => decode(data).text), ["1", "2", "3", "4", "5", "6"]);
    assert.deepEqual([before, ...after].map(({ offset }) => offset), [1, 2, 3, 4, 5, 6, 7]);
  });

  scenario("more than history keeps is told as lost", async (scene) => {
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const brief = await alice.enter(`brief:${scene.name}`);
    await scene.publish(`brief:${scene.name}`, 0);
    await brief.hear();

    await cutOff(cutter, alice);
    for (let number = 1; number <= 4; number++) await scene.publish(`brief:${scene.name}`, number);
    cutter.mend();
    const subscribed = await brief.ear.next("subscribed");
    await scene.publish(`brief:${scene.name}`, 5);

    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, false]);
    assert.equal(subscribed.streamPosition.offset, 5);
    assert.equal(await brief.hear(), 5);
  });

  scenario("what just fits into history is recovered", async (scene) => {
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const brief = await alice.enter(`brief:${scene.name}`);

    await cutOff(cutter, alice);
    for (let number = 1; number <= 3; number++) await scene.publish(`brief:${scene.name}`, number);
    cutter.mend();

    assert.equal((await brief.ear.next("subscribed")).recovered, true);
    assert.deepEqual(await brief.hearEach(3), [1, 2, 3]);
  });

  scenario("a subscription the server made recovers", async (scene) => {
    const inbox = `inbox:${scene.name}`;
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { channels: [inbox], port: cutter.port });
    const first = await alice.ear.next("subscribed");

    await cutOff(cutter, alice);
    for (let number = 1; number <= 5; number++) await scene.publish(inbox, number);
    cutter.mend();
    const subscribed = await alice.ear.next("subscribed");
    const heard = [];
    while (heard.length < 5) heard.push(decode((await alice.ear.next("publication")).data));

    assert.deepEqual([first.channel, first.recoverable, first.wasRecovering], [inbox, true, false]);
    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, true]);
    assert.deepEqual(heard, [1, 2, 3, 4, 5]);
  });

  scenario("an app starts from a position it knows, and loads its state again when that is too old", async (scene) => {
    const channel = `brief:${scene.name}`;
    const positions = [];
    for (let number = 0; number < 5; number++) positions.push(await scene.publish(channel, number));
    const known = [positions[0], positions[3]];

    const brief = await (await scene.connected("alice")).enter(channel, { getState: async () => known.shift() });

    assert.equal(await brief.hear(), 4);
    assert.deepEqual(known, []);
  });
}
