// Every scenario, against the server and in the mode that the environment names. They run at the same time: most of
// what they do is to wait.

import { describe } from "node:test";

import channels from "./channels.mjs";
import endings from "./endings.mjs";
import recovery from "./recovery.mjs";
import reduced from "./reduced.mjs";
import tokens from "./tokens.mjs";

describe("scenarios", { concurrency: 8 }, () => {
  channels();
  recovery();
  reduced();
  tokens();
  endings();
});
