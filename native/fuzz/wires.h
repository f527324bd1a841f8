/* Fake sockets for spouts: they take all, a part or nothing, and check that one valid chunk comes at a time. */
#ifndef FUZZ_WIRES_H
#define FUZZ_WIRES_H

#include "../src/pump.h"
#include "random.h"
#include "story.h"

typedef struct {
    db_spout *spout; /* NULL while the attempt has none */
    int descriptors; /* living duplicates */
    int waiting;     /* a rest was left: no send may come before it was taken */
    int64_t deltas, text_bytes; /* what was counted so far */
    bytes sent_runs; /* all framed runs that were handed over */
    bytes wire;      /* what left, rests that the caller took included */
} wire;

typedef struct {
    wire of[STORY_TICKETS];
    rng luck;
    story *told; /* a run that leaves is told like one that goes up */
} wires;

/* From now on the fake sockets belong to these wires. */
void wires_begin(wires *w, story *told, uint64_t seed);

/* Gives the attempt an open spout if it has none (unless memory is short); else opens, shuts or closes it. */
void wires_turn(wires *w, db_pump *p, const char *id, int64_t ticket);

/* Adds what the spouts counted to the open runs of the story; call it after each feed. */
void wires_count(wires *w);

/* Takes the rest that EV_STUCK spoke of, and perhaps opens the spout again. */
void wires_stuck(wires *w, int64_t ticket);

/* Frees the spout of an attempt that is gone. */
void wires_drop(wires *w, int64_t ticket);

/* Frees everything; fails if a wire carries something else than the runs in their order. */
void wires_end(wires *w, int out_of_memory);

#endif
