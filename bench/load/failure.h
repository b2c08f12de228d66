/* The one way a run ends early: a sentence on stderr, and exit code 2. */
#ifndef FAILURE_H
#define FAILURE_H

void fail(const char *sentence, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
