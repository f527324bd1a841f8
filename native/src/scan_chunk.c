#include "scan_chunk.h"

#include "scan.h"

enum { TYPE = 1, ID = 2, SEALED = 4, DATA = 8, KEY = 16, TEXT = 32 };
enum { OUTER = TYPE | ID | SEALED | DATA, INNER = KEY | TEXT };

static const char chunk_type[] = "inference_response_chunk";

typedef struct {
    const uint8_t *p;
    size_t len;
    unsigned seen;
    db_chunk *chunk;
} walk;

/* Position of the next byte that is not plain text of a string: a quote, a backslash, a control, or not ASCII. */
static size_t next_unusual(const uint8_t *p, size_t len, size_t i)
{
#if DB_LITTLE_ENDIAN
    while (len - i >= 8) {
        uint64_t x = db_load64(p + i);
        uint64_t marks = db_equals(x, '"') | db_equals(x, '\\') | db_below(x, 0x20) | (x & DB_HIGHS);
        if (marks) {
            return i + db_first_mark(marks);
        }
        i += 8;
    }
#endif
    while (i < len && p[i] != '"' && p[i] != '\\' && p[i] >= 0x20 && p[i] < 0x80) {
        i++;
    }
    return i;
}

/* Walks over a string whose only escape is backslash-slash; the position after it, or 0. Sets *escapes if it has any. */
static size_t read_text(const uint8_t *p, size_t len, size_t i, uint32_t *escapes)
{
    if (i >= len || p[i] != '"') {
        return 0;
    }
    i++;
    while ((i = next_unusual(p, len, i)) < len) {
        if (p[i] == '"') {
            return i + 1;
        }
        if (p[i] != '\\' || len - i < 2 || p[i + 1] != '/') {
            return 0;
        }
        *escapes = 1;
        i += 2;
    }
    return 0;
}

static unsigned key_of(const uint8_t *p, size_t len)
{
    switch (len) {
    case 4:
        return memcmp(p, "type", 4) == 0 ? TYPE : memcmp(p, "data", 4) == 0 ? DATA : 0;
    case 10:
        return memcmp(p, "request_id", 10) == 0 ? ID : memcmp(p, "ciphertext", 10) == 0 ? TEXT : 0;
    case 14:
        return memcmp(p, "encrypted_data", 14) == 0 ? SEALED : 0;
    case 20:
        return memcmp(p, "ephemeral_public_key", 20) == 0 ? KEY : 0;
    default:
        return 0;
    }
}

/* Notes the value whose quotes are at start - 1 and end; 0 if it is not one that a chunk may have. */
static int note_value(walk *w, unsigned key, size_t start, size_t end, uint32_t escapes)
{
    db_chunk *c = w->chunk;
    switch (key) {
    case TYPE:
        return end - start == sizeof chunk_type - 1 && memcmp(w->p + start, chunk_type, end - start) == 0;
    case DATA:
        return start == end;
    case ID:
        c->id_start = (uint32_t)start;
        c->id_end = (uint32_t)end;
        break;
    case KEY:
        c->key_start = (uint32_t)start;
        c->key_end = (uint32_t)end;
        break;
    default:
        c->ct_start = (uint32_t)start;
        c->ct_end = (uint32_t)end;
        break;
    }
    c->has_escapes |= escapes;
    return 1;
}

/* Walks over the object whose brace is at i, with keys from `allowed`; the position after it, or 0. */
static size_t read_object(walk *w, size_t i, unsigned allowed)
{
    const uint8_t *p = w->p;
    size_t len = w->len;
    if (i >= len || p[i] != '{') {
        return 0;
    }
    for (;;) {
        uint32_t escapes = 0;
        unsigned key;
        size_t start = db_skip_space(p, len, i + 1);
        size_t end = read_text(p, len, start, &escapes);
        if (end == 0 || escapes) {
            return 0;
        }
        key = key_of(p + start + 1, end - start - 2);
        if (!(key & allowed) || (key & w->seen)) {
            return 0;
        }
        w->seen |= key;
        i = db_skip_space(p, len, end);
        if (i >= len || p[i] != ':') {
            return 0;
        }
        start = db_skip_space(p, len, i + 1);
        if (key == SEALED) {
            end = read_object(w, start, INNER);
        } else {
            end = read_text(p, len, start, &escapes);
            if (end != 0 && !note_value(w, key, start + 1, end - 1, escapes)) {
                return 0;
            }
        }
        if (end == 0) {
            return 0;
        }
        i = db_skip_space(p, len, end);
        if (i < len && p[i] == '}') {
            return i + 1;
        }
        if (i >= len || p[i] != ',') {
            return 0;
        }
    }
}

int db_scan_chunk(const uint8_t *p, size_t len, db_chunk *chunk)
{
    const unsigned needed = TYPE | ID | SEALED | INNER;
    walk w = {p, len, 0, chunk};
    size_t end;
    if (len > DB_MAX_SCAN_BYTES) {
        return 0;
    }
    chunk->has_escapes = 0;
    end = read_object(&w, db_skip_space(p, len, 0), OUTER);
    return end != 0 && (w.seen & needed) == needed && db_skip_space(p, len, end) == len;
}
