/* The tally of a load: which line has heard which message, or how many answers, and how late. */
#ifndef TALLY_H
#define TALLY_H

#include "line.h"

struct tally {
    long messages, sent, done; /* done: heard by every line */
    int lines;
    long deliveries; /* or answers, where lines ask */
    long timed;      /* of these */
};

extern struct tally tally;

long long now_ns(void);

/* Begin a load of so many messages to so many lines. */
void tally_begin(long messages, int lines);

/* Write the mark and the time of the next message, MARKED_BYTES of them. */
void tally_stamp(char *payload);

/* Count a delivery. Every line has to hear every message once, in order: anything else ends the run. */
void tally_heard(struct line *line, const char *stamp, long long now);

/* Note that a line asks now, and count the answer to its oldest command. */
void tally_asked(struct line *line);
void tally_answered(struct line *line);

/* The latency in ms below which this part of the deliveries were; tally_sort has to come first. */
double tally_quantile(double part);
void tally_sort(void);

#endif
