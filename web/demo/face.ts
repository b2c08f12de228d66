// A visitor's face: the first letter of the name, in a colour of their own.

import { made } from "./page";

/** A number from 0 to 359 that is always the same for one user. */
function hue(user: string): number {
  let sum = 0;
  for (const letter of user) sum = (sum * 31 + letter.codePointAt(0)!) % 360;
  return sum;
}

/** Put a visitor's face on an element. */
export function paint(element: HTMLElement, user: string, name: string): void {
  element.textContent = [...name][0]?.toLocaleUpperCase() ?? "?";
  element.style.setProperty("--hue", String(hue(user)));
}

/** A face that says nothing to a screen reader: the name stands beside it. */
export function face(user: string, name: string): HTMLElement {
  const element = made("span", "face");
  element.setAttribute("aria-hidden", "true");
  paint(element, user, name);
  return element;
}
