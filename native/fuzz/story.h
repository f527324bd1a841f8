/* What the pump's contract fixes for every cut of the input: per attempt its bytes in order, between the messages. */
#ifndef FUZZ_STORY_H
#define FUZZ_STORY_H

#include "bytes.h"

#define STORY_TICKETS 24

typedef struct {
    bytes told;
    bytes own[STORY_TICKETS];  /* of each attempt, since the last message */
    bytes run[STORY_TICKETS];  /* its open run: joined with the next one if nothing lies between */
    int64_t deltas[STORY_TICKETS], text_bytes[STORY_TICKETS];
    bytes control;
} story;

void story_event(story *s, int64_t kind, int64_t ticket, const uint8_t *data, size_t len, int64_t a, int64_t b);

/* Ends the last interval; `told` is then complete. */
void story_end(story *s);

void story_free(story *s);

#endif
