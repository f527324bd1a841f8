#include "parts.h"

#include "../src/base64.h"
#include "../src/crypto.h"
#include "../src/frames.h"
#include "../src/scan.h"
#include "../src/scan_chunk.h"
#include "../src/utf8.h"
#include "fakes.h"
#include "model.h"

/* A copy of exactly the right size, so that the sanitizer sees any look beyond it. */
static uint8_t *exact(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);
    if (len > 0) {
        memcpy(copy, data, len);
        return copy;
    }
    return copy;
}

static void make_soup(bytes *out, rng *r)
{
    static const char *const pieces[] = {
        "{\"type\":\"heartbeat\",", "\"a\":[1,{\"b\":\"]\"}],", "\"type\"", ":", ",", "{", "}", "[", "]", "\"", "\\", "\"x\"", " ",
        "\n", "1", "null", "{\"type\":\"inference_response_chunk\",\"request_id\":\"r\",\"encrypted_data\":{", "\"data\":\"\"",
        "\"ephemeral_public_key\":\"k\",\"ciphertext\":\"c\\/\"}}", "\\/", "\\\"", "\xc3\xa9", "\xff", "\"Type\":1", "0123456789abcdef"};
    size_t n = rng_below(r, 14);
    while (n-- > 0) {
        bytes_text(out, pieces[rng_below(r, sizeof pieces / sizeof *pieces)]);
    }
    if (out->len > 0 && rng_one_in(r, 3)) {
        out->data[rng_below(r, out->len)] ^= (uint8_t)(1u << rng_below(r, 8));
    }
    if (rng_one_in(r, 10)) {
        for (n = rng_below(r, 300); n > 0; n--) {
            bytes_byte(out, (uint8_t)"[{]}"[rng_below(r, 4)]);
        }
    }
}

static void check_span(int64_t span, size_t len, const char *what)
{
    if (span != DB_UNSURE && ((span >> 32) > (span & 0xffffffff) || (uint64_t)(span & 0xffffffff) > len)) {
        fail(what);
    }
}

/* The values of a chunk lie between quotes, and the whole frame is ASCII. */
static void check_chunk(const uint8_t *data, size_t len, const db_chunk *c)
{
    const size_t spans[3][2] = {{c->id_start, c->id_end}, {c->key_start, c->key_end}, {c->ct_start, c->ct_end}};
    size_t i;
    for (i = 0; i < 3; i++) {
        if (spans[i][0] < 1 || spans[i][0] > spans[i][1] || spans[i][1] >= len || data[spans[i][0] - 1] != '"' ||
            data[spans[i][1]] != '"' || memchr(data + spans[i][0], '"', spans[i][1] - spans[i][0]) != NULL) {
            fail("scan_chunk gave spans that cannot be");
        }
    }
    for (i = 0; i < len; i++) {
        if (data[i] >= 0x80) {
            fail("scan_chunk took a frame that is not ASCII");
        }
    }
    if (db_scan_type(data, len) == DB_UNSURE) {
        fail("scan_chunk took a frame whose type is not sure");
    }
}

void parts_check_prefixes(const uint8_t *text, size_t len, size_t step)
{
    size_t end;
    for (end = 0; end <= len; end += step) {
        uint8_t *data = exact(text, end);
        db_chunk c;
        check_span(db_scan_type(data, end), end, "scan_type gave a span outside of the text");
        check_span(db_raw_span(data, end, (const uint8_t *)"a", 1), end, "raw_span gave a span outside of the text");
        if (db_scan_chunk(data, end, &c)) {
            check_chunk(data, end, &c);
        }
        free(data);
    }
}

static void check_scanners(rng *r)
{
    bytes soup = {0};
    make_soup(&soup, r);
    parts_check_prefixes(soup.data, soup.len, soup.len < 60 ? 1 : 1 + rng_below(r, 40));
    bytes_free(&soup);
}

/* Decodes the text, in which backslash-slash may stand for a slash, and the same text without escapes, also in place. */
static void check_decoding(const uint8_t *text, size_t len, const bytes *plain)
{
    uint8_t *escaped = exact(text, len), *copy = exact(plain->data, plain->len), *out = exact(text, len);
    bytes expected = {0};
    int64_t right = model_base64(plain->data, plain->len, &expected);
    if (db_base64_decode(escaped, len, out) != right || db_base64_decode_plain(copy, plain->len, NULL) != right) {
        fail("base64 decoding disagrees with the model");
    }
    if (right > 0 && (memcmp(out, expected.data, (size_t)right) != 0 ||
                      db_base64_decode_plain(copy, plain->len, copy) != right || memcmp(copy, out, (size_t)right) != 0)) {
        fail("base64 decoded to other bytes than the model");
    }
    free(escaped);
    free(copy);
    free(out);
    bytes_free(&expected);
}

static void check_base64(rng *r)
{
    uint8_t data[100], text[140];
    size_t len = rng_below(r, 90), i, text_len = db_base64_encoded(len);
    bytes plain = {0};
    for (i = 0; i < len; i++) {
        data[i] = (uint8_t)rng_next(r);
    }
    db_base64_encode(data, len, text);
    if (text_len > 0 && rng_one_in(r, 2)) {
        size_t at = rng_one_in(r, 2) ? text_len - 1 - rng_below(r, 4) : rng_below(r, text_len);
        text[at] = rng_one_in(r, 2) ? (uint8_t)"=A/+B-\\\n"[rng_below(r, 8)] : (uint8_t)rng_next(r);
    }
    if (rng_one_in(r, 8)) {
        text_len -= text_len > 3 ? rng_below(r, 4) : 0;
    }
    for (i = 0; i < text_len; i++) {
        if (text[i] != '\\' || i + 1 == text_len || text[i + 1] != '/') {
            bytes_byte(&plain, text[i]);
        }
    }
    check_decoding(text, text_len, &plain);
    bytes_free(&plain);
}

static void check_utf8(rng *r)
{
    static const char *const pieces[] = {"a", "12345678", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8d", "\xed\x9f\xbf", "\xed\xa0\x80",
                                         "\xf4\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf"};
    bytes text = {0};
    uint8_t *copy;
    size_t n = rng_below(r, 7);
    while (n-- > 0) {
        if (rng_one_in(r, 5)) {
            bytes_byte(&text, (uint8_t)rng_next(r));
        } else {
            bytes_text(&text, pieces[rng_below(r, rng_one_in(r, 3) ? 12 : 6)]);
        }
    }
    if (text.len > 0 && rng_one_in(r, 3)) {
        text.len--;
    }
    copy = exact(text.data, text.len);
    if (db_utf8_valid(copy, text.len) != model_utf8(copy, text.len)) {
        fail("UTF-8 validation disagrees with the model");
    }
    free(copy);
    bytes_free(&text);
}

static void check_mask(rng *r)
{
    uint8_t data[64], mask[4], *in, *out;
    size_t len = rng_below(r, 64), done = rng_below(r, 9), i;
    for (i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)rng_next(r);
    }
    memcpy(mask, data + 60, 4);
    in = exact(data, len);
    out = exact(data, len);
    db_mask(out, in, len, mask, done);
    for (i = 0; i < len; i++) {
        if (out[i] != (data[i] ^ mask[(i + done) % 4])) {
            fail("masking is wrong");
        }
    }
    free(in);
    free(out);
}

void parts_check(rng *r)
{
    check_scanners(r);
    check_base64(r);
    check_utf8(r);
    check_mask(r);
}

void parts_check_box(rng *r)
{
    uint8_t plain[200], key[32], nonce[24];
    size_t len = rng_below(r, sizeof plain), text_len = db_base64_encoded(len + DB_BOX_OVERHEAD), i;
    uint8_t *text = malloc(text_len), *out = malloc(text_len);
    for (i = 0; i < len; i++) {
        plain[i] = (uint8_t)rng_next(r);
    }
    fake_key(key, 7);
    memset(nonce, (int)rng_below(r, 256), sizeof nonce);
    if (db_seal(plain, len, key, nonce, text) != 0 || db_open_chunk(text, 0, text_len, key, out) != (int64_t)len ||
        memcmp(out, plain, len) != 0) {
        fail("what was sealed does not open to itself");
    }
    i = rng_below(r, text_len);
    text[i] = text[i] == 'A' ? 'B' : 'A';
    if (db_open_chunk(text, 0, text_len, key, out) >= 0) {
        fail("a changed box opens");
    }
    free(text);
    free(out);
}
