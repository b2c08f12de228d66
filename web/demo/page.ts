// Finding what index.html holds, and making what it does not.

/** The element of this id; it has to be there and be of this kind. */
export function found<E extends Element>(id: string, kind: abstract new () => E): E {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return element;
}

/** A new element with its class and what it holds. Text is text: nothing here is read as HTML. */
export function made<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  ...content: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...content);
  return element;
}

/** Whether the visitor wants things to hold still. */
export function holdsStill(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
