// What people do in channels.

import assert from "node:assert/strict";

import { decode, encode, refusal, scenario } from "./people.mjs";
import { versions } from "./released.mjs";

export default function channels() {
  scenario("the client is the released one", async () => {
    assert.equal(...versions);
  });

  scenario("somebody without a token is let in as the program says", async (scene) => {
    const connected = await scene.person("").connect();

    assert.match(connected.client, /^[0-9a-f-]{36}$/);
    assert.equal(connected.transport, process.env.OPENLINE_TEST_TRANSPORT);
  });

  scenario("connect and subscribe in one frame", async (scene) => {
    const alice = scene.person("alice");
    const room = alice.channel(`room:${scene.name}`);
    room.subscription.subscribe();
    alice.client.connect();

    await room.ear.next("subscribed");
  });

  scenario("a message reaches its author and the others", async (scene) => {
    const channel = `room:${scene.name}`;
    const rooms = [];
    for (const user of ["alice", "bob"]) rooms.push(await (await scene.connected(user)).enter(channel));

    await rooms[0].say({ author: "somebody else", text: "hello" });

    for (const room of rooms) assert.deepEqual(await room.hear(), { author: "alice", text: "hello" });
  });

  scenario("a publication tells who published it", async (scene) => {
    const room = await (await scene.connected("alice")).enter(`room:${scene.name}`);

    await room.say({ author: "alice", text: "hello" });
    const publication = await room.ear.next("publication");

    assert.equal(publication.offset, 1);
    assert.equal(publication.info.user, "alice");
    assert.deepEqual(decode(publication.info.connInfo), { name: "alice" });
  });

  scenario("a message of the wrong type is refused and the line stays", async (scene) => {
    const room = await (await scene.connected("alice")).enter(`room:${scene.name}`);

    const refused = await refusal(room.say({ author: "alice", text: 5 }));
    await room.say({ author: "alice", text: "five" });

    assert.equal(refused.code, 107);
    assert.match(refused.message, /text/);
    assert.equal((await room.hear()).text, "five");
  });

  scenario("who may not enter is refused", async (scene) => {
    const bob = await scene.connected("bob");

    assert.equal((await bob.channel(`room:alice-owned-${scene.name}`).refused()).code, 103);
    assert.equal((await bob.channel(`cellar:${scene.name}`).refused()).code, 102);
  });

  scenario("three tabs are three clients and one user", async (scene) => {
    const tabs = [];
    for (let tab = 0; tab < 3; tab++) tabs.push(await scene.connected("alice"));
    const rooms = [];
    for (const tab of tabs) rooms.push(await tab.enter(`room:${scene.name}`));

    const stats = await rooms[0].subscription.presenceStats();
    const { clients } = await rooms[0].subscription.presence();

    assert.deepEqual([stats.numClients, stats.numUsers], [3, 1]);
    assert.deepEqual(new Set(Object.values(clients).map((member) => member.user)), new Set(["alice"]));
  });

  scenario("trap 10: presence shows one entry, and none after unsubscribing", async (scene) => {
    const [alice, bob] = [await scene.connected("alice"), await scene.connected("bob")];
    const hall = await alice.enter(`hall:${scene.name}`);
    const during = await bob.client.presence(`hall:${scene.name}`);

    await hall.leave();
    await alice.call("echo", {});
    const after = await bob.client.presence(`hall:${scene.name}`);

    assert.deepEqual([during, after].map(({ clients }) => Object.keys(clients).length), [1, 0]);
  });

  scenario("joins and leaves are told to those who ask", async (scene) => {
    const [alice, bob] = [await scene.connected("alice"), await scene.connected("bob")];
    const hall = await alice.enter(`hall:${scene.name}`, { joinLeave: true });
    const own = await hall.ear.next("join");
    await (await bob.enter(`hall:${scene.name}`)).leave();

    const [came, went] = [await hall.ear.next("join"), await hall.ear.next("leave")];

    assert.deepEqual([own, came, went].map(({ info }) => info.user), ["alice", "bob", "bob"]);
  });

  scenario("history is read in pages", async (scene) => {
    const room = await (await scene.connected("alice")).enter(`room:${scene.name}`);
    for (let number = 1; number <= 5; number++) await room.say({ author: "", text: `${number}` });
    const read = (options) => room.subscription.history(options);

    const { epoch } = await read({});
    const pages = [
      await read({}),
      await read({ limit: 2, since: { offset: 0, epoch } }),
      await read({ limit: 2, since: { offset: 2, epoch } }),
      await read({ limit: 2, reverse: true }),
      await read({ limit: 10, reverse: true, since: { offset: 4, epoch } }),
      await read({ limit: -1 }),
    ];
    const gone = await refusal(read({ limit: 1, since: { offset: 1, epoch: "another" } }));

    const offsets = pages.map((page) => page.publications.map((publication) => publication.offset));
    assert.deepEqual(offsets, [[], [1, 2], [3, 4], [5, 4], [3, 2, 1], [1, 2, 3, 4, 5]]);
    assert.deepEqual(new Set(pages.map((page) => `${page.offset} ${page.epoch}`)), new Set([`5 ${epoch}`]));
    assert.equal(gone.code, 112);
  });

  scenario("after unsubscribing nothing comes any more", async (scene) => {
    const alice = await scene.connected("alice");
    const hall = await alice.enter(`hall:${scene.name}`);

    await hall.leave();
    await scene.publish(`hall:${scene.name}`, "is anybody here?");
    await alice.call("echo", {});

    assert.deepEqual(hall.ear.heard("publication"), []);
  });

  scenario("trap 8: unsubscribe and subscribe in one frame", async (scene) => {
    const hall = await (await scene.connected("alice")).enter(`hall:${scene.name}`);

    hall.subscription.unsubscribe();
    hall.subscription.subscribe();
    await hall.ear.next("subscribed");
    await hall.say("still here");

    assert.equal(await hall.hear(), "still here");
  });

  scenario("calls are answered, refused, and fail without a word of why", async (scene) => {
    const alice = await scene.connected("alice");
    const message = { text: "żółw 🐢\nnext line", numbers: [1, 2.5, null, true] };

    assert.deepEqual(await alice.call("rooms.list"), ["lobby", "attic"]);
    assert.deepEqual(await alice.call("echo", message), message);
    assert.equal((await refusal(alice.call("rooms.paint"))).code, 104);
    const failed = await refusal(alice.call("fail"));
    assert.deepEqual([failed.code, failed.temporary], [100, true]);
    assert.doesNotMatch(failed.message, /nobody/);
  });

  scenario("messages outside every channel go both ways", async (scene) => {
    const user = scene.name;
    const alice = await scene.connected(user);

    await alice.client.send(encode({ text: "hello" }));
    const answer = await alice.ear.next("message");
    await scene.tell(`/control/users/${user}/send`, { text: "from the server" });
    const unasked = await alice.ear.next("message");

    assert.deepEqual(decode(answer.data), { heard: { text: "hello" } });
    assert.deepEqual(decode(unasked.data), { text: "from the server" });
  });
}
