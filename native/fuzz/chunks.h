/* Chunk messages with at most one thing wrong, and what the pump must make of each. */
#ifndef FUZZ_CHUNKS_H
#define FUZZ_CHUNKS_H

#include "model.h"
#include "random.h"
#include "story.h"

typedef struct {
    int attached, spent, opaque, form;
    int64_t ticket;
} attempt_state;

typedef struct {
    unsigned id; /* SCRIPT_IDS is a stranger */
    int plain;   /* the frame is one that the chunk scanner takes */
    int rule;    /* violation, or 0 */
    uint8_t ciphertext[1400];
    size_t ciphertext_len;
    uint8_t plaintext[700];
    size_t plaintext_len;
} chunk_facts;

void chunk_build(bytes *out, rng *r, const attempt_state *ids, chunk_facts *facts);

void chunk_expect(story *s, const chunk_facts *facts, attempt_state *ids, const bytes *message, int opcode);

#endif
