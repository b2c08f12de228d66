// Less than everything: patches instead of payloads, and only what passes a filter.

import assert from "node:assert/strict";

import { scenario, within } from "./people.mjs";

/** A text of which little changes, with characters of every length where it does. */
const text = (number) => `Сообщение ${number} из многих, ${"я".repeat(number % 5)}🙂 и ещё немного слов для длины`;

async function cutOff(cutter, person) {
  const refused = cutter.cut();
  await person.ear.next("connecting");
  await within(refused, "a refused connection");
}

/** What the SDK counted of patches and whole payloads. */
const counted = (channel) => [channel.subscription._deltaNumFull, channel.subscription._deltaNumDelta];

export default function reduced() {
  scenario("patches make what was published, live and recovered", async (scene) => {
    const name = `board:${scene.name}`;
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const board = await alice.enter(name, { delta: "fossil" });
    const numbers = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => first + index);
    for (const number of numbers(0, 9)) await scene.publish(name, { text: text(number) });
    assert.deepEqual(await board.hearEach(10), numbers(0, 9).map((number) => ({ text: text(number) })));
    assert.deepEqual(counted(board), [1, 9]);

    await cutOff(cutter, alice);
    for (const number of numbers(10, 14)) await scene.publish(name, { text: text(number) });
    cutter.mend();
    const subscribed = await board.ear.next("subscribed");
    await scene.publish(name, { text: text(15) });
    await scene.publish(name, { text: text(16) });

    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, true]);
    assert.deepEqual(await board.hearEach(7), numbers(10, 16).map((number) => ({ text: text(number) })));
    assert.deepEqual(counted(board), [3, 14]);
  });

  scenario("nothing missed, and the next publication is whole", async (scene) => {
    const name = `board:${scene.name}`;
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const board = await alice.enter(name, { delta: "fossil" });
    await scene.publish(name, { text: text(0) });
    await board.hear();

    await cutOff(cutter, alice);
    cutter.mend();
    await board.ear.next("subscribed");
    await scene.publish(name, { text: text(1) });

    assert.deepEqual(await board.hear(), { text: text(1) });
    assert.deepEqual(counted(board), [2, 0]);
  });

  scenario("a filter lets through what it says, live and recovered", async (scene) => {
    const name = `board:${scene.name}`;
    const publish = (data, tags) => scene.tell("/control/publish", { channel: name, data, tags });
    const tagsFilter = {
      op: "and",
      nodes: [
        { key: "team", cmp: "in", vals: ["red", "blue"] },
        { key: "score", cmp: "gte", val: "10" },
      ],
    };
    const cutter = await scene.cutter();
    const alice = await scene.connected("alice", { port: cutter.port });
    const board = await alice.enter(name, { tagsFilter });
    await publish(1, { team: "red", score: "9.5" });
    await publish(2, { team: "blue", score: "10.0" });
    await publish(3, {});
    assert.equal(await board.hear(), 2);

    await cutOff(cutter, alice);
    await publish(4, { team: "green", score: "100" });
    await publish(5, { team: "red", score: "100" });
    await publish(6, { team: "red", score: "ten" });
    cutter.mend();
    const subscribed = await board.ear.next("subscribed");
    await publish(7, { team: "red", score: "11" });

    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, true]);
    assert.deepEqual(await board.hearEach(2), [5, 7]);
  });

  scenario("a filter that is none, or where none is offered, is refused in words", async (scene) => {
    const alice = await scene.connected("alice");
    const broken = await alice
      .channel(`board:${scene.name}`, { tagsFilter: { key: "team", cmp: "like", val: "r" } })
      .refused();
    const elsewhere = await alice
      .channel(`brief:${scene.name}`, { tagsFilter: { key: "team", cmp: "ex" } })
      .refused();
    assert.equal(broken.code, 107);
    assert.match(broken.reason, /cmp is 'like'/);
    assert.deepEqual([elsewhere.code, elsewhere.reason], [107, "tag filters are not offered in this channel"]);
  });
}
