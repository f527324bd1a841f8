/* A growable byte string of the driver (never of the code under test). */
#ifndef FUZZ_BYTES_H
#define FUZZ_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *data;
    size_t len, cap;
} bytes;

static inline void bytes_add(bytes *b, const void *data, size_t len)
{
    if (b->cap - b->len < len) {
        b->cap = (b->len + len) * 2 + 64;
        b->data = realloc(b->data, b->cap);
        if (b->data == NULL) {
            abort();
        }
    }
    if (len > 0) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
}

static inline void bytes_text(bytes *b, const char *text) { bytes_add(b, text, strlen(text)); }

static inline void bytes_byte(bytes *b, uint8_t value) { bytes_add(b, &value, 1); }

static inline void bytes_number(bytes *b, int64_t value) { bytes_add(b, &value, sizeof value); }

static inline void bytes_free(bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

static inline int bytes_same(const bytes *a, const bytes *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

#endif
