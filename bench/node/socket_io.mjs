// Socket.IO: everyone in one room, and an emit to it. `node socket_io.mjs PORT` runs it.
//
// Chosen: WebSocket alone, perMessageDeflate off (its default), and the first HTTP request let go, as its page on memory
// advises. Serving its client script is of no use here.

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const server = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

server.engine.on("connection", (rawSocket) => {
  rawSocket.request = null;
});

server.on("connection", (socket) => {
  socket.join("room");
  socket.on("say", (text) => server.to("room").emit("said", text));
});

http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 2048 });
