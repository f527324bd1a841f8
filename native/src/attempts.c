#include "attempts.h"

#include "crypto.h"

#define SMALLEST 8

static size_t hash(const uint8_t *id, size_t len)
{
    uint64_t h = 0x9e3779b97f4a7c15ULL ^ len;
    uint64_t last = 0;
    for (; len >= 8; id += 8, len -= 8) {
        h = (h ^ db_load64(id)) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    if (len > 0) {
        memcpy(&last, id, len);
    }
    h = (h ^ last) * 0xc4ceb9fe1a85ec53ULL;
    return (size_t)(h ^ h >> 29);
}

/* The slot that holds the id, or the empty one where it would go. The table is never full. */
static size_t slot_of(const db_attempts *a, const uint8_t *id, size_t len)
{
    size_t i = hash(id, len) & (a->cap - 1);
    while (a->slots[i] != NULL && (a->slots[i]->id_len != len || memcmp(a->slots[i]->id, id, len) != 0)) {
        i = (i + 1) & (a->cap - 1);
    }
    return i;
}

db_attempt *db_attempts_find(const db_attempts *a, const uint8_t *id, size_t len)
{
    return a->count == 0 || len == 0 || len > DB_MAX_ID_BYTES ? NULL : a->slots[slot_of(a, id, len)];
}

/* Keeps the table at most half full, so that probes stay short. */
static int make_room(db_attempts *a)
{
    db_attempts bigger = {NULL, a->cap == 0 ? SMALLEST : a->cap * 2, a->count};
    size_t i;
    if ((a->count + 1) * 2 <= a->cap) {
        return 0;
    }
    bigger.slots = DB_ALLOC(bigger.cap * sizeof *bigger.slots);
    if (bigger.slots == NULL) {
        return -1;
    }
    for (i = 0; i < bigger.cap; i++) {
        bigger.slots[i] = NULL;
    }
    for (i = 0; i < a->cap; i++) {
        if (a->slots[i] != NULL) {
            bigger.slots[slot_of(&bigger, a->slots[i]->id, a->slots[i]->id_len)] = a->slots[i];
        }
    }
    DB_FREE(a->slots);
    *a = bigger;
    return 0;
}

db_attempt *db_attempts_add(db_attempts *a, const uint8_t *id, size_t len, const uint8_t *key)
{
    db_attempt *attempt;
    if (make_room(a) != 0 || (attempt = DB_ALLOC(sizeof *attempt + len)) == NULL) {
        return NULL;
    }
    memset(attempt, 0, sizeof *attempt);
    attempt->id_len = (uint8_t)len;
    memcpy(attempt->id, id, len);
    memcpy(attempt->key, key, DB_KEY_BYTES);
    a->slots[slot_of(a, id, len)] = attempt;
    a->count++;
    return attempt;
}

static void drop_template(db_attempt *attempt)
{
    db_template *t = attempt->template;
    if (t != NULL) {
        db_wipe(t->bytes, t->in_prefix + t->in_suffix + t->out_prefix + t->out_suffix);
        DB_FREE(t);
    }
    attempt->template = NULL;
}

void db_attempt_wipe(db_attempt *attempt)
{
    db_wipe_key(attempt->key, DB_KEY_BYTES);
    db_buffer_free(&attempt->out);
    drop_template(attempt);
}

static void destroy(db_attempt *attempt)
{
    db_attempt_wipe(attempt);
    DB_FREE(attempt);
}

void db_attempts_remove(db_attempts *a, db_attempt *attempt)
{
    size_t mask = a->cap - 1;
    size_t hole = slot_of(a, attempt->id, attempt->id_len);
    size_t i = hole;
    /* Close the gap: a later entry of the same probe chain moves into it unless its home lies behind the gap. */
    while (a->slots[i = (i + 1) & mask] != NULL) {
        size_t home = hash(a->slots[i]->id, a->slots[i]->id_len) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            a->slots[hole] = a->slots[i];
            hole = i;
        }
    }
    a->slots[hole] = NULL;
    a->count--;
    destroy(attempt);
    if (a->count == 0) {
        db_attempts_clear(a);
    }
}

void db_attempts_clear(db_attempts *a)
{
    size_t i;
    for (i = 0; i < a->cap; i++) {
        if (a->slots[i] != NULL) {
            destroy(a->slots[i]);
        }
    }
    DB_FREE(a->slots);
    a->slots = NULL;
    a->cap = 0;
    a->count = 0;
}

int db_attempt_set_template(db_attempt *attempt, const uint8_t *parts, const size_t sizes[4])
{
    size_t total;
    db_template *t;
    drop_template(attempt);
    if (parts == NULL) {
        return 0;
    }
    total = sizes[0] + sizes[1] + sizes[2] + sizes[3];
    t = DB_ALLOC(sizeof *t + total);
    if (t == NULL) {
        return -1;
    }
    t->in_prefix = sizes[0];
    t->in_suffix = sizes[1];
    t->out_prefix = sizes[2];
    t->out_suffix = sizes[3];
    if (total > 0) {
        memcpy(t->bytes, parts, total);
    }
    attempt->template = t;
    return 0;
}
