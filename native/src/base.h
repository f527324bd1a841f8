/* Types and limits that every part shares; the limits repeat those of native/shapes.py and a test compares them. */
#ifndef DB_BASE_H
#define DB_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DB_KEY_BYTES 32
#define DB_NONCE_BYTES 24
#define DB_TAG_BYTES 16
#define DB_BOX_OVERHEAD (DB_NONCE_BYTES + DB_TAG_BYTES)
#define DB_MAX_DEPTH 128
#define DB_MAX_SCAN_BYTES 0x7fffffff
#define DB_MAX_ID_BYTES 128
#define DB_MAX_TEMPLATE_BYTES 65536
#define DB_MAX_PEER_KEY_BYTES 256
#define DB_EVENT_LIMIT 64
#define DB_MAX_WRITE_BYTES 16384

#define DB_UNSURE (-1)
#define DB_NO_MEMORY (-1)

/* A span of at most 31-bit offsets in one number, so that a caller needs no output array. */
static inline int64_t db_span(size_t start, size_t end) { return (int64_t)start << 32 | (int64_t)end; }

static inline uint64_t db_load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

#define DB_ONES 0x0101010101010101ULL
#define DB_HIGHS 0x8080808080808080ULL

/* High bit set in the lowest byte of x that equals c (and perhaps in bytes above it). */
static inline uint64_t db_equals(uint64_t x, uint8_t c)
{
    uint64_t t = x ^ (DB_ONES * c);
    return (t - DB_ONES) & ~t & DB_HIGHS;
}

/* High bit set in the lowest byte of x that is below c, which is at most 0x80 (and perhaps in bytes above it). */
static inline uint64_t db_below(uint64_t x, uint8_t c) { return (x - DB_ONES * c) & ~x & DB_HIGHS; }

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define DB_LITTLE_ENDIAN 1
static inline size_t db_first_mark(uint64_t marks) { return (size_t)__builtin_ctzll(marks) >> 3; }
#else
#define DB_LITTLE_ENDIAN 0
#endif

#endif
