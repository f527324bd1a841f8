#include "scan.h"

/* Every walker returns the position after what it walked over; 0 stands for "unsure", as nothing ends at 0. */

typedef struct {
    size_t key_start, key_end, start, end;
} member;

/* Position of the next quote or backslash at or after i, or len. */
static size_t next_special(const uint8_t *p, size_t len, size_t i)
{
#if DB_LITTLE_ENDIAN
    while (len - i >= 8) {
        uint64_t x = db_load64(p + i);
        uint64_t marks = db_equals(x, '"') | db_equals(x, '\\');
        if (marks) {
            return i + db_first_mark(marks);
        }
        i += 8;
    }
#endif
    while (i < len && p[i] != '"' && p[i] != '\\') {
        i++;
    }
    return i;
}

/* Walks over the string whose opening quote is at i. */
static size_t skip_string(const uint8_t *p, size_t len, size_t i)
{
    i++;
    while ((i = next_special(p, len, i)) < len) {
        if (p[i] == '"') {
            return i + 1;
        }
        if (len - i < 2) {
            return 0;
        }
        i += 2;
    }
    return 0;
}

/* Walks over a string that must not hold a backslash. */
static size_t skip_plain_string(const uint8_t *p, size_t len, size_t i)
{
    if (i >= len || p[i] != '"') {
        return 0;
    }
    i = next_special(p, len, i + 1);
    return i < len && p[i] == '"' ? i + 1 : 0;
}

/* Walks over an object or array; brackets are counted, not paired. */
static size_t skip_nested(const uint8_t *p, size_t len, size_t i)
{
    int depth = 1;
    while (i < len) {
        switch (p[i]) {
        case '"':
            i = skip_string(p, len, i);
            if (i == 0) {
                return 0;
            }
            continue;
        case '{':
        case '[':
            if (++depth > DB_MAX_DEPTH) {
                return 0;
            }
            break;
        case '}':
        case ']':
            if (--depth == 1) {
                return i + 1;
            }
            break;
        default:
            break;
        }
        i++;
    }
    return 0;
}

static size_t skip_value(const uint8_t *p, size_t len, size_t i)
{
    if (i < len && p[i] == '"') {
        return skip_string(p, len, i);
    }
    if (i < len && (p[i] == '{' || p[i] == '[')) {
        return skip_nested(p, len, i);
    }
    while (i < len && p[i] != ',' && p[i] != '}' && p[i] != ']' && db_skip_space(p, i + 1, i) == i) {
        i++;
    }
    return i;
}

/* Reads the member whose key comes next after i (a brace or a comma); the position of what follows its value. */
static size_t read_member(const uint8_t *p, size_t len, size_t i, member *m)
{
    m->key_start = db_skip_space(p, len, i + 1);
    m->key_end = skip_plain_string(p, len, m->key_start);
    if (m->key_end == 0) {
        return 0;
    }
    i = db_skip_space(p, len, m->key_end);
    if (i >= len || p[i] != ':') {
        return 0;
    }
    m->start = db_skip_space(p, len, i + 1);
    m->end = skip_value(p, len, m->start);
    m->key_start++;
    m->key_end--;
    return m->end == 0 ? 0 : db_skip_space(p, len, m->end);
}

static int folds_to(const uint8_t *p, const uint8_t *key, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++) {
        uint8_t a = p[i], b = key[i];
        a = (uint8_t)(a >= 'A' && a <= 'Z' ? a + 32 : a);
        b = (uint8_t)(b >= 'A' && b <= 'Z' ? b + 32 : b);
        if (a != b) {
            return 0;
        }
    }
    return 1;
}

/* The one member with this key, checked to the end of the object; 0 if there is any doubt. */
static int find_member(const uint8_t *p, size_t len, const uint8_t *key, size_t key_len, member *found)
{
    size_t i;
    int seen = 0;
    if (len > DB_MAX_SCAN_BYTES) {
        return 0;
    }
    i = db_skip_space(p, len, 0);
    if (i >= len || p[i] != '{') {
        return 0;
    }
    for (;;) {
        member m;
        i = read_member(p, len, i, &m);
        if (i == 0 || i >= len) {
            return 0;
        }
        if (m.key_end - m.key_start == key_len && folds_to(p + m.key_start, key, key_len)) {
            if (seen || (key_len > 0 && memcmp(p + m.key_start, key, key_len) != 0)) {
                return 0;
            }
            seen = 1;
            *found = m;
        }
        if (p[i] == '}') {
            return seen;
        }
        if (p[i] != ',') {
            return 0;
        }
    }
}

int64_t db_scan_type(const uint8_t *p, size_t len)
{
    member m = {0, 0, 0, 0};
    if (!find_member(p, len, (const uint8_t *)"type", 4, &m) || skip_plain_string(p, m.end, m.start) != m.end) {
        return DB_UNSURE;
    }
    return db_span(m.start + 1, m.end - 1);
}

int64_t db_raw_span(const uint8_t *p, size_t len, const uint8_t *key, size_t key_len)
{
    member m = {0, 0, 0, 0};
    if (!find_member(p, len, key, key_len, &m) || m.start == m.end) {
        return DB_UNSURE;
    }
    return db_span(m.start, m.end);
}
