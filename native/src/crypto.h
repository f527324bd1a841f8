/* Boxes and wiping. The functions are libsodium's own; their addresses are handed in once, at import. */
#ifndef DB_CRYPTO_H
#define DB_CRYPTO_H

#include "base.h"

typedef int (*db_box_fn)(unsigned char *out, const unsigned char *in, unsigned long long len,
                         const unsigned char *nonce, const unsigned char *key);
typedef void (*db_zero_fn)(void *data, size_t len);

void db_crypto_init(uintptr_t open_afternm, uintptr_t seal_afternm, uintptr_t memzero);

/* Opens nonce || tag || cipher (len >= 40) in place: the plaintext then starts at box + 40. 0 if it opened. */
int db_box_open(uint8_t *box, size_t len, const uint8_t *key);

/* Overwrites memory that held a key (libsodium) or, fast, a buffer that held plaintext. */
void db_wipe_key(void *data, size_t len);
void db_wipe(void *data, size_t len);

/* Plaintext of the chunk whose base64 text is buf[start:end] into out (room for end - start bytes); its length, or -1. */
int64_t db_open_chunk(const uint8_t *buf, size_t start, size_t end, const uint8_t *key, uint8_t *out);

/* base64(nonce || box) into out, whose room is exactly db_base64_encoded(len + 40); 0 if it worked. */
int db_seal(const uint8_t *plaintext, size_t len, const uint8_t *key, const uint8_t *nonce, uint8_t *out);

#endif
