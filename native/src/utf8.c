#include "utf8.h"

static inline int is_tail(uint8_t c) { return (c & 0xc0) == 0x80; }

/* Bytes of the well-formed sequence that starts with the non-ASCII byte p[0]; 0 if there is none in len bytes. */
static size_t sequence(const uint8_t *p, size_t len)
{
    uint8_t a = p[0];
    if (a < 0xc2 || len < 2 || !is_tail(p[1])) {
        return 0;
    }
    if (a < 0xe0) {
        return 2;
    }
    if (len < 3 || !is_tail(p[2])) {
        return 0;
    }
    if (a < 0xf0) {
        return (a == 0xe0 && p[1] < 0xa0) || (a == 0xed && p[1] > 0x9f) ? 0 : 3;
    }
    if (a > 0xf4 || len < 4 || !is_tail(p[3]) || (a == 0xf0 && p[1] < 0x90) || (a == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return 4;
}

int db_utf8_valid(const uint8_t *p, size_t len)
{
    size_t i = 0;
    while (i < len) {
        size_t step = 1;
        if (len - i >= 8 && (db_load64(p + i) & DB_HIGHS) == 0) {
            i += 8;
            continue;
        }
        if (p[i] >= 0x80 && (step = sequence(p + i, len - i)) == 0) {
            return 0;
        }
        i += step;
    }
    return 1;
}
