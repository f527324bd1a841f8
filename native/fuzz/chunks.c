#include "chunks.h"

#include "../src/base64.h"
#include "../src/pump.h"
#include "fakes.h"
#include "script.h"

static void make_plaintext(chunk_facts *f, rng *r)
{
    static const char *const words[] = {
        "Hi",       "\\n\\\"",   "a\\/b",   "\\\\/",     "\xc3\xa9\xf0\x9f\x8c\x8d", "\\u0007", "\\u0041", "",         "\xc3",
        "\"",       "\x01",      "\\u001F", "\\u0009",   "\\x",                      "\\",      "\x7f",    "\\u000b",  " the",
        "\xed\xa0\x80", "\\b\\f", "\\u001a", TEXT_MARK, "\xf4\x90\x80\x80",           "\xc0\xaf"};
    static const char *const ends[] = {"", "\n", "\n\n", "\r\n\r\n", " "};
    const model_template *t = &script_templates[rng_below(r, 2) * 2];
    bytes b = {0};
    size_t n;
    if (!rng_one_in(r, 12)) {
        bytes_text(&b, t->in_prefix);
        for (n = 1 + rng_below(r, 4); n > 0; n--) {
            bytes_text(&b, words[rng_below(r, rng_one_in(r, 3) ? 24 : 7)]);
        }
        for (n = rng_one_in(r, 8) ? rng_below(r, 400) : 0; n > 0; n--) {
            bytes_byte(&b, 'y');
        }
        bytes_text(&b, t->in_suffix);
        bytes_text(&b, ends[rng_below(r, rng_one_in(r, 4) ? 5 : 3)]);
    } else {
        bytes_text(&b, rng_one_in(r, 2) ? "data: [DONE]" TEXT_MARK : rng_one_in(r, 2) ? "" : "\xff" TEXT_MARK);
    }
    if (rng_one_in(r, 25) && b.len > 0) {
        b.len--;
    }
    f->plaintext_len = b.len;
    if (b.len > 0) {
        memcpy(f->plaintext, b.data, b.len);
    }
    bytes_free(&b);
}

/* Seals the plaintext and perhaps spoils the ciphertext; sets the rule that it breaks. */
static void make_ciphertext(chunk_facts *f, rng *r, int fault)
{
    uint8_t key[32], box[760];
    size_t len = f->plaintext_len + DB_BOX_OVERHEAD;
    fake_key(key, fault == 1 ? 99 : f->id);
    fake_seal(box, f->plaintext, f->plaintext_len, key, (uint8_t)rng_next(r));
    f->rule = fault == 1 ? DB_V_OPEN : 0;
    if (fault == 2) {
        len = rng_below(r, DB_BOX_OVERHEAD);
        f->rule = DB_V_SHORT;
    } else if (fault == 3) {
        box[rng_below(r, len)] ^= (uint8_t)(1u << rng_below(r, 8));
        f->rule = DB_V_OPEN;
    }
    f->ciphertext_len = db_base64_encoded(len);
    db_base64_encode(box, len, f->ciphertext);
    if (fault == 4) {
        bytes out = {0};
        f->ciphertext[rng_below(r, f->ciphertext_len)] = (uint8_t)"-_=. A/"[rng_below(r, 7)];
        f->rule = model_base64(f->ciphertext, f->ciphertext_len, &out) < 0 ? DB_V_BASE64 : -1;
        bytes_free(&out);
    } else if (fault == 5) {
        f->ciphertext_len -= 1 + rng_below(r, 3);
        f->rule = DB_V_BASE64;
    } else if (fault == 6 && len % 3 != 0) {
        uint8_t *last = &f->ciphertext[f->ciphertext_len - (len % 3 == 1 ? 3 : 2)];
        *last = *last == 'A' ? 'B' : *last == 'Q' ? 'R' : *last == 'g' ? 'h' : *last == 'w' ? 'x' : (uint8_t)(*last + 1);
        f->rule = -1;
    }
    if (f->rule == -1) { /* settle by the model whether the text is still strict base64 */
        bytes out = {0};
        f->rule = model_base64(f->ciphertext, f->ciphertext_len, &out) < 0                        ? DB_V_BASE64
                  : out.len != len || (out.len > 0 && memcmp(out.data, box, len) != 0) ? DB_V_OPEN
                                                                                                  : 0;
        bytes_free(&out);
    }
}

static void add_value(bytes *out, const void *data, size_t len, int escape)
{
    const uint8_t *p = data;
    size_t i;
    bytes_byte(out, '"');
    for (i = 0; i < len; i++) {
        if (p[i] == '/' && escape) {
            bytes_byte(out, '\\');
        }
        bytes_byte(out, p[i]);
    }
    bytes_byte(out, '"');
}

static void space(bytes *out, rng *r, int loose)
{
    while (loose && rng_one_in(r, 3)) {
        bytes_byte(out, (uint8_t)" \t\r\n"[rng_below(r, 4)]);
    }
}

static void add_sealed(bytes *out, rng *r, const chunk_facts *f, const char *key_text, int escape, int loose)
{
    int first = rng_one_in(r, 4), i;
    bytes_byte(out, '{');
    for (i = 0; i < 2; i++) {
        space(out, r, loose);
        if (i == first) {
            bytes_text(out, "\"ephemeral_public_key\":");
            space(out, r, loose);
            add_value(out, key_text, strlen(key_text), escape);
        } else {
            bytes_text(out, "\"ciphertext\":");
            add_value(out, f->ciphertext, f->ciphertext_len, escape);
        }
        space(out, r, loose);
        if (i == 0) {
            bytes_byte(out, ',');
        }
    }
    bytes_byte(out, '}');
}

void chunk_build(bytes *out, rng *r, const attempt_state *ids, chunk_facts *f)
{
    static const char *const extra[] = {",\"data\":\"\"", ",\"data\":\"x\"", ",\"a\":1", "}", ",", " x",
                                        ",\"request_id\":\"r1\"", ",\"type\":\"inference_response_chunk\""};
    int fault = rng_one_in(r, 5) ? (int)rng_below(r, 12) : 0;
    int escape = rng_one_in(r, 4), loose = rng_one_in(r, 8);
    const char *key_text = fault == 7 ? (rng_one_in(r, 2) ? "" : SCRIPT_PEER "=") : SCRIPT_PEER;
    const char *name;
    f->id = (unsigned)rng_below(r, SCRIPT_IDS + 1);
    if (f->id < SCRIPT_IDS && !ids[f->id].attached && !rng_one_in(r, 5)) {
        while (f->id < SCRIPT_IDS && !ids[f->id].attached) { /* mostly ids that are attached */
            f->id++;
        }
    }
    name = f->id == SCRIPT_IDS ? "stranger" : script_id(f->id);
    make_plaintext(f, r);
    make_ciphertext(f, r, fault);
    if (fault == 7) {
        f->rule = DB_V_SENDER_KEY;
    }
    f->plain = !(escape && strchr(name, '/') != NULL);
    space(out, r, loose);
    bytes_text(out, "{\"type\":\"inference_response_chunk\"");
    space(out, r, loose);
    bytes_text(out, ",\"request_id\":");
    add_value(out, name, strlen(name), escape);
    bytes_text(out, ",\"encrypted_data\":");
    add_sealed(out, r, f, key_text, escape, loose);
    if (fault >= 8) {
        size_t n = rng_below(r, sizeof extra / sizeof *extra);
        bytes_text(out, extra[n]);
        f->plain = f->plain && n == 0;
    }
    bytes_byte(out, '}');
    space(out, r, loose);
}

void chunk_expect(story *s, const chunk_facts *f, attempt_state *ids, const bytes *message, int opcode)
{
    attempt_state *a = &ids[f->id];
    bytes out = {0};
    int64_t count = 0;
    if (!f->plain || !a->attached || a->spent) {
        story_event(s, DB_EV_MESSAGE, -1, message->data, message->len, opcode, 0);
    } else if (f->rule != 0 && !(f->rule == DB_V_OPEN && a->opaque)) {
        story_event(s, DB_EV_VIOLATION, a->ticket, NULL, 0, f->rule, 0);
        a->spent = 1;
    } else if (a->opaque) {
        story_event(s, DB_EV_OPAQUE, a->ticket, f->ciphertext, f->ciphertext_len, 0, 0);
    } else if (a->form >= 0 && model_splice(&script_templates[a->form], f->plaintext, f->plaintext_len, &out, &count)) {
        story_event(s, DB_EV_RUN, a->ticket, out.data, out.len, 1, count);
    } else if (model_utf8(f->plaintext, f->plaintext_len)) {
        story_event(s, DB_EV_OPENED, a->ticket, f->plaintext, f->plaintext_len, 0, 0);
    } else {
        story_event(s, DB_EV_BAD_TEXT, a->ticket, NULL, 0, 0, 0);
        a->spent = 1;
    }
    bytes_free(&out);
}
