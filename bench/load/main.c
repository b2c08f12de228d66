/* load: opens many WebSocket lines to one server, publishes through the first of them, and counts what arrives. Or lets
 * each line ask, and counts the answers.
 *
 * One thread, one epoll. At most `window` messages are in flight: the next is sent when every line has heard the oldest.
 * A payload carries a mark and the time it was sent, so a delivery is counted and timed however the server frames or
 * batches; every line has to hear every message once and in order. Of commands each line has at most `window` in flight,
 * each a frame and a send of its own; they are numbered, and answered one by one in that order. CPU is read while the server rests: before the lines
 * are opened, once they are, and once all is delivered, so nothing is charged to the wrong part and nothing is missed.
 *
 * It prints one line of JSON. Exit code: 0 when all was delivered, 1 when deliveries are missing, 2 when the run failed,
 * with the reason on stderr.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "failure.h"
#include "line.h"
#include "process.h"
#include "tally.h"

#define READY 1024
#define MESSAGE_BYTES 49152
#define FILL_BYTES 32768
#define FILL_MESSAGES 64 /* 2 MiB: about what the kernel takes for one connection */
#define FILL_MOST 256
#define FILL_LOOK 4
#define FROZEN_RECEIVE_BYTES 2048
#define REST_NS 100000000LL
#define REST_SHARE 0.05

/* One more line, which counts for nothing: it reads all the same, or is frozen and never does. */
enum extra { NONE, READING, FROZEN };

static struct options {
    int lines, at_once, window, payload_bytes;
    long messages;
    const char *publish, *ask;
    enum extra extra;
    int hold;
    double stall_seconds;
} options = {
    .lines = 100, .at_once = 16, .window = 1, .payload_bytes = 64, .publish = "%s", .ask = "", .stall_seconds = 10};

static struct line *line, *extra; /* line[0] publishes; the extra one comes behind the last */
static int poller, opened, gone;

/* --- the loop ---------------------------------------------------------------------------------------------------- */

static void watch(struct line *one)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->socket, &event)) fail("line %d cannot be watched", one->number);
}

static void hang_up(struct line *one)
{
    close(one->socket);
    one->stage = GONE;
    gone++;
}

/* Ask until as many commands are in flight as may be. */
static void ask(struct line *one)
{
    while (one->asked < options.messages && one->asked - one->heard < options.window) line_ask(one, options.ask);
}

/* Read what there is, or wait for it. */
static void serve(int wait_ms)
{
    static struct epoll_event ready[READY];
    int some = epoll_wait(poller, ready, READY, wait_ms);
    for (int i = 0; i < some; i++) {
        struct line *one = ready[i].data.ptr;
        enum stage before = one->stage;
        line_read(one);
        if (one->asked) ask(one);
        if (before < OPEN && one->stage == OPEN) opened++;
        if (one->stage == GONE) hang_up(one);
    }
}

/* Wait until the server rests: it has used under a twentieth of a core for a tenth of a second. */
static void rest(double limit_seconds)
{
    long long start = now_ns(), since = start;
    double before = process_cpu_seconds();
    while ((now_ns() - start) / 1e9 < limit_seconds) {
        serve(20);
        if (now_ns() - since < REST_NS) continue;
        double used = process_cpu_seconds() - before;
        if (used / ((now_ns() - since) / 1e9) < REST_SHARE) return;
        before += used;
        since = now_ns();
    }
}

/* Dial lines from one to before another, and wait until all are open. */
static void open_lines(int from, int to)
{
    int dialed = from, first = opened;
    long long progress = now_ns();
    while (opened - first < to - from) {
        while (dialed < to && dialed - from - (opened - first) < options.at_once) {
            int frozen = dialed == options.lines && options.extra == FROZEN;
            line_dial(&line[dialed], dialed, frozen ? FROZEN_RECEIVE_BYTES : 0);
            watch(&line[dialed++]);
        }
        int before = opened;
        serve(20);
        if (opened > before) progress = now_ns();
        if ((now_ns() - progress) / 1e9 < options.stall_seconds) continue;
        for (int i = from; i < dialed; i++)
            if (line[i].stage < OPEN) fail("line %d does not open; it last heard %.200s", i, line[i].head);
    }
}

/* --- the load ---------------------------------------------------------------------------------------------------- */

static void publish(int payload_bytes)
{
    static char message[MESSAGE_BYTES];
    const char *gap = strstr(options.publish, "%s");
    size_t before = gap - options.publish, after = strlen(gap + 2), size = before + payload_bytes + after;
    if (size > sizeof message) fail("a message of %zu bytes is too long", size);
    memcpy(message, options.publish, before);
    memset(message + before, 'x', payload_bytes);
    memcpy(message + before + payload_bytes, gap + 2, after);
    tally_stamp(message + before);
    line_say(&line[0], message, size);
}

/* Publish so many messages to so many lines; the seconds until the last delivery. Deliveries that have not come when
 * nothing has come for a while are missing. */
static double load(long messages, int window, int lines, int payload_bytes)
{
    for (int i = 0; i < lines; i++) line[i].heard = 0;
    tally_begin(messages, lines);
    long long start = now_ns(), progress = start;
    while (tally.done < messages) {
        while (tally.sent < messages && tally.sent - tally.done < window) publish(payload_bytes);
        long before = tally.deliveries;
        serve(20);
        if (tally.deliveries > before) progress = now_ns();
        if ((now_ns() - progress) / 1e9 > options.stall_seconds) break;
    }
    return (progress - start) / 1e9;
}

/* Let every line ask so many commands; the seconds until the last answer. */
static double load_commands(void)
{
    tally_begin(options.messages, options.lines);
    long long start = now_ns(), progress = start;
    for (int i = 0; i < options.lines; i++) ask(&line[i]);
    while (tally.deliveries < options.messages * options.lines) {
        long before = tally.deliveries;
        serve(20);
        if (tally.deliveries > before) progress = now_ns();
        if ((now_ns() - progress) / 1e9 > options.stall_seconds) break;
    }
    return (progress - start) / 1e9;
}

/* Open the extra line and publish to it until the kernel takes no more for it, so that the server has to keep what
 * follows. Where it reads, about the same is published, and nothing is kept. The bytes in the kernel. */
static long fill(void)
{
    int frozen = options.extra == FROZEN;
    open_lines(options.lines, options.lines + 1);
    extra->counts = 0;
    if (frozen) epoll_ctl(poller, EPOLL_CTL_DEL, extra->socket, NULL);

    long unsent = 0;
    for (int i = 1; i <= (frozen ? FILL_MOST : FILL_MESSAGES); i++) {
        load(1, 1, 1, FILL_BYTES);
        if (!tally.done) break; /* the server waits for the frozen line, and all others with it */
        if (!frozen || i % FILL_LOOK) continue;
        serve(2);
        long now = process_unsent_bytes(server.port, line_port(extra));
        if (now < 0 || (now > 0 && now == unsent)) break;
        unsent = now;
    }
    return unsent;
}

/* --- the run ----------------------------------------------------------------------------------------------------- */

static double own_cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static long long bytes_read(void)
{
    long long total = 0;
    for (int i = 0; i < options.lines; i++) total += line[i].bytes;
    return total;
}

/* Open everything and say what a line costs. */
static void run_lines(void)
{
    rest(10);
    int from = 0;
    if (options.extra) {
        open_lines(0, 1);
        from = 1;
        printf("\"filled_bytes\":%ld,", fill());
        rest(10);
    }
    double kib = process_resident_kib(), cpu = process_cpu_seconds();
    long long start = now_ns();
    open_lines(from, options.lines);
    double seconds = (now_ns() - start) / 1e9;
    rest(3);
    cpu = process_cpu_seconds() - cpu;
    kib = process_resident_kib() - kib;
    double count = options.lines > from ? options.lines - from : 1;
    printf("\"lines\":%d,\"open_seconds\":%.3f,\"open_us\":%.3f,\"kib\":%.3f", options.lines, seconds, cpu * 1e6 / count,
           kib / count);
}

/* Publish, or ask, and say what a delivery or an answer costs. */
static void run_load(void)
{
    long long bytes = bytes_read();
    double cpu = process_cpu_seconds(), own = own_cpu_seconds();
    double seconds = *options.ask ? load_commands()
                                  : load(options.messages, options.window, options.lines, options.payload_bytes);
    own = own_cpu_seconds() - own;
    double busy = process_cpu_seconds() - cpu;
    rest(3);
    cpu = process_cpu_seconds() - cpu;
    bytes = bytes_read() - bytes;
    tally_sort();
    long expected = options.messages * options.lines;
    double each = tally.deliveries ? tally.deliveries : 1;
    printf(",\"messages\":%ld,\"window\":%d,\"deliveries\":%ld,\"missing\":%ld,\"seconds\":%.4f,\"per_second\":%.0f",
           options.messages, options.window, tally.deliveries, expected - tally.deliveries, seconds,
           seconds > 0 ? tally.deliveries / seconds : 0);
    printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"cpu_us\":%.4f,\"bytes\":%.1f", tally_quantile(0.5), tally_quantile(0.99),
           cpu * 1e6 / each, bytes / each);
    printf(",\"server_share\":%.3f,\"generator_share\":%.3f", seconds > 0 ? busy / seconds : 0,
           seconds > 0 ? own / seconds : 0);
    if (options.extra == FROZEN)
        printf(",\"held\":%s", process_unsent_bytes(server.port, line_port(extra)) > 0 ? "true" : "false");
}

/* Keep the lines open until stdin ends. */
static void hold(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&input, 1, 0) == 0) serve(20);
}

/* Let every line go and give the server the time for it. */
static void farewell(void)
{
    int all = options.lines + (options.extra == READING);
    long long start = now_ns();
    for (int i = 0; i < all; i++) line_leave(&line[i]);
    while (gone < all && now_ns() - start < 3000000000LL) serve(20);
    if (options.extra == FROZEN) close(extra->socket);
    for (int i = 0; i < all; i++)
        if (line[i].stage != GONE) hang_up(&line[i]);
    rest(10);
}

/* --- the options ------------------------------------------------------------------------------------------------- */

static void read_step(int say, const char *text)
{
    int new = say || !server.steps || *server.step[server.steps - 1].hear;
    if (new && server.steps == MOST_STEPS) fail("more than %d steps", MOST_STEPS);
    if (new) server.step[server.steps++] = (struct step){"", ""};
    struct step *last = &server.step[server.steps - 1];
    if (say)
        last->say = text;
    else
        last->hear = text;
}

static void read_option(int letter, const char *text)
{
    switch (letter) {
    case 'p': server.port = atoi(text); break;
    case 'u': server.path = text; break;
    case 's': read_step(1, text); break;
    case 'h': read_step(0, text); break;
    case 'i': server.ping = text; break;
    case 'o': server.pong = text; break;
    case 'c': process_add(atoi(text)); break;
    case 'l': options.lines = atoi(text); break;
    case 'a': options.at_once = atoi(text); break;
    case 'm': options.messages = atol(text); break;
    case 'w': options.window = atoi(text); break;
    case 'b': options.payload_bytes = atoi(text); break;
    case 't': options.publish = text; break;
    case 'q': options.ask = text; break;
    case 'r': server.answer = text; break;
    case 'k': options.hold = 1; break;
    case 'd': server.publish_port = atoi(text); break;
    case 'n': server.rooms = atoi(text); break;
    case 'x': options.extra = strcmp(text, "frozen") ? READING : FROZEN; break;
    case 'f': options.stall_seconds = atof(text); break;
    default: exit(2);
    }
}

static void read_options(int count, char **word)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},    {"path", 1, NULL, 'u'},   {"say", 1, NULL, 's'},     {"hear", 1, NULL, 'h'},
        {"ping", 1, NULL, 'i'},    {"pong", 1, NULL, 'o'},   {"process", 1, NULL, 'c'}, {"lines", 1, NULL, 'l'},
        {"at-once", 1, NULL, 'a'}, {"messages", 1, NULL, 'm'}, {"window", 1, NULL, 'w'}, {"payload", 1, NULL, 'b'},
        {"publish", 1, NULL, 't'}, {"extra", 1, NULL, 'x'},  {"stall", 1, NULL, 'f'},   {"ask", 1, NULL, 'q'},
        {"answer", 1, NULL, 'r'},  {"hold", 0, NULL, 'k'},   {"rooms", 1, NULL, 'n'},
        {"publish-port", 1, NULL, 'd'}, {NULL, 0, NULL, 0},
    };
    server.path = server.ping = server.pong = server.answer = "";
    server.rooms = 1;
    for (int letter; (letter = getopt_long(count, word, "", known, NULL)) != -1;) read_option(letter, optarg);
    if (!server.port || options.lines < 1 || options.at_once < 1 || options.window < 1 || server.rooms < 1)
        fail("a port, lines, rooms, and something at once and in flight are needed");
    if (options.payload_bytes < MARKED_BYTES) fail("a payload has %d bytes at least", MARKED_BYTES);
    if (!strstr(options.publish, "%s")) fail("what is published has to hold %%s, for the payload");
    if (strlen(server.ping) >= PIECE_BYTES) fail("a ping of more than %d bytes", PIECE_BYTES - 1);
    if (*options.ask && !(strchr(options.ask, '#') && strchr(server.answer, '#')))
        fail("what is asked has to hold '#', for its number, and so has the answer");
    if (*options.ask && options.window > MOST_IN_FLIGHT) fail("more than %d commands in flight", MOST_IN_FLIGHT);
}

int main(int count, char **word)
{
    read_options(count, word);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    line = calloc(options.lines + 1, sizeof *line);
    extra = &line[options.lines];
    poller = epoll_create1(0);

    putchar('{');
    run_lines();
    if (options.messages) run_load();
    puts("}");
    fflush(stdout);
    if (options.hold) hold();
    farewell();
    return options.messages && tally.deliveries < options.messages * options.lines;
}
