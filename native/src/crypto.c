#include "crypto.h"

#include "base64.h"

static db_box_fn box_open;
static db_box_fn box_seal;
static db_zero_fn zero;

void db_crypto_init(uintptr_t open_afternm, uintptr_t seal_afternm, uintptr_t memzero)
{
    box_open = (db_box_fn)open_afternm;
    box_seal = (db_box_fn)seal_afternm;
    zero = (db_zero_fn)memzero;
}

int db_box_open(uint8_t *box, size_t len, const uint8_t *key)
{
    uint8_t *cipher = box + DB_NONCE_BYTES;
    if (len < DB_BOX_OVERHEAD) {
        return -1;
    }
    /* libsodium checks the tag before it writes, and takes the in-place form out == in + tag. */
    return box_open(cipher + DB_TAG_BYTES, cipher, len - DB_NONCE_BYTES, box, key);
}

void db_wipe_key(void *data, size_t len) { zero(data, len); }

void db_wipe(void *data, size_t len)
{
    if (len > 0) {
        memset(data, 0, len);
        /* The barrier makes the memory look used, so that the compiler must keep the memset. */
        __asm__ __volatile__("" : : "r"(data) : "memory");
    }
}

int64_t db_open_chunk(const uint8_t *buf, size_t start, size_t end, const uint8_t *key, uint8_t *out)
{
    int64_t got = db_base64_decode(buf + start, end - start, out);
    if (got < DB_BOX_OVERHEAD || db_box_open(out, (size_t)got, key) != 0) {
        return -1;
    }
    got -= DB_BOX_OVERHEAD;
    memmove(out, out + DB_BOX_OVERHEAD, (size_t)got);
    return got;
}

int db_seal(const uint8_t *plaintext, size_t len, const uint8_t *key, const uint8_t *nonce, uint8_t *out)
{
    size_t raw = len + DB_BOX_OVERHEAD;
    /* The box is built at the end of the output and encoded forwards: the text never overtakes the bytes it is made of. */
    uint8_t *box = out + db_base64_encoded(raw) - raw;
    memcpy(box, nonce, DB_NONCE_BYTES);
    if (box_seal(box + DB_NONCE_BYTES, plaintext, len, nonce, key) != 0) {
        return -1;
    }
    db_base64_encode(box, raw, out);
    return 0;
}
