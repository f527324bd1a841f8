/* Stand-ins for libsodium and malloc: boxes that open without it, allocations that fail, memory searched for secrets. */
#ifndef FUZZ_FAKES_H
#define FUZZ_FAKES_H

#include <stddef.h>
#include <stdint.h>

/* These bytes occur in every key and in most plaintexts of the driver, and nowhere else. */
#define KEY_MARK "\xc5\x3a\x99\x17\xc5\x3a\x99\x17"
#define TEXT_MARK "<~plain~>"

void fakes_install(void);

/* key[32] of attempt n; every key holds KEY_MARK. */
void fake_key(uint8_t *key, unsigned n);

/* nonce || tag || cipher into box (room for len + 40). */
void fake_seal(uint8_t *box, const uint8_t *plain, size_t len, const uint8_t *key, uint8_t nonce_byte);

/* From now on the n-th allocation fails; 0 for none. */
void fakes_fail_allocation(unsigned n);

/* Aborts with a message if living memory of the code under test holds a secret. */
void fakes_check_living(const char *when);

/* Number of living allocations of the code under test. */
size_t fakes_living(void);

/* Prints what failed and the seed and case to run again, and aborts. */
void fail(const char *what) __attribute__((noreturn));
extern uint64_t fail_seed, fail_case;

#endif
