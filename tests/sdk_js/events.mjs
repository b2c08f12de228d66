// The EventSource of browsers, which Node does not have by itself: as much of it as the SDK uses, on `fetch`.

/** One stream of events. It is not opened again by itself: the SDK closes it when it breaks. */
export class EventSource {
  onopen = () => {};
  onmessage = () => {};
  onerror = () => {};
  #abort = new AbortController();

  constructor(url) {
    this.#read(url).catch((error) => {
      if (!this.#abort.signal.aborted) this.onerror(error);
    });
  }

  close() {
    this.#abort.abort();
  }

  async #read(url) {
    const response = await fetch(url, { headers: { accept: "text/event-stream" }, signal: this.#abort.signal });
    const type = response.headers.get("content-type");
    if (!response.ok || type !== "text/event-stream") throw new Error(`${response.status} ${type}`);
    this.onopen();
    let text = "";
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      const lines = (text + piece).split(/\r\n|\n/);
      text = lines.pop();
      for (const line of lines.filter((line) => line.startsWith("data: "))) this.onmessage({ data: line.slice(6) });
    }
    throw new Error("the stream ended");
  }
}
