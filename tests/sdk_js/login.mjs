// The login of an app that knows nothing of Openline: it signs tokens with what every language has at hand.

import { createHmac } from "node:crypto";

const SECRET = process.env.OPENLINE_TEST_SECRET;

const encode = (claims) => Buffer.from(JSON.stringify(claims)).toString("base64url");

function signed(claims, expiresIn) {
  const lasting = expiresIn === undefined ? claims : { ...claims, exp: Date.now() / 1000 + expiresIn };
  const text = `${encode({ alg: "HS256" })}.${encode(lasting)}`;
  return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
}

/** Sign that this is the user; the server subscribes them to the channels. Seconds; negative for an expired token. */
export function connectionToken(user, { expiresIn, channels } = {}) {
  return signed({ sub: user, info: { name: user }, channels }, expiresIn);
}

/** Sign that this user may enter this channel. */
export function subscriptionToken(user, channel, { expiresIn } = {}) {
  return signed({ sub: user, channel }, expiresIn);
}
