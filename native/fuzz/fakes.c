#define _GNU_SOURCE
#include "fakes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/buffer.h"
#include "../src/crypto.h"

typedef struct block {
    struct block *next, *before;
    size_t size;
    size_t pad; /* keeps what follows aligned */
} block;

static block living = {&living, &living, 0, 0};
static size_t living_count;
static unsigned fail_at;
uint64_t fail_seed, fail_case;

void fail(const char *what)
{
    fprintf(stderr, "FAILED: %s (run again with --seed %" PRIu64 " --case %" PRIu64 ")\n", what, fail_seed, fail_case);
    fflush(stderr);
    abort();
}

static int holds_secret(const void *data, size_t size)
{
    return memmem(data, size, KEY_MARK, sizeof KEY_MARK - 1) != NULL ||
           memmem(data, size, TEXT_MARK, sizeof TEXT_MARK - 1) != NULL;
}

void *db_test_alloc(size_t size)
{
    block *b;
    if (fail_at > 0 && --fail_at == 0) {
        return NULL;
    }
    b = malloc(sizeof *b + size);
    if (b == NULL) {
        return NULL;
    }
    b->size = size;
    b->next = living.next;
    b->before = &living;
    living.next->before = b;
    living.next = b;
    living_count++;
    memset(b + 1, 0xa5, size);
    return b + 1;
}

void db_test_free(void *data)
{
    block *b;
    if (data == NULL) {
        return;
    }
    b = (block *)data - 1;
    if (holds_secret(data, b->size)) {
        fail("memory was given back with a secret in it");
    }
    b->next->before = b->before;
    b->before->next = b->next;
    living_count--;
    free(b);
}

void fakes_fail_allocation(unsigned n) { fail_at = n; }

size_t fakes_living(void) { return living_count; }

void fakes_check_living(const char *when)
{
    block *b;
    for (b = living.next; b != &living; b = b->next) {
        if (holds_secret(b + 1, b->size)) {
            fail(when);
        }
    }
}

static void make_tag(uint8_t *tag, const uint8_t *cipher, size_t len, const uint8_t *nonce, const uint8_t *key)
{
    uint64_t h = 0xcbf29ce484222325ULL;
    size_t i;
    for (i = 0; i < len + 24 + 32; i++) {
        uint8_t c = i < len ? cipher[i] : i < len + 24 ? nonce[i - len] : key[i - len - 24];
        h = (h ^ c) * 0x100000001b3ULL;
    }
    for (i = 0; i < 16; i++) {
        tag[i] = (uint8_t)(h >> (i % 8 * 8));
    }
}

static uint8_t stream(const uint8_t *nonce, const uint8_t *key, size_t i)
{
    return (uint8_t)(key[i % 32] + nonce[i % 24] * 3 + i * 7 + 1);
}

static int fake_open(unsigned char *out, const unsigned char *in, unsigned long long len, const unsigned char *nonce,
                     const unsigned char *key)
{
    uint8_t tag[16];
    unsigned long long i;
    if (len < 16) {
        return -1;
    }
    make_tag(tag, in + 16, (size_t)len - 16, nonce, key);
    if (memcmp(tag, in, 16) != 0) {
        return -1;
    }
    for (i = 0; i + 16 < len; i++) {
        out[i] = in[16 + i] ^ stream(nonce, key, (size_t)i);
    }
    return 0;
}

static int fake_box(unsigned char *out, const unsigned char *in, unsigned long long len, const unsigned char *nonce,
                    const unsigned char *key)
{
    unsigned long long i;
    for (i = 0; i < len; i++) {
        out[16 + i] = in[i] ^ stream(nonce, key, (size_t)i);
    }
    make_tag(out, out + 16, (size_t)len, nonce, key);
    return 0;
}

static void fake_zero(void *data, size_t len)
{
    volatile uint8_t *p = data;
    while (len-- > 0) {
        *p++ = 0;
    }
}

void fake_key(uint8_t *key, unsigned n)
{
    memset(key, (int)(0x40 + n), 32);
    memcpy(key + 8, KEY_MARK, sizeof KEY_MARK - 1);
}

void fake_seal(uint8_t *box, const uint8_t *plain, size_t len, const uint8_t *key, uint8_t nonce_byte)
{
    memset(box, nonce_byte, 24);
    fake_box(box + 24, plain, len, box, key);
}

void fakes_install(void)
{
    db_crypto_init((uintptr_t)fake_open, (uintptr_t)fake_box, (uintptr_t)fake_zero);
}
