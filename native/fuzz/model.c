#include "model.h"

int model_utf8(const uint8_t *p, size_t len)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t i = 0;
    while (i < len) {
        size_t count = p[i] < 0x80 ? 1 : (p[i] & 0xe0) == 0xc0 ? 2 : (p[i] & 0xf0) == 0xe0 ? 3 : (p[i] & 0xf8) == 0xf0 ? 4 : 0;
        uint32_t point;
        size_t k;
        if (count == 0 || len - i < count) {
            return 0;
        }
        point = count == 1 ? p[i] : p[i] & (0x7fu >> count);
        for (k = 1; k < count; k++) {
            if ((p[i + k] & 0xc0) != 0x80) {
                return 0;
            }
            point = point << 6 | (p[i + k] & 0x3f);
        }
        if ((count > 1 && point < least[count]) || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
            return 0;
        }
        i += count;
    }
    return 1;
}

/* Length of the escape at the start of p if it is the one way to write its character (or the slash), else 0. */
static size_t known_escape(const uint8_t *p, size_t len)
{
    static const char *const known[] = {
        "\\\"",    "\\\\",    "\\/",     "\\b",     "\\f",     "\\n",     "\\r",     "\\t",     "\\u0000", "\\u0001",
        "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\u000b", "\\u000e", "\\u000f", "\\u0010",
        "\\u0011", "\\u0012", "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a",
        "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f"};
    size_t i;
    for (i = 0; i < sizeof known / sizeof *known; i++) {
        size_t n = strlen(known[i]);
        if (len >= n && memcmp(p, known[i], n) == 0) {
            return n;
        }
    }
    return 0;
}

int model_splice(const model_template *t, const uint8_t *plain, size_t len, bytes *out, int64_t *text_bytes)
{
    size_t head = strlen(t->in_prefix), tail = strlen(t->in_suffix), i, before = out->len;
    while (len > 0 && (plain[len - 1] == '\r' || plain[len - 1] == '\n')) {
        len--;
    }
    if (len <= head + tail || memcmp(plain, t->in_prefix, head) != 0 ||
        memcmp(plain + len - tail, t->in_suffix, tail) != 0 || !model_utf8(plain + head, len - head - tail)) {
        return 0;
    }
    bytes_text(out, t->out_prefix);
    *text_bytes = 0;
    for (i = head; i < len - tail; (*text_bytes)++) {
        size_t step = 1;
        if (plain[i] == '\\') {
            step = known_escape(plain + i, len - tail - i);
        }
        if (step == 0 || plain[i] < 0x20 || plain[i] == '"') {
            out->len = before;
            return 0;
        }
        if (step == 2 && plain[i + 1] == '/') {
            bytes_byte(out, '/');
        } else {
            bytes_add(out, plain + i, step);
        }
        i += step;
    }
    bytes_text(out, t->out_suffix);
    return 1;
}

int64_t model_base64(const uint8_t *text, size_t len, bytes *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, pads = 0, bits = 0;
    uint32_t held = 0;
    if (len % 4 != 0) {
        return -1;
    }
    while (pads < 2 && len > pads && text[len - 1 - pads] == '=') {
        pads++;
    }
    for (i = 0; i < len - pads; i++) {
        const char *at = text[i] == 0 ? NULL : strchr(letters, text[i]);
        if (at == NULL) {
            return -1;
        }
        held = held << 6 | (uint32_t)(at - letters);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes_byte(out, (uint8_t)(held >> bits));
        }
        held &= (1u << bits) - 1;
    }
    return held != 0 ? -1 : (int64_t)(len / 4 * 3 - pads);
}
