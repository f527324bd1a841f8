/* Recognises the hot frame, inference_response_chunk, in one walk; see native/pure/scan_chunk.py. */
#ifndef DB_SCAN_CHUNK_H
#define DB_SCAN_CHUNK_H

#include "base.h"

typedef struct {
    uint32_t id_start, id_end, key_start, key_end, ct_start, ct_end, has_escapes;
} db_chunk;

/* 1 and the spans, or 0 if the frame needs the full decode. The frame is pure ASCII if the answer is 1. */
int db_scan_chunk(const uint8_t *p, size_t len, db_chunk *chunk);

#endif
