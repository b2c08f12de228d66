// The way in: a name, and a token for it.

import { Identity } from "./identity";
import { found } from "./page";

const QUALITIES = ["Amber", "Brisk", "Calm", "Early", "Jolly", "Quiet", "Silver", "Sunny", "Tidy", "Witty"];
const BEINGS = ["Badger", "Finch", "Fox", "Hare", "Heron", "Lynx", "Otter", "Owl", "Robin", "Seal"];

/** Who this window is: kept from before a reload, else asked for at the door. */
export async function admitted(): Promise<Identity> {
  const kept = Identity.kept();
  if (kept) return kept;
  const door = found("door", HTMLElement);
  const name = found("door-name", HTMLInputElement);
  const problem = found("door-error", HTMLElement);
  name.value = `${any(QUALITIES)} ${any(BEINGS)}`;
  door.hidden = false;
  name.focus();
  name.select();
  return new Promise((resolve) => {
    found("door-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      problem.textContent = "";
      Identity.named(name.value.trim()).then(
        (identity) => {
          door.hidden = true;
          resolve(identity);
        },
        (error: unknown) => {
          problem.textContent = `That did not work: ${error instanceof Error ? error.message : String(error)}.`;
        },
      );
    });
  });
}

function any<T>(all: readonly T[]): T {
  return all[Math.floor(Math.random() * all.length)]!;
}
