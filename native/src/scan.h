/* Finds a top-level member of a JSON object without parsing it, or gives up; see native/pure/scan.py. */
#ifndef DB_SCAN_H
#define DB_SCAN_H

#include "base.h"

static inline size_t db_skip_space(const uint8_t *p, size_t len, size_t i)
{
    while (i < len && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t')) {
        i++;
    }
    return i;
}

/* Span (db_span) of the text of the top-level "type", or DB_UNSURE. */
int64_t db_scan_type(const uint8_t *p, size_t len);

/* Span of the raw value of a top-level key, or DB_UNSURE. */
int64_t db_raw_span(const uint8_t *p, size_t len, const uint8_t *key, size_t key_len);

#endif
