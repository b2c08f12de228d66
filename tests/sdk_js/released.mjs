// The released packages, unmodified, from where the pages have them: one lock and one installation for both.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));

export const { version } = JSON.parse(
  require("node:fs").readFileSync(new URL("../../web/node_modules/centrifuge/package.json", import.meta.url), "utf8"),
);
export const { Centrifuge } = require(
  process.env.OPENLINE_TEST_CODEC === "protobuf" ? "centrifuge/build/protobuf" : "centrifuge",
);
export const WebSocket = require("ws");
