/* A line: one WebSocket to the server, from the first byte of its handshake to the last of its frames.
 *
 * A line reads a bit at a time and keeps where it stands, so a frame, its header, a mark or a ping may be cut anywhere.
 * It answers pings itself, those of WebSocket and those of the server's own protocol. What a line hears goes on to the
 * tally, mark by mark; where it asks, answer by answer, and then nothing but answers and pings may come.
 */
#ifndef LINE_H
#define LINE_H

#include <stddef.h>
#include <stdint.h>

#define MARK "@t="
#define MARK_BYTES 3
#define STAMP_BYTES 19
#define MARKED_BYTES (MARK_BYTES + STAMP_BYTES)
#define HEAD_BYTES 1024
#define MOST_STEPS 8
#define PIECE_BYTES 64
#define MOST_IN_FLIGHT 64

/* How every line begins, once its handshake is answered: what is said, then what has to be heard; "" for nothing. */
struct step {
    const char *say, *hear;
};

struct server {
    int port;
    int publish_port; /* where line 0 connects, which then is not timed; 0: where all others do */
    int rooms;        /* a '#' in what a step says is the line's room, one of so many */
    const char *path;
    int steps;
    struct step step[MOST_STEPS];
    const char *ping, *pong; /* of the server's own protocol: a message of its own, or a line of one; "" for none */
    const char *answer;      /* how the answer to a command begins, '#' for its number; "" where nobody asks */
};

enum stage { HANDSHAKE, STEPS, OPEN, LEAVING, GONE };

struct line {
    int socket, number;
    enum stage stage;
    int step;
    int counts;                      /* its deliveries go to the tally */
    unsigned char header[10];        /* of the frame that is being read */
    int header_bytes;
    uint64_t left;                   /* bytes of it still to come */
    int in_frame, opcode;
    char head[HEAD_BYTES];           /* how it begins, or how the handshake's answer does */
    int head_bytes;
    char piece[PIECE_BYTES];         /* how its present line begins */
    int piece_bytes;
    char kept[MARKED_BYTES];         /* the end of what was read: a mark may begin there */
    int kept_bytes;
    long heard;                      /* deliveries of the present load, or answers */
    long asked;                      /* commands of it */
    long long asked_at[MOST_IN_FLIGHT];
    long long bytes;                 /* read, of everything */
};

extern struct server server;

/* Connect and ask for a WebSocket. `number` spreads lines over the addresses of the loopback, each of which has ports of
 * its own. `receive_bytes` is the socket's buffer; 0 leaves it to the kernel. */
void line_dial(struct line *line, int number, int receive_bytes);

/* Read once and act on it. */
void line_read(struct line *line);

/* Send a text message. */
void line_say(struct line *line, const char *text, size_t size);

/* Send the next command: `text` with its number for '#'. Numbers go on from those of the steps. */
void line_ask(struct line *line, const char *text);

/* Begin the closing handshake. */
void line_leave(struct line *line);

/* The port the line has on this side. */
int line_port(const struct line *line);

#endif
