#include "story.h"

#include "../src/pump.h"
#include "fakes.h"

static void write_event(bytes *to, int64_t kind, const uint8_t *data, size_t len, int64_t a, int64_t b)
{
    bytes_number(to, kind);
    bytes_number(to, a);
    bytes_number(to, b);
    bytes_number(to, (int64_t)len);
    bytes_add(to, data, len);
}

static void close_run(story *s, size_t t)
{
    if (s->deltas[t] > 0) {
        write_event(&s->own[t], DB_EV_RUN, s->run[t].data, s->run[t].len, s->deltas[t], s->text_bytes[t]);
    }
    s->run[t].len = 0;
    s->deltas[t] = 0;
    s->text_bytes[t] = 0;
}

void story_event(story *s, int64_t kind, int64_t ticket, const uint8_t *data, size_t len, int64_t a, int64_t b)
{
    size_t t = (size_t)ticket;
    if (kind == DB_EV_PING || kind == DB_EV_PONG) {
        write_event(&s->control, kind, data, len, a, b);
        return;
    }
    if (kind == DB_EV_MESSAGE || kind == DB_EV_CLOSE || kind == DB_EV_FATAL) {
        story_end(s);
        write_event(&s->told, kind, data, len, a, b);
        return;
    }
    if (ticket < 0 || t >= STORY_TICKETS) {
        fail("an event of an attempt has no such ticket");
    }
    if (kind == DB_EV_RUN) {
        bytes_add(&s->run[t], data, len);
        s->deltas[t] += a;
        s->text_bytes[t] += b;
        return;
    }
    close_run(s, t);
    write_event(&s->own[t], kind, data, len, a, b);
}

void story_end(story *s)
{
    size_t t;
    for (t = 0; t < STORY_TICKETS; t++) {
        close_run(s, t);
        bytes_number(&s->told, (int64_t)t);
        bytes_add(&s->told, s->own[t].data, s->own[t].len);
        s->own[t].len = 0;
    }
    bytes_add(&s->told, s->control.data, s->control.len);
    s->control.len = 0;
}

void story_free(story *s)
{
    size_t t;
    for (t = 0; t < STORY_TICKETS; t++) {
        bytes_free(&s->own[t]);
        bytes_free(&s->run[t]);
    }
    bytes_free(&s->told);
    bytes_free(&s->control);
}
