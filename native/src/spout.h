/* The way of one attempt's runs to a consumer's socket: one HTTP/1.1 chunk a run, one send that never blocks.

   What the socket does not take at once is kept here, and the spout stays shut until the caller took it. The counters
   say what runs it accepted; the caller reads them when it needs them. */
#ifndef DB_SPOUT_H
#define DB_SPOUT_H

#include "buffer.h"

typedef struct {
    int64_t deltas;
    int64_t text_bytes;
    int64_t sent_bytes; /* what the kernel took of the framed runs */
    double written_at;  /* the time that was given with the last run */
    int open;           /* the caller lets runs through */
    int stuck;          /* `rest` waits for the caller */
    int fd;             /* a duplicate that belongs to the spout, or -1 */
    db_buffer rest;
} db_spout;

/* A shut spout with its own duplicate of fd; NULL without memory or without a descriptor. */
db_spout *db_spout_new(int fd);

/* Gives descriptor and rest back; what comes later does not pass. */
void db_spout_close(db_spout *s);

void db_spout_free(db_spout *s);

/* The rest, which the caller then forgets: `stuck` ends with it. */
const char *db_spout_rest(const db_spout *s);
size_t db_spout_rest_len(const db_spout *s);
void db_spout_forget_rest(db_spout *s);

static inline int db_spout_takes(const db_spout *s, const db_buffer *run)
{
    return s != NULL && s->open && !s->stuck && s->fd >= 0 && run->len <= DB_MAX_WRITE_BYTES;
}

/* Frames the run in its own buffer and sends it: 1 if all of it left, 0 if the spout is stuck now, -1 without memory. */
int db_spout_write(db_spout *s, db_buffer *run, int64_t deltas, int64_t text_bytes, double now);

#endif
