#include "pump.h"

#include "attempts.h"
#include "base64.h"
#include "crypto.h"
#include "frames.h"
#include "scan_chunk.h"
#include "utf8.h"

/* A buffer that grew beyond this for one large message is given back afterwards. */
#define KEEP_BYTES 262144

struct db_pump {
    db_view view;
    size_t max_message;
    uint8_t masked;
    uint8_t ended;
    uint8_t in_payload;     /* the header of `frame` is complete, `left` payload bytes are not here yet */
    uint8_t message_opcode; /* of the message in progress, DB_OP_CONTINUATION if there is none */
    uint8_t header_len;
    uint8_t control_len;
    uint16_t peer_key_len;
    db_frame frame;
    uint64_t left;
    db_buffer message; /* the message in progress */
    db_buffer payload; /* payloads of this call's events */
    db_event *events;
    size_t n_events;
    size_t n_runs;
    db_attempt *first_run, *last_run;
    uint64_t feeds;  /* how many feeds began */
    double now;
    uint8_t message_told; /* a message went up in this feed: what it does comes before any later run */
    db_attempts attempts;
    uint8_t header[DB_MAX_HEADER];
    uint8_t control[DB_MAX_CONTROL];
    uint8_t peer_key[DB_MAX_PEER_KEY_BYTES];
};

db_pump *db_pump_new(size_t max_message, int masked)
{
    db_pump *p = DB_ALLOC(sizeof *p);
    if (p != NULL) {
        memset(p, 0, sizeof *p);
        p->max_message = max_message;
        p->masked = masked != 0;
    }
    return p;
}

db_view *db_pump_view(db_pump *p) { return &p->view; }

size_t db_pump_memory(const db_pump *p)
{
    size_t total = sizeof *p + p->message.cap + p->payload.cap + p->attempts.cap * sizeof(db_attempt *);
    size_t i;
    for (i = 0; i < p->attempts.cap; i++) {
        if (p->attempts.slots[i] != NULL) {
            total += sizeof(db_attempt) + p->attempts.slots[i]->out.cap;
        }
    }
    return total + (p->events == NULL ? 0 : DB_EVENT_LIMIT * sizeof(db_event));
}

void db_pump_set_peer_key(db_pump *p, const uint8_t *text, size_t len)
{
    memcpy(p->peer_key, text, len);
    p->peer_key_len = (uint16_t)len;
}

int db_pump_attach(db_pump *p, const uint8_t *id, size_t len, const uint8_t *key, int64_t ticket, int opaque)
{
    db_attempt *attempt;
    if (db_attempts_find(&p->attempts, id, len) != NULL) {
        return 1;
    }
    attempt = db_attempts_add(&p->attempts, id, len, key);
    if (attempt == NULL) {
        return DB_NO_MEMORY;
    }
    attempt->ticket = ticket;
    attempt->opaque = opaque != 0;
    return 0;
}

/* Wipes the payloads of events that were taken: they may hold the plaintext of an attempt that ended. */
static void forget_events(db_pump *p)
{
    db_wipe(p->payload.data, p->payload.len);
    p->payload.len = 0;
    p->n_events = 0;
}

int64_t db_pump_detach(db_pump *p, const uint8_t *id, size_t len)
{
    db_attempt *attempt = db_attempts_find(&p->attempts, id, len);
    int64_t ticket;
    if (attempt == NULL) {
        return -1;
    }
    ticket = attempt->ticket;
    db_attempts_remove(&p->attempts, attempt);
    forget_events(p);
    return ticket;
}

int db_pump_set_template(db_pump *p, const uint8_t *id, size_t len, const uint8_t *parts, size_t in_prefix,
                         size_t in_suffix, size_t out_prefix, size_t out_suffix)
{
    const size_t sizes[4] = {in_prefix, in_suffix, out_prefix, out_suffix};
    db_attempt *attempt = db_attempts_find(&p->attempts, id, len);
    return attempt == NULL || attempt->spent ? 0 : db_attempt_set_template(attempt, parts, sizes);
}

int64_t db_pump_set_spout(db_pump *p, const uint8_t *id, size_t len, db_spout *spout)
{
    db_attempt *attempt = db_attempts_find(&p->attempts, id, len);
    if (attempt == NULL || attempt->spent) {
        return -1;
    }
    attempt->spout = spout;
    return attempt->ticket;
}

void db_pump_trim(db_pump *p)
{
    forget_events(p);
    db_buffer_free(&p->payload);
    if (p->message.len == 0) {
        db_buffer_free(&p->message);
    }
    DB_FREE(p->events);
    p->events = NULL;
    p->view.words = NULL;
    p->view.payload = NULL;
}

static void end(db_pump *p)
{
    p->ended = 1;
    p->message.len = 0;
    db_buffer_free(&p->message);
}

void db_pump_close(db_pump *p)
{
    end(p);
    db_attempts_clear(&p->attempts);
    db_pump_trim(p);
    p->peer_key_len = 0;
}

void db_pump_free(db_pump *p)
{
    if (p != NULL) {
        db_pump_close(p);
        DB_FREE(p);
    }
}

/* ---- events ---- */

/* The functions from here to db_pump_feed return 0, or -1 if memory ran out. */

static int emit(db_pump *p, int kind, int64_t ticket, const void *data, size_t len, int64_t a, int64_t b)
{
    size_t start = p->payload.len;
    if (p->events == NULL) {
        p->events = DB_ALLOC(DB_EVENT_LIMIT * sizeof *p->events);
    }
    if (p->events == NULL || db_buffer_append(&p->payload, data, len) != 0) {
        return DB_NO_MEMORY;
    }
    p->events[p->n_events++] = (db_event){kind, ticket, (int64_t)start, (int64_t)(start + len), a, b};
    return 0;
}

/* Hands a run to the attempt's spout, or up; up as well if something that the caller has not seen yet comes first. */
static int deliver(db_pump *p, db_attempt *t)
{
    if (!p->message_told && t->told_in != p->feeds && db_spout_takes(t->spout, &t->out)) {
        int done = db_spout_write(t->spout, &t->out, t->deltas, t->text_bytes, p->now);
        if (done != 0) {
            return done > 0 ? 0 : DB_NO_MEMORY;
        }
        t->told_in = p->feeds;
        return emit(p, DB_EV_STUCK, t->ticket, NULL, 0, 0, 0);
    }
    t->told_in = p->feeds;
    return emit(p, DB_EV_RUN, t->ticket, t->out.data, t->out.len, t->deltas, t->text_bytes);
}

static int emit_run(db_pump *p, db_attempt *t)
{
    int rc = deliver(p, t);
    t->out.len = 0;
    t->deltas = 0;
    t->text_bytes = 0;
    t->in_run = 0;
    if (t->out.cap > KEEP_BYTES) {
        db_buffer_free(&t->out);
    }
    return rc;
}

static void open_run(db_pump *p, db_attempt *t)
{
    t->in_run = 1;
    t->next_run = NULL;
    if (p->n_runs++ == 0) {
        p->first_run = t;
    } else {
        p->last_run->next_run = t;
    }
    p->last_run = t;
}

static int flush(db_pump *p, db_attempt *t)
{
    db_attempt *before = NULL, *at = p->first_run;
    if (!t->in_run) {
        return 0;
    }
    while (at != t) {
        before = at;
        at = at->next_run;
    }
    if (before == NULL) {
        p->first_run = t->next_run;
    } else {
        before->next_run = t->next_run;
    }
    if (p->last_run == t) {
        p->last_run = before;
    }
    p->n_runs--;
    return emit_run(p, t);
}

static int flush_all(db_pump *p)
{
    int rc = 0;
    while (p->n_runs > 0) {
        db_attempt *t = p->first_run;
        p->first_run = t->next_run;
        p->n_runs--;
        rc |= emit_run(p, t);
    }
    return rc;
}

static int fatal(db_pump *p, int code, const char *reason)
{
    int rc = flush_all(p) != 0 || emit(p, DB_EV_FATAL, -1, reason, strlen(reason), code, 0) != 0;
    end(p);
    return -rc;
}

/* ---- messages ---- */

static int emit_of(db_pump *p, db_attempt *t, int kind, const uint8_t *data, size_t len, int a)
{
    int rc = flush(p, t);
    t->told_in = p->feeds;
    return rc != 0 || emit(p, kind, t->ticket, data, len, a, 0) != 0 ? DB_NO_MEMORY : 0;
}

/* The last event of an attempt: its key is wiped at once, and later chunks of its id are plain messages. */
static int spend(db_pump *p, db_attempt *t, int kind, int rule)
{
    int rc = emit_of(p, t, kind, NULL, 0, rule);
    t->spent = 1;
    db_attempt_wipe(t);
    return rc;
}

static int take_plaintext(db_pump *p, db_attempt *t, const uint8_t *plain, size_t len)
{
    if (t->template != NULL) {
        int done = db_splice(t->template, plain, len, &t->out, &t->text_bytes);
        if (done > 0) {
            t->deltas++;
            if (!t->in_run) {
                open_run(p, t);
            }
        }
        if (done != 0) {
            return done > 0 ? 0 : DB_NO_MEMORY;
        }
    }
    if (!db_utf8_valid(plain, len)) {
        return spend(p, t, DB_EV_BAD_TEXT, 0);
    }
    return emit_of(p, t, DB_EV_OPENED, plain, len, 0);
}

/* Works in the message itself: escapes are undone, base64 decoded and the box opened in place. */
static int take_chunk(db_pump *p, db_attempt *t, const db_chunk *c)
{
    uint8_t *key = p->message.data + c->key_start, *text = p->message.data + c->ct_start;
    size_t key_len = c->key_end - c->key_start, text_len = c->ct_end - c->ct_start;
    int64_t got;
    int rc;
    if (c->has_escapes) {
        key_len = db_base64_unescape(key, key_len);
        text_len = db_base64_unescape(text, text_len);
    }
    if (key_len == 0 || key_len != p->peer_key_len || memcmp(key, p->peer_key, key_len) != 0) {
        return spend(p, t, DB_EV_VIOLATION, DB_V_SENDER_KEY);
    }
    got = db_base64_decode_plain(text, text_len, t->opaque ? NULL : text);
    if (got < DB_BOX_OVERHEAD) {
        return spend(p, t, DB_EV_VIOLATION, got < 0 ? DB_V_BASE64 : DB_V_SHORT);
    }
    if (t->opaque) {
        return emit_of(p, t, DB_EV_OPAQUE, text, text_len, 0);
    }
    if (db_box_open(text, (size_t)got, t->key) != 0) {
        return spend(p, t, DB_EV_VIOLATION, DB_V_OPEN);
    }
    rc = take_plaintext(p, t, text + DB_BOX_OVERHEAD, (size_t)got - DB_BOX_OVERHEAD);
    db_wipe(text, (size_t)got);
    return rc;
}

static int take_message(db_pump *p)
{
    const db_buffer *m = &p->message;
    int opcode = p->message_opcode;
    db_chunk chunk;
    p->message_opcode = DB_OP_CONTINUATION;
    if (p->attempts.count > 0 && db_scan_chunk(m->data, m->len, &chunk)) {
        db_attempt *t = db_attempts_find(&p->attempts, m->data + chunk.id_start, chunk.id_end - chunk.id_start);
        if (t != NULL && !t->spent) {
            return take_chunk(p, t, &chunk);
        }
    }
    if (opcode == DB_OP_TEXT && !db_utf8_valid(m->data, m->len)) {
        return fatal(p, 1007, "text is not UTF-8");
    }
    if (flush_all(p) != 0) {
        return DB_NO_MEMORY;
    }
    p->message_told = 1;
    return emit(p, DB_EV_MESSAGE, -1, m->data, m->len, opcode, 0);
}

/* ---- frames ---- */

static int take_control(db_pump *p)
{
    const char *error;
    int code, rc;
    size_t skip = p->control_len < 2 ? p->control_len : 2;
    if (p->frame.opcode != DB_OP_CLOSE) {
        int kind = p->frame.opcode == DB_OP_PING ? DB_EV_PING : DB_EV_PONG;
        return emit(p, kind, -1, p->control, p->control_len, 0, 0);
    }
    error = db_close_check(p->control, p->control_len, &code);
    if (error != NULL) {
        return fatal(p, 1002, error);
    }
    if (!db_utf8_valid(p->control + skip, p->control_len - skip)) {
        return fatal(p, 1007, "close reason is not UTF-8");
    }
    rc = flush_all(p) != 0 || emit(p, DB_EV_CLOSE, -1, p->control + skip, p->control_len - skip, code, 0) != 0;
    end(p);
    return -rc;
}

static int take_frame(db_pump *p)
{
    int rc = 0;
    if (p->frame.opcode >= DB_OP_CLOSE) {
        return take_control(p);
    }
    if (p->frame.fin) {
        rc = take_message(p);
        p->message.len = 0;
        if (p->message.cap > KEEP_BYTES) {
            db_buffer_free(&p->message);
        }
    }
    return rc;
}

/* Reads header bytes from in[*pos:len]. 1 if the header is complete and good; 0 if not (then the pump may have ended). */
static int take_header(db_pump *p, const uint8_t *in, size_t len, size_t *pos, int *rc)
{
    const char *error = NULL;
    size_t size = 0;
    if (p->header_len == 0) {
        size = db_frame_parse(in + *pos, len - *pos, p->masked, &p->frame, &error);
        *pos += size;
    }
    while (size == 0 && *pos < len) {
        p->header[p->header_len++] = in[(*pos)++];
        size = db_frame_parse(p->header, p->header_len, p->masked, &p->frame, &error);
    }
    if (size == 0) {
        return 0;
    }
    p->header_len = 0;
    p->left = p->frame.length;
    p->control_len = 0;
    if (error == NULL && p->frame.opcode < DB_OP_CLOSE) {
        int continues = p->frame.opcode == DB_OP_CONTINUATION, open = p->message_opcode != DB_OP_CONTINUATION;
        if (continues != open) {
            error = open ? "message inside a message" : "continuation without a message";
        } else if (p->message.len + p->left > p->max_message) {
            *rc = fatal(p, 1009, "message is too big");
            return 0;
        } else if (!continues) {
            p->message_opcode = p->frame.opcode;
        }
    }
    if (error != NULL) {
        *rc = fatal(p, 1002, error);
        return 0;
    }
    return 1;
}

/* Unmasks payload bytes from in[*pos:len] to where the frame's payload gathers. */
static int take_payload(db_pump *p, const uint8_t *in, size_t len, size_t *pos)
{
    size_t n = len - *pos < p->left ? len - *pos : (size_t)p->left;
    uint64_t done = p->frame.length - p->left;
    if (p->frame.opcode >= DB_OP_CLOSE) {
        db_mask(p->control + p->control_len, in + *pos, n, p->frame.mask, done);
        p->control_len = (uint8_t)(p->control_len + n);
    } else {
        if (db_buffer_reserve(&p->message, n) != 0) {
            return DB_NO_MEMORY;
        }
        db_mask(p->message.data + p->message.len, in + *pos, n, p->frame.mask, done);
        p->message.len += n;
    }
    *pos += n;
    p->left -= n;
    return 0;
}

/* One frame, or as much of it as is there. */
static int step(db_pump *p, const uint8_t *in, size_t len, size_t *pos)
{
    int rc = 0;
    if (!p->in_payload) {
        if (!take_header(p, in, len, pos, &rc)) {
            return rc;
        }
        p->in_payload = 1;
    }
    rc = take_payload(p, in, len, pos);
    if (rc == 0 && p->left == 0) {
        p->in_payload = 0;
        rc = take_frame(p);
    }
    return rc;
}

int64_t db_pump_feed(db_pump *p, const uint8_t *in, size_t len, size_t offset, double now)
{
    size_t pos = offset;
    int64_t more = 0;
    int rc = 0;
    if (p->ended) {
        return 0;
    }
    forget_events(p);
    if (offset == 0) {
        p->feeds++;
        p->message_told = 0;
        p->now = now;
    }
    if (p->payload.cap > KEEP_BYTES) {
        db_buffer_free(&p->payload);
    }
    while (rc == 0 && pos < len && !p->ended) {
        /* A frame adds at most one event and ends or opens at most one run: there is always room for the flush. */
        if (p->n_events + p->n_runs + 2 > DB_EVENT_LIMIT) {
            more = DB_MORE;
            break;
        }
        rc = step(p, in, len, &pos);
    }
    rc |= flush_all(p);
    p->view.consumed = pos;
    p->view.words = (int64_t *)p->events;
    p->view.payload = (char *)p->payload.data;
    if (rc != 0) {
        end(p);
        return DB_NO_MEMORY;
    }
    return (int64_t)p->n_events + more;
}
