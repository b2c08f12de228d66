// Times of day as the visitor writes them.

const short = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const long = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A <time> that shows hours and minutes, with seconds where asked for. */
export function timeOfDay(atMs: number, seconds = false): HTMLTimeElement {
  const element = document.createElement("time");
  const date = new Date(atMs);
  element.dateTime = date.toISOString();
  element.textContent = (seconds ? long : short).format(date);
  return element;
}
