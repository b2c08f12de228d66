// The released packages, unmodified, from where the pages have them: one lock and one installation for both.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));

const manifest = (path) => JSON.parse(readFileSync(new URL(`../../web/${path}package.json`, import.meta.url), "utf8"));

/** What is installed, and what the project asks for. */
export const versions = [manifest("node_modules/centrifuge/").version, manifest("").dependencies.centrifuge];

export const { Centrifuge } = require(
  process.env.OPENLINE_TEST_CODEC === "protobuf" ? "centrifuge/build/protobuf" : "centrifuge",
);
export const WebSocket = require("ws");
