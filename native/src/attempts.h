/* The attached request ids of one pump: a small open-addressing hash table of attempts. */
#ifndef DB_ATTEMPTS_H
#define DB_ATTEMPTS_H

#include "buffer.h"
#include "splice.h"
#include "spout.h"

typedef struct db_attempt {
    struct db_attempt *next_run; /* the attempt whose run was opened after this one's */
    db_template *template;
    db_spout *spout; /* the caller's, who takes it out before it goes; NULL for none */
    db_buffer out;
    int64_t ticket;
    int64_t deltas;
    int64_t text_bytes;
    uint64_t told_in; /* the feed in which an event of this attempt last went up */
    uint8_t opaque;
    uint8_t spent;
    uint8_t in_run;
    uint8_t id_len;
    uint8_t key[DB_KEY_BYTES];
    uint8_t id[];
} db_attempt;

typedef struct {
    db_attempt **slots;
    size_t cap; /* a power of two, or 0 */
    size_t count;
} db_attempts;

db_attempt *db_attempts_find(const db_attempts *a, const uint8_t *id, size_t len);

/* The new attempt, or NULL without memory. The id has 1 to DB_MAX_ID_BYTES bytes and is not in the table. */
db_attempt *db_attempts_add(db_attempts *a, const uint8_t *id, size_t len, const uint8_t *key);

/* Takes the attempt out of the table, wipes it and frees it. */
void db_attempts_remove(db_attempts *a, db_attempt *attempt);

void db_attempts_clear(db_attempts *a);

/* Wipes what an attempt that has ended must not keep: key, output and template. */
void db_attempt_wipe(db_attempt *attempt);

/* Replaces the template by a copy of the parts (NULL for none); 0, or -1 without memory. */
int db_attempt_set_template(db_attempt *attempt, const uint8_t *parts, const size_t sizes[4]);

#endif
