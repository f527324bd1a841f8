#include "script.h"

#include <stdio.h>

#include "../src/pump.h"
#include "chunks.h"
#include "fakes.h"

const model_template script_templates[] = {
    {"data: {\"c\":\"", "\"}", "data: {\"d\":\"", "\"}\n\n"},
    {"", "", "<", ">"},
    {"data: {\"c\":\"" TEXT_MARK, "\"}", "", "\n\n"},
};
const size_t script_template_count = sizeof script_templates / sizeof *script_templates;

const char *script_id(unsigned id)
{
    static char name[SCRIPT_IDS + 1][80];
    if (name[id][0] == 0) {
        snprintf(name[id], sizeof name[id], id + 2 < SCRIPT_IDS ? "r%u" : "0b5e9c3a-7d1f/4c55-9d7e-%012u", id);
    }
    return name[id];
}

static step *add_step(script *s, step_kind kind, unsigned id)
{
    step *t = &s->steps[s->count++];
    memset(t, 0, sizeof *t);
    t->kind = kind;
    t->id = id;
    return t;
}

static void add_frame(script *s, bytes *out, rng *r, int opcode, int fin, const uint8_t *data, size_t len)
{
    uint8_t mask[4] = {0, 0, 0, 0};
    uint8_t flag = s->masked ? 0x80 : 0;
    size_t i;
    bytes_byte(out, (uint8_t)(opcode | (fin ? 0x80 : 0)));
    if (len < 126) {
        bytes_byte(out, (uint8_t)(flag | len));
    } else {
        bytes_byte(out, flag | 126);
        bytes_byte(out, (uint8_t)(len >> 8));
        bytes_byte(out, (uint8_t)len);
    }
    if (s->masked) {
        for (i = 0; i < 4; i++) {
            mask[i] = (uint8_t)rng_next(r);
        }
        bytes_add(out, mask, 4);
    }
    for (i = 0; i < len; i++) {
        bytes_byte(out, data[i] ^ mask[i & 3]);
    }
}

static void add_control(script *s, bytes *out, rng *r)
{
    uint8_t payload[125];
    size_t len = rng_one_in(r, 4) ? 125 : rng_below(r, 9), i;
    int pong = rng_one_in(r, 2);
    for (i = 0; i < len; i++) {
        payload[i] = (uint8_t)rng_next(r);
    }
    add_frame(s, out, r, pong ? 10 : 9, 1, payload, len);
    story_event(&s->expected, pong ? DB_EV_PONG : DB_EV_PING, -1, payload, len, 0, 0);
}

static void add_message(script *s, bytes *out, rng *r, int opcode, const bytes *payload)
{
    size_t at = 0;
    while (rng_one_in(r, 5)) {
        size_t part = rng_below(r, payload->len - at + 1);
        add_frame(s, out, r, opcode, 0, payload->data + at, part);
        opcode = 0;
        at += part;
        if (rng_one_in(r, 2)) {
            add_control(s, out, r);
        }
    }
    add_frame(s, out, r, opcode, 1, payload->data + at, payload->len - at);
}

static void make_other(bytes *out, rng *r)
{
    static const char *const texts[] = {"{\"type\":\"heartbeat\"}", "", "{}", "\xc3\xa4\xf0\x9f\x8c\x8d", "\xed\xa0\x80", "ok\xff"};
    size_t fill = rng_one_in(r, 6) ? rng_below(r, SCRIPT_MAX_MESSAGE - 100) : rng_below(r, 200);
    bytes_text(out, texts[rng_below(r, rng_one_in(r, 8) ? 6 : 4)]);
    if (rng_one_in(r, 12)) {
        fill = SCRIPT_MAX_MESSAGE - out->len; /* the largest message that is allowed */
    }
    while (fill-- > 0) {
        bytes_byte(out, 'x');
    }
}

static int add_other(script *s, bytes *out, rng *r)
{
    bytes payload = {0};
    int opcode = rng_one_in(r, 4) ? 2 : 1, fine;
    make_other(&payload, r);
    add_message(s, out, r, opcode, &payload);
    fine = opcode == 2 || model_utf8(payload.data, payload.len);
    if (fine) {
        story_event(&s->expected, DB_EV_MESSAGE, -1, payload.data, payload.len, opcode, 0);
    } else {
        story_event(&s->expected, DB_EV_FATAL, -1, (const uint8_t *)"text is not UTF-8", 17, 1007, 0);
    }
    bytes_free(&payload);
    return fine;
}

static void add_chunk(script *s, bytes *out, rng *r, attempt_state *ids)
{
    bytes message = {0};
    int opcode = rng_one_in(r, 10) ? 2 : 1;
    chunk_facts facts;
    chunk_build(&message, r, ids, &facts);
    add_message(s, out, r, opcode, &message);
    chunk_expect(&s->expected, &facts, ids, &message, opcode);
    bytes_free(&message);
}

typedef struct {
    const char *head; /* with the mask bit set; frames without it are built from it */
    size_t len;
    int code;
    const char *reason;
} violation;

static void add_violation(script *s, bytes *out, rng *r)
{
    static const violation all[] = {
        {"\xc1\x80", 2, 1002, "reserved bits are set"},
        {"\xa2\x80", 2, 1002, "reserved bits are set"},
        {"\x93\x80", 2, 1002, "reserved bits are set"},
        {"\x83\x80", 2, 1002, "reserved opcode"},
        {"\x87\x80", 2, 1002, "reserved opcode"},
        {"\x8b\x80", 2, 1002, "reserved opcode"},
        {"\x8f\x80", 2, 1002, "reserved opcode"},
        {"\x09\x80", 2, 1002, "fragmented control frame"},
        {"\x89\xfe\x00\x7e", 4, 1002, "control frame is too long"},
        {"\x82\xfe\x00\x7d", 4, 1002, "length is not in its only valid form"},
        {"\x82\xff\0\0\0\0\0\0\xff\xff", 10, 1002, "length is not in its only valid form"},
        {"\x82\xff\x80\0\0\0\0\1\0\0", 10, 1002, "length is not in its only valid form"},
        {"\x82\xff\0\0\0\0\0\1\0\0", 10, 1009, "message is too big"},
        {"\x82\xfe\x0b\xb9", 4, 1009, "message is too big"},
        {"\x80\x80", 2, 1002, "continuation without a message"},
        {"\x01\x80mask\x81\x80", 8, 1002, "message inside a message"},
    };
    const violation *v = &all[rng_below(r, s->masked ? sizeof all / sizeof *all : 15)];
    uint8_t head[16];
    const char *reason = v->reason;
    memcpy(head, v->head, v->len);
    if (!s->masked || (v->code == 1002 && rng_one_in(r, 8) && strstr(reason, "reserved") == NULL && head[1] == 0x80 &&
                       head[0] & 0x80)) {
        head[1] &= 0x7f;
        reason = s->masked ? "frame is not masked" : reason;
    }
    bytes_add(out, head, v->len);
    if (s->masked && (head[1] & 0x80)) {
        bytes_text(out, "mask");
    }
    story_event(&s->expected, DB_EV_FATAL, -1, (const uint8_t *)reason, strlen(reason), v->code, 0);
}

static void add_close(script *s, bytes *out, rng *r)
{
    static const struct {
        const char *payload;
        size_t len;
        int kind, code;
        const char *reason;
    } all[] = {
        {"", 0, DB_EV_CLOSE, 1005, ""},
        {"\x03\xe8", 2, DB_EV_CLOSE, 1000, ""},
        {"\x03\xf6late", 6, DB_EV_CLOSE, 1014, "late"},
        {"\x13\x87\xc3\xa4", 4, DB_EV_CLOSE, 4999, "\xc3\xa4"},
        {"\x03", 1, DB_EV_FATAL, 1002, "close payload of one byte"},
        {"\x03\xe7", 2, DB_EV_FATAL, 1002, "close code may not be sent"},
        {"\x03\xec", 2, DB_EV_FATAL, 1002, "close code may not be sent"},
        {"\x03\xf7", 2, DB_EV_FATAL, 1002, "close code may not be sent"},
        {"\x0b\xb7", 2, DB_EV_FATAL, 1002, "close code may not be sent"},
        {"\x13\x88", 2, DB_EV_FATAL, 1002, "close code may not be sent"},
        {"\x03\xe8\xc3", 3, DB_EV_FATAL, 1007, "close reason is not UTF-8"},
    };
    size_t n = rng_below(r, sizeof all / sizeof *all);
    add_frame(s, out, r, 8, 1, (const uint8_t *)all[n].payload, all[n].len);
    story_event(&s->expected, all[n].kind, -1, (const uint8_t *)all[n].reason, strlen(all[n].reason), all[n].code, 0);
}

/* Fills one segment; 0 if it ended the connection. */
static int add_segment(script *s, rng *r, attempt_state *ids)
{
    bytes *out = &add_step(s, STEP_FEED, 0)->data;
    size_t frames = rng_one_in(r, 12) ? 120 : rng_below(r, 12);
    int kind = rng_one_in(r, 3) ? 8 : 2; /* mostly chunks, or a lively mix */
    while (frames-- > 0) {
        if (!rng_one_in(r, (size_t)kind)) {
            add_chunk(s, out, r, ids);
        } else if (rng_one_in(r, 2)) {
            add_control(s, out, r);
        } else if (!add_other(s, out, r)) {
            return 0;
        }
    }
    if (rng_one_in(r, 12)) {
        if (rng_one_in(r, 2)) {
            add_close(s, out, r);
        } else {
            add_violation(s, out, r);
        }
        bytes_text(out, "\x82\x80never");
        return 0;
    }
    return 1;
}

static void add_action(script *s, rng *r, attempt_state *ids, int64_t *tickets)
{
    unsigned id = (unsigned)rng_below(r, SCRIPT_IDS);
    attempt_state *a = &ids[id];
    step *t;
    if (!a->attached) {
        if (*tickets < STORY_TICKETS) {
            t = add_step(s, STEP_ATTACH, id);
            *a = (attempt_state){1, 0, rng_one_in(r, 6), -1, *tickets};
            t->ticket = (*tickets)++;
            t->opaque = a->opaque;
            t->spout = !rng_one_in(r, 4);
        }
        return;
    }
    if (rng_one_in(r, 4)) {
        add_step(s, STEP_DETACH, id)->ticket = a->ticket;
        a->attached = 0;
        return;
    }
    t = add_step(s, STEP_TEMPLATE, id);
    t->ticket = a->ticket;
    t->spout = !rng_one_in(r, 3);
    a->form = t->form = rng_one_in(r, 5) ? -1 : (int)rng_below(r, script_template_count);
}

void script_build(script *s, rng *r)
{
    attempt_state ids[SCRIPT_IDS + 1];
    int64_t tickets = 0;
    size_t segments = 1 + rng_below(r, 4), i;
    memset(s, 0, sizeof *s);
    memset(ids, 0, sizeof ids);
    s->has_oracle = 1;
    s->masked = !rng_one_in(r, 10);
    do {
        for (i = rng_below(r, 12); i > 0; i--) {
            add_action(s, r, ids, &tickets);
        }
    } while (add_segment(s, r, ids) && --segments > 0);
    story_end(&s->expected);
}

void script_mutate(script *s, rng *r)
{
    size_t i, n;
    s->has_oracle = 0;
    for (i = 0; i < s->count; i++) {
        bytes *d = &s->steps[i].data;
        for (n = rng_below(r, 4); n > 0 && d->len > 0; n--) {
            size_t at = rng_below(r, d->len);
            switch (rng_below(r, 3)) {
            case 0:
                d->data[at] ^= (uint8_t)(1u << rng_below(r, 8));
                break;
            case 1:
                d->data[at] = (uint8_t)rng_next(r);
                break;
            default:
                memmove(d->data + at, d->data + at + 1, d->len - at - 1);
                d->len--;
                break;
            }
        }
    }
}

void script_free(script *s)
{
    size_t i;
    for (i = 0; i < s->count; i++) {
        bytes_free(&s->steps[i].data);
    }
    story_free(&s->expected);
}
