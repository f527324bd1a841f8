/* Checks of the parts below the pump on random input: scanners, base64, UTF-8 and masks. */
#ifndef FUZZ_PARTS_H
#define FUZZ_PARTS_H

#include "random.h"

void parts_check(rng *r);

/* Seals, opens, and opens again with one bit of the text changed, in buffers of exactly the right size. */
void parts_check_box(rng *r);

/* Gives every prefix of a text to the scanners. */
void parts_check_prefixes(const uint8_t *text, size_t len, size_t step);

#endif
