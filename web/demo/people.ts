// Who is here, beside the room on view.

import { face } from "./face";
import { found, made } from "./page";
import type { Person } from "./presence";

export class People {
  readonly #me: string;
  readonly #list = found("people-list", HTMLUListElement);
  readonly #count = found("room-count", HTMLElement);

  constructor(me: string) {
    this.#me = me;
  }

  show(people: Person[]): void {
    this.#count.textContent = people.length === 1 ? "1 person here" : `${people.length} people here`;
    this.#list.replaceChildren(
      ...people.map(({ user, name }) => {
        const item = made("li", "", face(user, name), made("span", "", name));
        if (user === this.#me) item.append(made("span", "quiet", "you"));
        return item;
      }),
    );
  }
}
