// Tells each test's outcome as one line of JSON, for the Python side to report as its own.

import { inspect } from "node:util";

export default async function* report(events) {
  for await (const { type, data } of events) {
    if (type === "test:stderr" || type === "test:stdout") yield `${JSON.stringify({ output: data.message })}\n`;
    if ((type !== "test:pass" && type !== "test:fail") || data.details?.type === "suite") continue;
    yield `${JSON.stringify({ name: data.name, failure: failure(type, data) })}\n`;
  }
}

function failure(type, { details, skip, todo }) {
  if (type === "test:fail") return inspect(details?.error?.cause ?? details?.error);
  return skip === undefined && todo === undefined ? null : "it was skipped";
}
