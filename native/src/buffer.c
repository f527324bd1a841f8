#include "buffer.h"

#include "crypto.h"

#define SMALLEST 1024

int db_buffer_grow(db_buffer *b, size_t more)
{
    size_t cap = b->cap < SMALLEST ? SMALLEST : b->cap;
    uint8_t *data;
    if (more > SIZE_MAX / 4 - b->len) {
        return -1;
    }
    while (cap - b->len < more) {
        cap *= 2;
    }
    data = DB_ALLOC(cap);
    if (data == NULL) {
        return -1;
    }
    if (b->data != NULL) {
        memcpy(data, b->data, b->len);
        db_wipe(b->data, b->cap);
        DB_FREE(b->data);
    }
    b->data = data;
    b->cap = cap;
    return 0;
}

void db_buffer_free(db_buffer *b)
{
    if (b->data != NULL) {
        db_wipe(b->data, b->cap);
        DB_FREE(b->data);
    }
    b->data = NULL;
    b->len = 0;
    b->cap = 0;
}
