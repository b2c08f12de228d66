// How the server ends a line or a subscription, and what the client does then.

import assert from "node:assert/strict";

import { decode, scenario } from "./people.mjs";

export default function endings() {
  scenario("some ends are for good", async (scene) => {
    for (const [code, reason] of [[3503, "force disconnect"], [4501, "banned"]]) {
      const user = `${scene.name}-${code}`;
      const alice = await scene.connected(user);

      await scene.tell(`/control/users/${user}/disconnect`, { code, reason });
      const ended = await alice.ear.next("disconnected");

      assert.deepEqual([ended.code, ended.reason], [code, reason]);
    }
  });

  scenario("after other ends the client comes back and recovers", async (scene) => {
    for (const [code, reason] of [[3011, "force reconnect"], [4001, "moved"]]) {
      const user = `${scene.name}-${code}`;
      const alice = await scene.connected(user);
      const room = await alice.enter(`room:${user}`);

      await scene.tell(`/control/users/${user}/disconnect`, { code, reason });
      const ended = await alice.ear.next("connecting");
      const subscribed = await room.ear.next("subscribed");

      assert.deepEqual([ended.code, ended.reason], [code, reason]);
      assert.equal(subscribed.recovered, true);
    }
  });

  scenario("a state that is no longer valid is not recovered from", async (scene) => {
    const alice = await scene.connected(scene.name);
    const room = await alice.enter(`room:${scene.name}`);

    await scene.tell(`/control/users/${scene.name}/disconnect`, { code: 3014, reason: "state invalidated" });
    const subscribed = await room.ear.next("subscribed");

    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, false]);
  });

  scenario("an unsubscribe by the server is for good", async (scene) => {
    const alice = await scene.connected(scene.name);
    const room = await alice.enter(`room:${scene.name}`);
    const end = { code: 2000, reason: "server unsubscribe" };

    await scene.tell(`/control/users/${scene.name}/unsubscribe/room:${scene.name}`, end);
    const ended = await room.ear.next("unsubscribed");

    assert.deepEqual({ code: ended.code, reason: ended.reason }, end);
    assert.deepEqual(await alice.call("echo", { here: true }), { here: true });
  });

  scenario("from 2500 on the client subscribes again", async (scene) => {
    const room = await (await scene.connected(scene.name)).enter(`room:${scene.name}`);
    await room.say({ author: "", text: "1" });
    await room.hear();
    const end = { code: 2500, reason: "insufficient state" };

    await scene.tell(`/control/users/${scene.name}/unsubscribe/room:${scene.name}`, end);
    const again = await room.ear.next("subscribing");
    const subscribed = await room.ear.next("subscribed");
    await room.say({ author: "", text: "2" });

    assert.equal(again.code, 2500);
    assert.deepEqual([subscribed.wasRecovering, subscribed.recovered], [true, true]);
    assert.equal((await room.hear()).text, "2");
  });

  scenario("the server puts a user into a channel and takes them out", async (scene) => {
    const [alice, inbox] = [await scene.connected(scene.name), `inbox:${scene.name}`];

    await scene.tell(`/control/users/${scene.name}/subscribe/${inbox}`);
    const subscribed = await alice.ear.next("subscribed");
    await scene.publish(inbox, "hello");
    const heard = await alice.ear.next("publication");
    await scene.tell(`/control/users/${scene.name}/unsubscribe/${inbox}`, { code: 2000, reason: "server unsubscribe" });
    const ended = await alice.ear.next("unsubscribed");

    assert.deepEqual([subscribed, heard, ended].map(({ channel }) => channel), [inbox, inbox, inbox]);
    assert.equal(decode(heard.data), "hello");
  });
}
