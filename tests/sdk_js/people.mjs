// The people of the scenarios: each a client of the released SDK, unmodified, that remembers what it hears.

import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { Cutter } from "./cut.mjs";
import { connectionToken } from "./login.mjs";
import { EventSource } from "./events.mjs";
import { Centrifuge, WebSocket } from "./released.mjs";

const LIMIT_MS = 10_000; // that anything waits at most
const SERVER = new URL(process.env.OPENLINE_TEST_SERVER);
const PROTOBUF = process.env.OPENLINE_TEST_CODEC === "protobuf";
const TRANSPORT = process.env.OPENLINE_TEST_TRANSPORT;

/** Write a message as the SDK takes it: in Protobuf mode the app brings bytes. */
export const encode = (message) => (PROTOBUF ? new TextEncoder().encode(JSON.stringify(message)) : message);

/** Read a message as the SDK gives it. */
export const decode = (data) => (PROTOBUF && data != null ? JSON.parse(new TextDecoder().decode(data)) : data);

/** Say where a line is opened, and how: what the SDK's constructor takes. */
function line(place) {
  if (TRANSPORT === "websocket") return [`ws://${place}/connection/websocket`, { websocket: WebSocket }];
  const transports = [{ transport: TRANSPORT, endpoint: `http://${place}/connection/${TRANSPORT}` }];
  return [transports, { emulationEndpoint: `http://${place}/emulation`, eventsource: EventSource }];
}

/** Wait for something, but not for ever. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), LIMIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Give the error a promise ends with. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}

/** Hears every event of these kinds that an emitter of the SDK tells, in order. */
class Ear {
  #heard = [];
  #wake = () => {};

  constructor(emitter, kinds) {
    for (const kind of kinds) {
      emitter.on(kind, (context) => {
        this.#heard.push([kind, context]);
        this.#wake();
      });
    }
  }

  /** Wait for an event of this kind; others before it are passed over. */
  async next(kind) {
    const passed = [];
    const search = async () => {
      for (;;) {
        while (this.#heard.length) {
          const [heard, context] = this.#heard.shift();
          if (heard === kind) return context;
          passed.push([heard, context]);
        }
        await new Promise((resolve) => (this.#wake = resolve));
      }
    };
    return within(search(), kind).catch((error) => {
      throw new Error(`${error.message}; heard only ${JSON.stringify(passed)}`);
    });
  }

  /** Give what was heard of one kind and not asked for yet; everything else is forgotten. Does not wait. */
  heard(kind) {
    return this.#heard.splice(0).flatMap(([heard, context]) => (heard === kind ? [context] : []));
  }
}

const ABOUT_CHANNELS = ["subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error"];
const ABOUT_LINES = ["connecting", "connected", "disconnected", "message", ...ABOUT_CHANNELS];

/** One person in one channel. */
class Channel {
  constructor(subscription) {
    this.subscription = subscription;
    this.ear = new Ear(subscription, ABOUT_CHANNELS);
  }

  /** Subscribe; give what the SDK says of it. */
  async enter() {
    this.subscription.subscribe();
    return this.ear.next("subscribed");
  }

  /** Subscribe and be refused for good. */
  async refused() {
    this.subscription.subscribe();
    return this.ear.next("unsubscribed");
  }

  async leave() {
    this.subscription.unsubscribe();
    await this.ear.next("unsubscribed");
  }

  async say(message) {
    await this.subscription.publish(encode(message));
  }

  /** Wait for the next publication; give its message. */
  async hear() {
    return decode((await this.ear.next("publication")).data);
  }

  /** Wait for this many publications; give their messages. */
  async hearEach(count) {
    const messages = [];
    while (messages.length < count) messages.push(await this.hear());
    return messages;
  }
}

/** One connection. */
class Person {
  constructor(place, options) {
    const quick = { minReconnectDelay: 20, maxReconnectDelay: 100 };
    const [address, means] = line(place);
    this.client = new Centrifuge(address, { ...quick, ...means, ...options });
    this.ear = new Ear(this.client, ABOUT_LINES);
  }

  async connect() {
    this.client.connect();
    return this.ear.next("connected");
  }

  channel(name, options = {}) {
    const quick = { minResubscribeDelay: 20, maxResubscribeDelay: 100 };
    return new Channel(this.client.newSubscription(name, { ...quick, ...options }));
  }

  async enter(name, options) {
    const channel = this.channel(name, options);
    await channel.enter();
    return channel;
  }

  async call(method, data = null) {
    return decode((await this.client.rpc(method, encode(data))).data);
  }
}

/** What a scenario has at hand; everything it makes ends with it. */
class Scene {
  name = randomUUID();
  #people = [];
  #cutters = [];

  /** Make somebody who is not connected yet; "" has no token. */
  person(user, { expiresIn, channels, port, hasty, ...options } = {}) {
    if (user && !("token" in options)) options.token = connectionToken(user, { expiresIn, channels });
    const place = `127.0.0.1:${port ?? SERVER.port}${hasty ? "/hasty" : ""}`;
    const person = new Person(place, options);
    this.#people.push(person);
    return person;
  }

  /** Make somebody who is connected. */
  async connected(user, options) {
    const person = this.person(user, options);
    await person.connect();
    return person;
  }

  async cutter() {
    const cutter = await Cutter.before(SERVER.port);
    this.#cutters.push(cutter);
    return cutter;
  }

  /** Tell the server what to do, through a route of its app. */
  async tell(path, body) {
    const headers = { "content-type": "application/json" };
    const response = await fetch(new URL(path, SERVER), { method: "POST", headers, body: JSON.stringify(body ?? {}) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  publish(channel, data) {
    return this.tell("/control/publish", { channel, data });
  }

  async end() {
    for (const person of this.#people) person.client.disconnect();
    for (const cutter of this.#cutters) await cutter.close();
  }
}

/** Declare a scenario: a test of node's own runner. Its name is how the Python side knows it. */
export function scenario(name, play) {
  test(name, { timeout: 3 * LIMIT_MS }, async () => {
    const scene = new Scene();
    try {
      await play(scene);
    } finally {
      await scene.end();
    }
  });
}
