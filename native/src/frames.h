/* WebSocket frame headers and masking (RFC 6455, section 5). */
#ifndef DB_FRAMES_H
#define DB_FRAMES_H

#include "base.h"

enum { DB_OP_CONTINUATION = 0, DB_OP_TEXT = 1, DB_OP_BINARY = 2, DB_OP_CLOSE = 8, DB_OP_PING = 9, DB_OP_PONG = 10 };

#define DB_MAX_HEADER 14
#define DB_MAX_CONTROL 125

typedef struct {
    uint8_t fin;
    uint8_t opcode;
    uint8_t mask[4];
    uint64_t length;
} db_frame;

/* Reads the header at p; its size, or 0 if it needs more bytes. *error names the broken rule, or is NULL. */
size_t db_frame_parse(const uint8_t *p, size_t len, int masked, db_frame *frame, const char **error);

/* out = in with the mask repeated over it; `done` bytes of the payload came before. out may be in. */
void db_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *mask, uint64_t done);

/* NULL if the close payload is allowed; then *code is set (1005 for an empty one). */
const char *db_close_check(const uint8_t *payload, size_t len, int *code);

#endif
