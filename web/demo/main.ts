// The demo: who we are, the line, and the house at the other end of it.

import { Badge } from "./badge";
import { connection } from "./connection";
import { admitted } from "./door";
import { paint } from "./face";
import { House } from "./house";
import { Journal } from "./journal";
import { Line } from "./line";
import { found } from "./page";
import type { Room } from "./room";
import { Scissors } from "./scissors";
import { State, told } from "./state";
import { Transport } from "./transport";
import { Trip } from "./trip";

const identity = await admitted();
found("house", HTMLElement).hidden = false;
found("me-name", HTMLElement).textContent = identity.name;
paint(found("me-face", HTMLElement), identity.user, identity.name);

const line = new Line();
const centrifuge = connection(line, identity);
const rooms = new Map<string, Room>();
const state = new State(centrifuge, line, () => rooms.keys());
const journal = new Journal();
state.changed.listen((change) => journal.note(told(change), change.kind));
new Badge(state);
new Scissors(line);
new Trip(centrifuge);
new Transport(centrifuge);
new House(centrifuge, identity, state, journal, rooms);
centrifuge.connect();
