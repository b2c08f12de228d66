// ws: the broadcast of its README, to everyone and the publisher too. `node ws.mjs PORT` runs it.
//
// Chosen: perMessageDeflate off, as it is by default. The optional bufferutil is left out: it is for masking, and a server
// unmasks here no more than one short message for each thousand it sends.

import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 2048,
  perMessageDeflate: false,
});

server.on("connection", (socket) => {
  socket.on("error", console.error);
  socket.on("message", (data, isBinary) => {
    for (const client of server.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(data, { binary: isBinary });
    }
  });
});
