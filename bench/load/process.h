/* What the server's processes have used, as /proc tells it. */
#ifndef PROCESS_H
#define PROCESS_H

/* Name one more process to be counted. */
void process_add(int id);

/* Seconds of CPU so far, user and system, of every thread of the processes, to the nanosecond. A thread that ended
 * since the last call would take its time with it: then the run fails. */
double process_cpu_seconds(void);

/* Resident memory in KiB. */
double process_resident_kib(void);

/* Bytes the kernel still holds on the way from one port of this machine to another; -1 where there is no such
 * connection, or it is being closed. */
long process_unsent_bytes(int from_port, int to_port);

#endif
