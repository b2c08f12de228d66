#define _GNU_SOURCE
#include "line.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failure.h"
#include "tally.h"

#define ADDRESSES 8
#define WRITE_MS 10000
#define BUFFER_BYTES (1 << 18)
#define FRAME_BYTES (1 << 16)
#define COMMAND_BYTES 1024
/* A key, and the answer RFC 6455 asks for: the same for every line. */
#define KEY "b3BlbmxpbmUgbG9hZCE9IQ=="
#define ACCEPT "+fmvAdiMXEHdxOqsnGitpoKzt/w="

enum opcode { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct server server;

/* --- what is sent ------------------------------------------------------------------------------------------------ */

static void send_all(struct line *line, const char *bytes, size_t size)
{
    while (size) {
        ssize_t sent = send(line->socket, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = line->socket, .events = POLLOUT};
            if (poll(&room, 1, WRITE_MS) == 0) fail("line %d: the server does not read", line->number);
            continue;
        }
        if (sent < 0 && line->stage == LEAVING) return;
        if (sent < 0) fail("line %d: %s", line->number, strerror(errno));
        bytes += sent;
        size -= sent;
    }
}

/* One masked frame. The mask is zero: the payload stays as it is, and the server unmasks all the same. */
static void send_frame(struct line *line, enum opcode opcode, const char *payload, size_t size)
{
    static char frame[FRAME_BYTES + 8];
    size_t header = 2;
    if (size >= FRAME_BYTES) fail("a message of %zu bytes is too long", size);
    frame[0] = (char)(0x80 | opcode);
    frame[1] = (char)(0x80 | (size < 126 ? size : 126));
    if (size >= 126) {
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
        header = 4;
    }
    memset(frame + header, 0, 4);
    memcpy(frame + header + 4, payload, size);
    send_all(line, frame, header + 4 + size);
}

void line_say(struct line *line, const char *text, size_t size)
{
    send_frame(line, TEXT, text, size);
}

/* A text with a number for its '#'; how long it is. */
static size_t number_text(char *to, size_t room, const char *text, long number)
{
    const char *gap = strchr(text, '#');
    size_t size = snprintf(to, room, "%.*s%ld%s", (int)(gap - text), text, number, gap + 1);
    if (size >= room) fail("%s is too long", text);
    return size;
}

void line_ask(struct line *line, const char *text)
{
    static char command[COMMAND_BYTES];
    size_t size = number_text(command, sizeof command, text, server.steps + line->asked + 1);
    tally_asked(line);
    line_say(line, command, size);
}

void line_leave(struct line *line)
{
    line->stage = LEAVING;
    line->counts = 0;
    send_frame(line, CLOSE, "\x03\xe8", 2); /* 1000 */
}

/* --- the beginning ----------------------------------------------------------------------------------------------- */

void line_dial(struct line *line, int number, int receive_bytes)
{
    int port = number == 0 && server.publish_port ? server.publish_port : server.port;
    struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET, .sin_port = htons(port)};
    int yes = 1;
    *line = (struct line){.number = number, .counts = 1, .socket = socket(AF_INET, SOCK_STREAM, 0)};
    if (line->socket < 0) fail("line %d: %s", number, strerror(errno));
    if (receive_bytes) setsockopt(line->socket, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    /* All of 127/8 is this machine. The port is chosen as the line connects: it need not be free for other servers. */
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % ADDRESSES);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(line->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(line->socket, (struct sockaddr *)&here, sizeof here) ||
        connect(line->socket, (struct sockaddr *)&there, sizeof there))
        fail("line %d cannot connect: %s", number, strerror(errno));
    setsockopt(line->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(line->socket, F_SETFL, O_NONBLOCK);

    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        server.path, port);
    if (size >= (int)sizeof request) fail("the path is too long");
    send_all(line, request, size);
}

int line_port(const struct line *line)
{
    struct sockaddr_in here;
    socklen_t size = sizeof here;
    if (getsockname(line->socket, (struct sockaddr *)&here, &size)) fail("line %d: %s", line->number, strerror(errno));
    return ntohs(here.sin_port);
}

static void say_step(struct line *line, const char *text)
{
    char said[COMMAND_BYTES];
    if (strchr(text, '#'))
        line_say(line, said, number_text(said, sizeof said, text, line->number % server.rooms));
    else
        line_say(line, text, strlen(text));
}

/* Say what comes next, until something has to be heard. */
static void go_on(struct line *line)
{
    line->stage = STEPS;
    for (; line->step < server.steps; line->step++) {
        const struct step *step = &server.step[line->step];
        if (*step->say) say_step(line, step->say);
        if (*step->hear) return;
    }
    line->stage = OPEN;
}

/* Read the handshake's answer; what follows it is the first frame. */
static const char *read_answer(struct line *line, const char *at, const char *end)
{
    while (at < end) {
        if (line->head_bytes == HEAD_BYTES - 1) fail("line %d: the handshake's answer is too long", line->number);
        line->head[line->head_bytes++] = *at++;
        if (line->head_bytes < 4 || memcmp(line->head + line->head_bytes - 4, "\r\n\r\n", 4)) continue;
        line->head[line->head_bytes] = 0;
        if (memcmp(line->head, "HTTP/1.1 101", 12) || !strstr(line->head, ACCEPT))
            fail("line %d: the handshake is answered with %.300s", line->number, line->head);
        go_on(line);
        break;
    }
    return at;
}

/* --- what is heard ----------------------------------------------------------------------------------------------- */

/* Find the marks in a piece of a payload, what was kept of the piece before in front of it. */
static void find_marks(struct line *line, const char *at, const char *end, long long now)
{
    const char *mark;
    while ((mark = memchr(at, MARK[0], end - at))) {
        size_t there = end - mark < MARK_BYTES ? end - mark : MARK_BYTES;
        at = mark + 1;
        if (memcmp(mark, MARK, there)) continue;
        if (end - mark < MARKED_BYTES) break;
        if (line->counts) tally_heard(line, mark + MARK_BYTES, now);
        at = mark + MARKED_BYTES;
    }
    line->kept_bytes = mark ? (int)(end - mark) : 0;
    if (mark) memmove(line->kept, mark, line->kept_bytes);
}

/* What a line hears that has asked is the next answer. */
static void read_answer_to_command(struct line *line)
{
    char answer[PIECE_BYTES];
    int size = (int)number_text(answer, sizeof answer, server.answer, server.steps + line->heard + 1);
    if (line->heard == line->asked) fail("line %d has heard more than it asked", line->number);
    if (line->piece_bytes < size || memcmp(line->piece, answer, size))
        fail("line %d: an answer should begin with %s and is %.*s", line->number, answer, line->piece_bytes, line->piece);
    tally_answered(line);
}

static void end_piece(struct line *line)
{
    if (line->piece_bytes && line->piece_bytes == (int)strlen(server.ping) &&
        !memcmp(line->piece, server.ping, line->piece_bytes))
        line_say(line, server.pong, strlen(server.pong));
    else if (line->piece_bytes && *server.answer && line->stage == OPEN)
        read_answer_to_command(line);
    line->piece_bytes = 0;
}

/* Go through a message line by line: each may be a ping of the server's own, or an answer. */
static void read_pieces(struct line *line, const char *at, const char *end)
{
    while (at < end) {
        const char *newline = memchr(at, '\n', end - at), *stop = newline ? newline : end;
        size_t room = PIECE_BYTES - line->piece_bytes, some = (size_t)(stop - at) < room ? (size_t)(stop - at) : room;
        memcpy(line->piece + line->piece_bytes, at, some);
        line->piece_bytes += (int)some;
        at = stop;
        if (newline) {
            end_piece(line);
            at++;
        }
    }
}

static void end_frame(struct line *line)
{
    line->head[line->head_bytes] = 0;
    if (line->opcode == PING) send_frame(line, PONG, line->head, line->head_bytes);
    if (line->opcode == CLOSE && line->stage != LEAVING)
        fail("line %d is closed by the server: %d %s", line->number,
             line->head_bytes < 2 ? 0 : (unsigned char)line->head[0] << 8 | (unsigned char)line->head[1],
             line->head_bytes < 2 ? "" : line->head + 2);
    if (line->opcode < CLOSE) {
        end_piece(line);
        if (line->stage == STEPS && strstr(line->head, server.step[line->step].hear)) {
            line->step++;
            go_on(line);
        }
    }
    line->in_frame = line->header_bytes = line->head_bytes = line->kept_bytes = 0;
}

/* Read a frame's header, as far as it has come. */
static const char *read_header(struct line *line, const char *at, const char *end)
{
    int whole = 2;
    while (at < end && line->header_bytes < whole) {
        line->header[line->header_bytes++] = (unsigned char)*at++;
        if (line->header_bytes >= 2) whole = line->header[1] == 126 ? 4 : line->header[1] == 127 ? 10 : 2;
    }
    if (line->header_bytes < whole) return at;
    if ((line->header[0] & 0xf0) != 0x80 || line->header[1] > 127)
        fail("line %d: a frame that is a fragment, compressed or masked", line->number);
    line->left = whole == 2 ? line->header[1] : 0;
    for (int i = 2; i < whole; i++) line->left = line->left << 8 | line->header[i];
    line->opcode = line->header[0] & 0x0f;
    line->head_bytes = 0;
    line->in_frame = 1;
    return at;
}

/* Read of a frame what has come. A piece of a mark that is kept belongs to a frame that began in an earlier read, so
 * `at` is then where this read begins, and there is room before it. */
static const char *read_payload(struct line *line, char *at, const char *end, long long now)
{
    size_t size = (uint64_t)(end - at) < line->left ? (size_t)(end - at) : line->left;
    if (line->opcode >= CLOSE || line->stage == STEPS) {
        size_t room = HEAD_BYTES - 1 - line->head_bytes, some = size < room ? size : room;
        memcpy(line->head + line->head_bytes, at, some);
        line->head_bytes += (int)some;
    }
    if (line->opcode < CLOSE) {
        if (*server.ping || *server.answer) read_pieces(line, at, at + size);
        memcpy(at - line->kept_bytes, line->kept, line->kept_bytes);
        find_marks(line, at - line->kept_bytes, at + size, now);
    }
    line->left -= size;
    if (!line->left) end_frame(line);
    return at + size;
}

void line_read(struct line *line)
{
    static char memory[MARKED_BYTES + BUFFER_BYTES];
    char *at = memory + MARKED_BYTES;
    ssize_t got = recv(line->socket, at, BUFFER_BYTES, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (line->stage != LEAVING) fail("line %d: the server has hung up", line->number);
        line->stage = GONE;
        return;
    }
    const char *end = at + got;
    long long now = now_ns();
    line->bytes += got;
    if (line->stage == HANDSHAKE) at = (char *)read_answer(line, at, end);
    while (at < end) {
        if (!line->in_frame) at = (char *)read_header(line, at, end);
        if (line->in_frame) at = (char *)read_payload(line, at, end, now);
    }
}
