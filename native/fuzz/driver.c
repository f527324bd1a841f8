/* Fuzzes the C code without Python: random scripts for the pump against a simple model, and every cut against another.

   driver [--seconds N] [--seed S] [--case C] [--corpus FILE]: C runs that one case; otherwise cases run until the time
   is over. The corpus is a row of texts, each behind its length in four little-endian bytes; the scanners first get
   every prefix of every text. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../src/base.h"
#include "../src/pump.h"
#include "fakes.h"
#include "parts.h"
#include "script.h"
#include "wires.h"

typedef struct {
    db_pump *pump;
    int out_of_memory;
    int over; /* a close or fatal event was told */
    story told;
    wires wires;
} player;

static void take_events(player *p, int64_t count)
{
    const db_view *v = db_pump_view(p->pump);
    int64_t i;
    if (count > DB_EVENT_LIMIT) {
        fail("more events than the limit");
    }
    for (i = 0; i < count; i++) {
        const int64_t *e = v->words + 6 * i;
        if (p->over) {
            fail("an event after the end");
        }
        if (e[2] > e[3] || (e[0] == DB_EV_RUN && (e[4] < 1 || e[2] == e[3]))) {
            fail("an event that cannot be");
        }
        if (e[0] == DB_EV_STUCK) {
            wires_stuck(&p->wires, e[1]);
            continue;
        }
        p->over = e[0] == DB_EV_CLOSE || e[0] == DB_EV_FATAL;
        story_event(&p->told, e[0], e[1], e[3] > e[2] ? (const uint8_t *)v->payload + e[2] : NULL, (size_t)(e[3] - e[2]), e[4], e[5]);
    }
}

static void feed(player *p, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    size_t offset = 0;
    int64_t got;
    if (len > 0) {
        memcpy(copy, data, len);
    }
    for (;;) {
        got = db_pump_feed(p->pump, copy, len, offset, 1.0);
        wires_count(&p->wires);
        if (got < 0) {
            p->out_of_memory = 1;
            break;
        }
        take_events(p, got & (DB_MORE - 1));
        if (got < DB_MORE) {
            break;
        }
        offset = db_pump_view(p->pump)->consumed;
    }
    free(copy);
}

/* Feeds the bytes in pieces of 1 to `longest` bytes, or at once. */
static void feed_cut(player *p, const bytes *data, rng *r, size_t longest)
{
    size_t at = 0;
    while (at < data->len && !p->out_of_memory) {
        size_t piece = longest == 0 ? data->len : 1 + rng_below(r, longest);
        piece = piece < data->len - at ? piece : data->len - at;
        feed(p, data->data + at, piece);
        at += piece;
    }
}

static void set_template(player *p, const step *t, const char *name)
{
    const model_template *m;
    bytes parts = {0};
    if (t->form < 0) {
        db_pump_set_template(p->pump, (const uint8_t *)name, strlen(name), NULL, 0, 0, 0, 0);
        return;
    }
    m = &script_templates[t->form];
    bytes_text(&parts, m->in_prefix);
    bytes_text(&parts, m->in_suffix);
    bytes_text(&parts, m->out_prefix);
    bytes_text(&parts, m->out_suffix);
    if (db_pump_set_template(p->pump, (const uint8_t *)name, strlen(name), parts.data, strlen(m->in_prefix),
                             strlen(m->in_suffix), strlen(m->out_prefix), strlen(m->out_suffix)) != 0) {
        p->out_of_memory = 1;
    }
    bytes_free(&parts);
}

static void act(player *p, const step *t)
{
    const char *name = script_id(t->id);
    uint8_t key[32];
    if (t->kind == STEP_ATTACH) {
        int rc;
        fake_key(key, t->id);
        rc = db_pump_attach(p->pump, (const uint8_t *)name, strlen(name), key, t->ticket, t->opaque);
        if (rc < 0) {
            p->out_of_memory = 1;
        } else if (rc > 0 || db_pump_attach(p->pump, (const uint8_t *)name, strlen(name), key, 0, 0) != 1) {
            fail("an id can be attached exactly once");
        }
    } else if (t->kind == STEP_DETACH) {
        if (db_pump_detach(p->pump, (const uint8_t *)name, strlen(name)) < 0 && !p->out_of_memory) {
            fail("an attached id was not found");
        }
        wires_drop(&p->wires, t->ticket);
    } else {
        set_template(p, t, name);
    }
    if (t->spout) {
        wires_turn(&p->wires, p->pump, name, t->ticket);
    }
}

/* Detaches everything and looks for what should be gone. */
static void finish(player *p)
{
    unsigned id;
    for (id = 0; id < SCRIPT_IDS; id++) {
        const char *name = script_id(id);
        db_pump_detach(p->pump, (const uint8_t *)name, strlen(name));
        if (db_pump_detach(p->pump, (const uint8_t *)name, strlen(name)) >= 0) {
            fail("a detached id is still there");
        }
    }
    wires_end(&p->wires, p->out_of_memory);
    fakes_check_living("a secret outlived its attempt");
    db_pump_close(p->pump);
    if (db_pump_memory(p->pump) >= 1024 || db_pump_feed(p->pump, (const uint8_t *)"\x89\x80mask", 6, 0, 0.0) != 0) {
        fail("a closed pump is not empty and deaf");
    }
    db_pump_free(p->pump);
    if (fakes_living() != 0) {
        fail("memory was not given back");
    }
    story_end(&p->told);
}

static void play(player *p, const script *s, rng *r, size_t longest, unsigned failing_allocation)
{
    size_t i;
    memset(p, 0, sizeof *p);
    wires_begin(&p->wires, &p->told, rng_next(r));
    p->pump = db_pump_new(SCRIPT_MAX_MESSAGE, s->masked);
    db_pump_set_peer_key(p->pump, (const uint8_t *)SCRIPT_PEER, strlen(SCRIPT_PEER));
    fakes_fail_allocation(failing_allocation);
    for (i = 0; i < s->count; i++) {
        if (s->steps[i].kind == STEP_FEED) {
            feed_cut(p, &s->steps[i].data, r, longest);
            if (!p->out_of_memory && rng_one_in(r, 3)) {
                db_pump_trim(p->pump);
            }
        } else {
            act(p, &s->steps[i]);
        }
    }
    fakes_fail_allocation(0);
    finish(p);
}

static void run_case(uint64_t seed, uint64_t number)
{
    rng r = {seed * 0x100000001b3ULL + number};
    script s;
    player whole, cut;
    fail_seed = seed;
    fail_case = number;
    parts_check(&r);
    script_build(&s, &r);
    if (rng_one_in(&r, 3)) {
        script_mutate(&s, &r);
    }
    play(&whole, &s, &r, 0, 0);
    play(&cut, &s, &r, rng_one_in(&r, 2) ? 1 + rng_below(&r, 8) : 1 + rng_below(&r, 4000), 0);
    if (!bytes_same(&whole.told.told, &cut.told.told)) {
        fail("another cut of the input tells another story");
    }
    if (s.has_oracle && !bytes_same(&whole.told.told, &s.expected.told)) {
        fail("the pump tells another story than the model");
    }
    story_free(&whole.told);
    story_free(&cut.told);
    if (rng_one_in(&r, 4)) {
        play(&cut, &s, &r, 1 + rng_below(&r, 4000), 1 + (unsigned)rng_below(&r, 30));
        story_free(&cut.told);
    }
    script_free(&s);
    parts_check_box(&r);
}

static void run_corpus(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t head[4];
    if (file == NULL) {
        fail("the corpus cannot be read");
    }
    while (fread(head, 1, 4, file) == 4) {
        size_t len = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        uint8_t *text = malloc(len + 1);
        if (fread(text, 1, len, file) != len) {
            fail("the corpus ends in the middle of a text");
        }
        parts_check_prefixes(text, len, 1);
        free(text);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    uint64_t seconds = 10, seed = 1, number = 0, one = UINT64_MAX;
    const char *corpus = NULL;
    time_t began = time(NULL);
    int i;
    fakes_install();
    for (i = 1; i + 1 < argc; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seconds") == 0) {
            seconds = value;
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = value;
        } else if (strcmp(argv[i], "--case") == 0) {
            one = value;
        } else if (strcmp(argv[i], "--corpus") == 0) {
            corpus = argv[i + 1];
        }
    }
    if (corpus != NULL) {
        run_corpus(corpus);
    }
    if (one != UINT64_MAX) {
        run_case(seed, one);
        number = 1;
    } else {
        while (number % 64 != 0 || (uint64_t)(time(NULL) - began) < seconds) {
            run_case(seed, number++);
        }
    }
    printf("%" PRIu64 " cases without a fault (seed %" PRIu64 ")\n", number, seed);
    return 0;
}
