#include "wires.h"

#include <stdio.h>
#include <sys/types.h>

#include "fakes.h"

#define FIRST_FD 100
#define FIRST_OWN_FD 1000

static wires *now;

static wire *wire_of(int fd)
{
    wire *w;
    if (fd < FIRST_OWN_FD || fd >= FIRST_OWN_FD + STORY_TICKETS) {
        fail("a descriptor that is not the spout's own was used");
    }
    w = &now->of[fd - FIRST_OWN_FD];
    if (w->descriptors != 1) {
        fail("a closed descriptor was used");
    }
    return w;
}

int db_test_dup(int fd)
{
    if (fd < FIRST_FD) {
        return -1;
    }
    now->of[fd - FIRST_FD].descriptors++;
    return fd - FIRST_FD + FIRST_OWN_FD;
}

void db_test_close(int fd) { wire_of(fd)->descriptors--; }

/* One chunk: a size in lower-case hex without leading zeros, and just as many bytes. */
static void check_chunk(const char *data, size_t len, size_t *start, size_t *size)
{
    char head[16];
    const char *end = memchr(data, '\n', len);
    *start = end == NULL ? 0 : (size_t)(end - data) + 1;
    *size = strtoul(data, NULL, 16);
    snprintf(head, sizeof head, "%zx\r\n", *size);
    if (*size == 0 || *size > DB_MAX_WRITE_BYTES || *start != strlen(head) || memcmp(data, head, *start) != 0 ||
        len != *start + *size + 2 || memcmp(data + len - 2, "\r\n", 2) != 0) {
        fail("what was sent is not one chunk");
    }
}

ssize_t db_test_send(int fd, const void *data, size_t len)
{
    wire *w = wire_of(fd);
    size_t start, size, taken = len;
    if (w->waiting) {
        fail("a send overtook a rest");
    }
    check_chunk(data, len, &start, &size);
    story_event(now->told, DB_EV_RUN, fd - FIRST_OWN_FD, (const uint8_t *)data + start, size, 0, 0);
    bytes_add(&w->sent_runs, data, len);
    if (rng_one_in(&now->luck, 8)) {
        taken = rng_below(&now->luck, len);
    }
    bytes_add(&w->wire, data, taken);
    w->waiting = taken < len;
    return taken == 0 && rng_one_in(&now->luck, 2) ? -1 : (ssize_t)taken;
}

void wires_begin(wires *w, story *told, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->luck.state = seed;
    w->told = told;
    now = w;
    if (db_spout_new(FIRST_FD - 1) != NULL) {
        fail("a spout without a descriptor was made");
    }
}

void wires_turn(wires *w, db_pump *p, const char *id, int64_t ticket)
{
    wire *one = &w->of[ticket];
    if (one->spout == NULL) {
        one->spout = db_spout_new(FIRST_FD + (int)ticket);
        if (one->spout != NULL) {
            one->spout->open = 1;
            db_pump_set_spout(p, (const uint8_t *)id, strlen(id), one->spout);
        }
        return;
    }
    switch (rng_below(&w->luck, 8)) {
    case 0:
        db_spout_close(one->spout);
        break;
    case 1:
        db_pump_set_spout(p, (const uint8_t *)id, strlen(id), NULL);
        wires_drop(w, ticket);
        break;
    case 2:
        one->spout->open = 0;
        break;
    default:
        one->spout->open = 1;
        break;
    }
}

void wires_count(wires *w)
{
    size_t t;
    for (t = 0; t < STORY_TICKETS; t++) {
        wire *one = &w->of[t];
        if (one->spout == NULL) {
            continue;
        }
        w->told->deltas[t] += one->spout->deltas - one->deltas;
        w->told->text_bytes[t] += one->spout->text_bytes - one->text_bytes;
        one->deltas = one->spout->deltas;
        one->text_bytes = one->spout->text_bytes;
    }
}

void wires_stuck(wires *w, int64_t ticket)
{
    wire *one = &w->of[ticket];
    db_spout *s = one->spout;
    if (s == NULL || !s->stuck || s->open || db_spout_rest_len(s) == 0) {
        fail("a spout that is not stuck was said to be");
    }
    bytes_add(&one->wire, db_spout_rest(s), db_spout_rest_len(s));
    db_spout_forget_rest(s);
    one->waiting = 0;
    s->open = !rng_one_in(&w->luck, 3);
}

void wires_drop(wires *w, int64_t ticket)
{
    wire *one = &w->of[ticket];
    one->deltas = one->text_bytes = 0;
    db_spout_free(one->spout);
    one->spout = NULL;
    one->waiting = 0;
}

void wires_end(wires *w, int out_of_memory)
{
    int64_t t;
    for (t = 0; t < STORY_TICKETS; t++) {
        wire *one = &w->of[t];
        wires_drop(w, t);
        if (one->descriptors != 0) {
            fail("a descriptor was not given back");
        }
        if (!out_of_memory && !bytes_same(&one->sent_runs, &one->wire)) {
            fail("what left is not what was written");
        }
        bytes_free(&one->sent_runs);
        bytes_free(&one->wire);
    }
}
