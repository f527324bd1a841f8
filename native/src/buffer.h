/* A growable byte buffer that never leaves old contents behind: growing copies and wipes. */
#ifndef DB_BUFFER_H
#define DB_BUFFER_H

#include "base.h"

typedef struct {
    uint8_t *data;
    size_t len;
    size_t cap;
} db_buffer;

/* With DB_TEST_ALLOC the fuzz driver makes chosen allocations fail and looks for secrets in what is given back. */
#ifdef DB_TEST_ALLOC
void *db_test_alloc(size_t size);
void db_test_free(void *data);
#define DB_ALLOC(size) db_test_alloc(size)
#define DB_FREE(data) db_test_free(data)
#else
#include <stdlib.h>
#define DB_ALLOC(size) malloc(size)
#define DB_FREE(data) free(data)
#endif

/* Makes room for `more` bytes behind the contents; 0, or -1 if there is no memory (the contents stay). */
int db_buffer_grow(db_buffer *b, size_t more);

static inline int db_buffer_reserve(db_buffer *b, size_t more)
{
    return b->cap - b->len >= more ? 0 : db_buffer_grow(b, more);
}

static inline int db_buffer_append(db_buffer *b, const void *data, size_t len)
{
    if (db_buffer_reserve(b, len) != 0) {
        return -1;
    }
    if (len > 0) {
        memcpy(b->data + b->len, data, len);
    }
    b->len += len;
    return 0;
}

/* Overwrites all of the memory and gives it back. */
void db_buffer_free(db_buffer *b);

#endif
