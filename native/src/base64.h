/* Strict base64: RFC 4648 standard alphabet, full padding, zero trailing bits. */
#ifndef DB_BASE64_H
#define DB_BASE64_H

#include "base.h"

static inline size_t db_base64_encoded(size_t len) { return (len + 2) / 3 * 4; }

/* Replaces every backslash-slash by a slash, in place; the new length. Any other backslash stays. */
size_t db_base64_unescape(uint8_t *text, size_t len);

/* Decodes escaped or plain text into out (room for len bytes, may not overlap); the length, or -1. */
int64_t db_base64_decode(const uint8_t *text, size_t len, uint8_t *out);

/* Decodes text without escapes; out may be text itself. With out NULL it only checks. The length, or -1. */
int64_t db_base64_decode_plain(const uint8_t *text, size_t len, uint8_t *out);

/* Encodes; out may start before data in the same buffer as long as both end together. */
void db_base64_encode(const uint8_t *data, size_t len, uint8_t *out);

#endif
