/* A seeded generator (splitmix64): the same seed and case always build the same input. */
#ifndef FUZZ_RANDOM_H
#define FUZZ_RANDOM_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

/* 0 to n - 1. */
static inline size_t rng_below(rng *r, size_t n) { return (size_t)(rng_next(r) % n); }

static inline int rng_one_in(rng *r, size_t n) { return rng_below(r, n) == 0; }

#endif
