// One kind of news and those who listen to it.

export class Signal<T> {
  readonly #listeners = new Set<(news: T) => void>();

  listen(listener: (news: T) => void): void {
    this.#listeners.add(listener);
  }

  emit(news: T): void {
    for (const listener of this.#listeners) listener(news);
  }
}
