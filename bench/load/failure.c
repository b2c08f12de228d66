#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fail(const char *sentence, ...)
{
    va_list words;
    va_start(words, sentence);
    vfprintf(stderr, sentence, words);
    va_end(words);
    fputc('\n', stderr);
    exit(2);
}
