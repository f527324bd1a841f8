#include "base64.h"

#define BAD 0x80

/* Value of each character; 255 (bit BAD set) for those outside the alphabet. */
static const uint8_t value[256] = {
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 62, 255, 255, 255, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 255, 255, 255, 255, 255, 255, 255, 0, 1, 2, 3, 4, 5, 6,
    7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 255, 255, 255, 255, 255,
    255, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    49, 50, 51, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
};

static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t db_base64_unescape(uint8_t *text, size_t len)
{
    uint8_t *first = len > 0 ? memchr(text, '\\', len) : NULL;
    size_t to, from;
    if (first == NULL) {
        return len;
    }
    to = (size_t)(first - text);
    for (from = to; from < len; from++) {
        if (text[from] == '\\' && from + 1 < len && text[from + 1] == '/') {
            continue;
        }
        text[to++] = text[from];
    }
    return to;
}

int64_t db_base64_decode(const uint8_t *text, size_t len, uint8_t *out)
{
    if (len > 0 && memchr(text, '\\', len) != NULL) {
        memcpy(out, text, len);
        return db_base64_decode_plain(out, db_base64_unescape(out, len), out);
    }
    return db_base64_decode_plain(text, len, out);
}

/* The last group, which may end in padding; its 1 to 3 bytes, or -1. */
static int decode_last(const uint8_t *text, uint8_t *out)
{
    uint8_t a = value[text[0]], b = value[text[1]], c = value[text[2]], d = value[text[3]];
    uint8_t bytes[3];
    int count = 3;
    if ((a | b) & BAD) {
        return -1;
    }
    if (text[3] == '=') {
        d = 0;
        count = 2;
        if (text[2] == '=') {
            c = 0;
            count = 1;
        }
    }
    if ((c | d) & BAD) {
        return -1;
    }
    bytes[0] = (uint8_t)(a << 2 | b >> 4);
    bytes[1] = (uint8_t)(b << 4 | c >> 2);
    bytes[2] = (uint8_t)(c << 6 | d);
    if ((count < 3 && bytes[2] != 0) || (count < 2 && bytes[1] != 0)) {
        return -1; /* trailing bits: two texts would stand for the same bytes */
    }
    if (out != NULL) {
        memcpy(out, bytes, (size_t)count);
    }
    return count;
}

int64_t db_base64_decode_plain(const uint8_t *text, size_t len, uint8_t *out)
{
    size_t groups = len / 4, i;
    uint8_t seen = 0;
    int last;
    if (len == 0) {
        return 0;
    }
    if (len % 4 != 0) {
        return -1;
    }
    for (i = 0; i + 1 < groups; i++) {
        uint8_t a = value[text[4 * i]], b = value[text[4 * i + 1]];
        uint8_t c = value[text[4 * i + 2]], d = value[text[4 * i + 3]];
        seen |= a | b | c | d;
        if (out != NULL) {
            out[3 * i] = (uint8_t)(a << 2 | b >> 4);
            out[3 * i + 1] = (uint8_t)(b << 4 | c >> 2);
            out[3 * i + 2] = (uint8_t)(c << 6 | d);
        }
    }
    if (seen & BAD) {
        return -1;
    }
    last = decode_last(text + 4 * i, out == NULL ? NULL : out + 3 * i);
    return last < 0 ? -1 : (int64_t)(3 * i) + last;
}

void db_base64_encode(const uint8_t *data, size_t len, uint8_t *out)
{
    size_t i;
    for (i = 0; i + 2 < len; i += 3) {
        uint32_t group = (uint32_t)data[i] << 16 | (uint32_t)data[i + 1] << 8 | data[i + 2];
        *out++ = (uint8_t)letter[group >> 18];
        *out++ = (uint8_t)letter[group >> 12 & 63];
        *out++ = (uint8_t)letter[group >> 6 & 63];
        *out++ = (uint8_t)letter[group & 63];
    }
    if (i < len) {
        uint32_t a = data[i], b = i + 1 < len ? data[i + 1] : 0;
        int two = i + 1 < len;
        *out++ = (uint8_t)letter[a >> 2];
        *out++ = (uint8_t)letter[(a << 4 | b >> 4) & 63];
        *out++ = two ? (uint8_t)letter[b << 2 & 63] : '=';
        *out++ = '=';
    }
}
