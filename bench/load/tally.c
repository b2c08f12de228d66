#define _GNU_SOURCE
#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "failure.h"

struct tally tally;

/* Per message. */
static int *lacking; /* lines that have not heard it */
static long long *sent_at;
static char (*stamp_text)[STAMP_BYTES + 1];
/* Per delivery. */
static uint32_t *delay_us;

long long now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void *room(size_t count, size_t size)
{
    void *memory = calloc(count + 1, size);
    if (!memory) fail("no memory for %zu x %zu bytes", count, size);
    return memory;
}

void tally_begin(long messages, int lines)
{
    free(lacking);
    free(sent_at);
    free(stamp_text);
    free(delay_us);
    tally = (struct tally){.messages = messages, .lines = lines};
    lacking = room(messages, sizeof *lacking);
    sent_at = room(messages, sizeof *sent_at);
    stamp_text = room(messages, sizeof *stamp_text);
    delay_us = room(messages * lines, sizeof *delay_us);
    /* Not while it is measured: the kernel gives pages at their first use. */
    memset(delay_us, 1, messages * lines * sizeof *delay_us);
}

void tally_stamp(char *payload)
{
    long message = tally.sent++;
    long long now = now_ns();
    if (message && now <= sent_at[message - 1]) now = sent_at[message - 1] + 1;
    sent_at[message] = now;
    lacking[message] = tally.lines;
    snprintf(stamp_text[message], sizeof stamp_text[message], "%0*lld", STAMP_BYTES, now);
    memcpy(payload, MARK, MARK_BYTES);
    memcpy(payload + MARK_BYTES, stamp_text[message], STAMP_BYTES);
}

void tally_heard(struct line *line, const char *stamp, long long now)
{
    long message = line->heard++;
    if (message >= tally.sent) fail("line %d has heard more than was said", line->number);
    if (memcmp(stamp, stamp_text[message], STAMP_BYTES))
        fail("line %d: message %ld should be %s and is %.19s", line->number, message, stamp_text[message], stamp);
    tally.deliveries++;
    if (line->number || !server.publish_port) delay_us[tally.timed++] = (uint32_t)((now - sent_at[message]) / 1000);
    lacking[message]--;
    while (tally.done < tally.sent && !lacking[tally.done]) tally.done++;
}

void tally_asked(struct line *line)
{
    line->asked_at[line->asked++ % MOST_IN_FLIGHT] = now_ns();
    tally.sent++;
}

void tally_answered(struct line *line)
{
    long long asked_at = line->asked_at[line->heard++ % MOST_IN_FLIGHT];
    tally.deliveries++;
    delay_us[tally.timed++] = (uint32_t)((now_ns() - asked_at) / 1000);
}

static int by_size(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

void tally_sort(void)
{
    qsort(delay_us, tally.timed, sizeof *delay_us, by_size);
}

double tally_quantile(double part)
{
    return tally.timed ? delay_us[(long)((tally.timed - 1) * part)] / 1e3 : 0;
}
