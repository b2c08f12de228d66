// Who this window is. Each window is a visitor of its own: sessionStorage ends with it, and outlives a reload.

const KEPT = "openline.visitor";

interface Visitor {
  name: string;
  user: string;
  token: string;
}

export class Identity {
  #visitor: Visitor;

  private constructor(visitor: Visitor) {
    this.#visitor = visitor;
  }

  get name(): string {
    return this.#visitor.name;
  }

  get user(): string {
    return this.#visitor.user;
  }

  /** The visitor this window was before it was reloaded, if any. */
  static kept(): Identity | null {
    const text = sessionStorage.getItem(KEPT);
    return text ? new Identity(JSON.parse(text) as Visitor) : null;
  }

  /** Become a new visitor. */
  static async named(name: string): Promise<Identity> {
    return new Identity(await ask(name, null));
  }

  /** A fresh token for the same visitor: the SDK calls this whenever it needs one. */
  async token(): Promise<string> {
    this.#visitor = await ask(this.name, this.#visitor.token);
    return this.#visitor.token;
  }
}

/** Ask the app for a token; the earlier one proves that the id was ours. */
async function ask(name: string, earlier: string | null): Promise<Visitor> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (earlier) headers["Authorization"] = `Bearer ${earlier}`;
  const answer = await fetch("token", { method: "POST", headers, body: JSON.stringify({ name }) });
  if (!answer.ok) throw new Error(answer.status === 422 ? "a name has 1 to 32 letters" : `the server said ${answer.status}`);
  const visitor = (await answer.json()) as Visitor;
  sessionStorage.setItem(KEPT, JSON.stringify(visitor));
  return visitor;
}
