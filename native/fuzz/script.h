/* Random scripts for the pump: bytes to feed, with attempts that come and go in between, and the expected story. */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include "model.h"
#include "random.h"
#include "story.h"

#define SCRIPT_IDS 20
#define SCRIPT_STEPS 64
#define SCRIPT_MAX_MESSAGE 3000
#define SCRIPT_PEER "2J47rXlDfb7Z+ENBgwT0YP8Fx/6B/kqVd6gEy5Nn/2Y="

typedef enum { STEP_FEED, STEP_ATTACH, STEP_DETACH, STEP_TEMPLATE } step_kind;

typedef struct {
    step_kind kind;
    bytes data; /* STEP_FEED */
    unsigned id;
    int opaque;
    int form; /* STEP_TEMPLATE: index of a template, -1 for none */
    int64_t ticket;
    int spout; /* how often the attempt gets, opens, shuts or loses a spout after the step: 0 or 1 */
} step;

typedef struct {
    step steps[SCRIPT_STEPS];
    size_t count;
    int masked;
    int has_oracle; /* `expected` is what the pump must tell */
    story expected;
} script;

extern const model_template script_templates[];
extern const size_t script_template_count;

/* Name of an id; the last two are longer than ordinary ones. */
const char *script_id(unsigned id);

void script_build(script *s, rng *r);

/* Damages some of the bytes; the expected story is void then. */
void script_mutate(script *s, rng *r);

void script_free(script *s);

#endif
