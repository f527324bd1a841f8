/* The delta splice: rewrites a plain content delta by swapping the bytes around its text; see native/pure/splice.py. */
#ifndef DB_SPLICE_H
#define DB_SPLICE_H

#include "buffer.h"

/* The four parts of a template, one behind the other in `bytes`. */
typedef struct {
    size_t in_prefix, in_suffix, out_prefix, out_suffix;
    uint8_t bytes[];
} db_template;

/* Appends the rewritten delta to out and adds the UTF-8 bytes of its text to *text_bytes.
   1 if it did, 0 if the full path has to, -1 if there is no memory. */
int db_splice(const db_template *t, const uint8_t *plain, size_t len, db_buffer *out, int64_t *text_bytes);

#endif
