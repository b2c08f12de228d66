/* line: opens many WebSocket lines to one server, publishes through one more, and counts what arrives.
 *
 * One thread, one epoll. Each payload carries a mark and the time it was sent, so a delivery is counted and timed
 * however the server frames or batches. At most `window` messages are in flight: one is done when all lines have it.
 *
 *   cc -O2 -o line line.c
 *   ./line port path lines messages window hello publish [pid …]
 *
 * `hello` is sent on each line once it is open ("" for none); `publish` is the message, with one %s for the payload.
 * It prints one line of JSON: deliveries, seconds, p50_ms, p99_ms, cpu_us (user and system time of the pids for each
 * delivery), kib (resident memory of the pids for each line) and missing.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK "@t="
#define MARK_BYTES 3
#define STAMP_BYTES 19
#define PAYLOAD_BYTES 64
#define KEPT_BYTES (MARK_BYTES + STAMP_BYTES)
#define LIMIT_NS 60000000000LL

struct line {
    int socket;
    int kept;
    char rest[KEPT_BYTES]; /* the end of what was read: a mark may be cut in two */
};

static int pids, *pid;
static uint32_t *delays_us;
static long delivered;

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* CPU seconds of the servers so far. */
static double cpu_seconds(void)
{
    double ticks = 0;
    for (int i = 0; i < pids; i++) {
        char path[64], text[1024];
        snprintf(path, sizeof path, "/proc/%d/stat", pid[i]);
        FILE *file = fopen(path, "r");
        if (!file) fail(path);
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        unsigned long user, system;
        sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
        ticks += user + system;
    }
    return ticks / sysconf(_SC_CLK_TCK);
}

/* Resident KiB of the servers. */
static double resident_kib(void)
{
    double kib = 0;
    for (int i = 0; i < pids; i++) {
        char path[64];
        long total, pages = 0;
        snprintf(path, sizeof path, "/proc/%d/statm", pid[i]);
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%ld %ld", &total, &pages) != 2) fail(path);
        fclose(file);
        kib += pages * (sysconf(_SC_PAGESIZE) / 1024.0);
    }
    return kib;
}

static void send_all(int socket, const char *bytes, size_t size)
{
    while (size) {
        ssize_t sent = write(socket, bytes, size);
        if (sent < 0 && errno == EAGAIN) {
            usleep(50);
            continue;
        }
        if (sent < 0) fail("write");
        bytes += sent;
        size -= sent;
    }
}

/* One masked text frame; the mask is zero, so the payload stays as it is. */
static void send_text(int socket, const char *text)
{
    size_t size = strlen(text), head = 2;
    char *frame = malloc(size + 8);
    frame[0] = (char)0x81;
    if (size < 126) {
        frame[1] = (char)(0x80 | size);
    } else {
        frame[1] = (char)(0x80 | 126);
        frame[2] = (char)(size >> 8);
        frame[3] = (char)size;
        head = 4;
    }
    memset(frame + head, 0, 4);
    memcpy(frame + head + 4, text, size);
    send_all(socket, frame, head + 4 + size);
    free(frame);
}

static int open_line(int port, const char *path)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int line = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (line < 0 || connect(line, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    char text[2048];
    snprintf(text, sizeof text,
             "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
             path, port);
    send_all(line, text, strlen(text));
    /* A byte at a time up to the blank line: what follows it is the first frame. */
    for (int got = 0; got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4); got++)
        if (got == sizeof text || read(line, text + got, 1) != 1) fail("handshake");
    if (memcmp(text, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "handshake refused: %.60s\n", text);
        exit(1);
    }
    return line;
}

/* Count the marks that have come on a line. */
static int take(struct line *line, char *buffer, size_t size)
{
    memcpy(buffer, line->rest, line->kept);
    ssize_t got = read(line->socket, buffer + line->kept, size - line->kept - 1);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    char *at = buffer, *end = buffer + line->kept + got, *mark;
    long long now = now_ns();
    while ((mark = memmem(at, end - at, MARK, MARK_BYTES)) && mark + KEPT_BYTES <= end) {
        char stamp[STAMP_BYTES + 1] = {0};
        memcpy(stamp, mark + MARK_BYTES, STAMP_BYTES);
        delays_us[delivered++] = (uint32_t)((now - atoll(stamp)) / 1000);
        at = mark + KEPT_BYTES;
    }
    if (mark)
        at = mark;
    else if (end - at > MARK_BYTES - 1)
        at = end - (MARK_BYTES - 1);
    line->kept = (int)(end - at);
    memcpy(line->rest, at, line->kept);
    return 1;
}

static int by_size(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

int main(int count, char **word)
{
    if (count < 8) {
        fprintf(stderr, "usage: line port path lines messages window hello publish [pid ...]\n");
        return 2;
    }
    int port = atoi(word[1]), lines = atoi(word[3]), window = atoi(word[5]);
    long messages = atol(word[4]), sent = 0, expected = messages * lines;
    const char *path = word[2], *hello = word[6], *publish = word[7];
    static char buffer[1 << 20];
    pids = count - 8;
    pid = calloc(pids + 1, sizeof *pid);
    for (int i = 0; i < pids; i++) pid[i] = atoi(word[8 + i]);
    delays_us = malloc((expected + lines + 1) * sizeof *delays_us);

    double kib = resident_kib();
    struct line *line = calloc(lines, sizeof *line);
    int poll = epoll_create1(0);
    for (int i = 0; i < lines; i++) {
        line[i].socket = open_line(port, path);
        if (*hello) send_text(line[i].socket, hello);
        fcntl(line[i].socket, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &line[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, line[i].socket, &event);
    }
    struct epoll_event ready[1024];
    /* The replies to the hellos: read until nothing has come for a while. */
    for (int some; (some = epoll_wait(poll, ready, 1024, 300)) > 0;)
        for (int i = 0; i < some; i++)
            if (read(((struct line *)ready[i].data.ptr)->socket, buffer, sizeof buffer) == 0) fail("closed");
    kib = resident_kib() - kib;
    int publisher = open_line(port, path);
    if (*hello) send_text(publisher, hello);
    fcntl(publisher, F_SETFL, O_NONBLOCK);

    char payload[PAYLOAD_BYTES + 1], message[4096];
    double cpu = cpu_seconds();
    long long start = now_ns();
    while (delivered < expected && now_ns() - start < LIMIT_NS) {
        for (; sent < messages && sent - delivered / lines < window; sent++) {
            int size = snprintf(payload, sizeof payload, MARK "%019lld", now_ns());
            memset(payload + size, 'x', PAYLOAD_BYTES - size);
            payload[PAYLOAD_BYTES] = 0;
            snprintf(message, sizeof message, publish, payload);
            send_text(publisher, message);
        }
        int some = epoll_wait(poll, ready, 1024, 20);
        for (int i = 0; i < some; i++) {
            struct line *one = ready[i].data.ptr;
            if (!take(one, buffer, sizeof buffer)) epoll_ctl(poll, EPOLL_CTL_DEL, one->socket, NULL);
        }
        while (read(publisher, buffer, sizeof buffer) > 0) continue;
    }
    double seconds = (now_ns() - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    qsort(delays_us, delivered, sizeof *delays_us, by_size);
    long last = delivered ? delivered - 1 : 0;
    printf("{\"deliveries\":%ld,\"missing\":%ld,\"seconds\":%.3f,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"cpu_us\":%.3f,\"kib\":%.2f}\n",
           delivered, expected - delivered, seconds, delivered ? delays_us[last / 2] / 1e3 : 0,
           delivered ? delays_us[(long)(last * 0.99)] / 1e3 : 0, delivered ? cpu * 1e6 / delivered : 0, kib / lines);
    return delivered == expected ? 0 : 1;
}
