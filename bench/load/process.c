#define _GNU_SOURCE
#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"

#define MOST_PROCESSES 64
#define MOST_THREADS 1024
#define ESTABLISHED 1

static int processes, process[MOST_PROCESSES];
static int threads, thread[MOST_THREADS];

void process_add(int id)
{
    if (processes == MOST_PROCESSES) fail("more than %d processes", MOST_PROCESSES);
    process[processes++] = id;
}

/* The threads of a process, put behind those in the list; how many it holds then. */
static int list_threads(int id, int *list, int size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", id);
    DIR *folder = opendir(path);
    if (!folder) fail("the server's process %d has ended", id);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        if (size == MOST_THREADS) fail("more than %d threads", MOST_THREADS);
        list[size++] = atoi(entry->d_name);
    }
    closedir(folder);
    return size;
}

static int holds(const int *list, int size, int wanted)
{
    while (size)
        if (list[--size] == wanted) return 1;
    return 0;
}

double process_cpu_seconds(void)
{
    int now[MOST_THREADS], size = 0;
    unsigned long long total = 0;
    for (int i = 0; i < processes; i++) size = list_threads(process[i], now, size);
    for (int i = 0; i < threads; i++)
        if (!holds(now, size, thread[i])) fail("a thread of the server has ended: its CPU time is lost");
    for (int i = 0; i < size; i++) {
        /* The first number is the time on a CPU, in user and in system mode: what `stat` tells in ticks of 10 ms. */
        unsigned long long nanoseconds;
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/schedstat", now[i]);
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%llu", &nanoseconds) != 1) fail("cannot read %s", path);
        fclose(file);
        total += nanoseconds;
    }
    memcpy(thread, now, size * sizeof *now);
    threads = size;
    return total / 1e9;
}

double process_resident_kib(void)
{
    double total = 0;
    for (int i = 0; i < processes; i++) {
        /* Not `statm`: what that says may be hundreds of KiB late. */
        char path[64], text[256];
        long kib = -1;
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", process[i]);
        FILE *file = fopen(path, "r");
        while (file && kib < 0 && fgets(text, sizeof text, file)) sscanf(text, "Rss: %ld kB", &kib);
        if (kib < 0) fail("cannot read %s", path);
        fclose(file);
        total += kib;
    }
    return total;
}

long process_unsent_bytes(int from_port, int to_port)
{
    char text[512];
    long found = -1;
    /* A server may listen on IPv6 and take IPv4 there too. */
    for (int version = 0; version < 2; version++) {
        const char *path = version ? "/proc/net/tcp6" : "/proc/net/tcp";
        FILE *file = fopen(path, "r");
        if (!file && version) break;
        if (!file) fail("cannot read %s", path);
        while (fgets(text, sizeof text, file)) {
            unsigned from, to, state;
            unsigned long waiting;
            if (sscanf(text, " %*d: %*x:%x %*x:%x %x %lx", &from, &to, &state, &waiting) == 4 &&
                (int)from == from_port && (int)to == to_port && state == ESTABLISHED)
                found = waiting;
        }
        fclose(file);
    }
    return found;
}
