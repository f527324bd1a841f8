#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include "spout.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "crypto.h"

/* "4000\r\n", the longest size line, and the end of a chunk. */
#define HEAD_BYTES 6
#define TAIL_BYTES 2
/* The standard descriptors are never taken, even if one of them is free. */
#define LOWEST_FD 3

#ifdef DB_TEST_ALLOC
int db_test_dup(int fd);
ssize_t db_test_send(int fd, const void *data, size_t len);
void db_test_close(int fd);
#define DUPLICATE(fd) db_test_dup(fd)
#define SEND(fd, data, len) db_test_send(fd, data, len)
#define CLOSE(fd) db_test_close(fd)
#else
#ifdef MSG_NOSIGNAL
#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#else
#define FLAGS MSG_DONTWAIT
#endif
#define SEND(fd, data, len) send(fd, data, len, FLAGS)
#define CLOSE(fd) close(fd)

static int duplicate(int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_FD);
#ifdef SO_NOSIGPIPE
    int yes = 1;
    if (own >= 0) {
        setsockopt(own, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
    }
#endif
    return own;
}
#define DUPLICATE(fd) duplicate(fd)
#endif

db_spout *db_spout_new(int fd)
{
    db_spout *s = DB_ALLOC(sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    memset(s, 0, sizeof *s);
    s->fd = DUPLICATE(fd);
    if (s->fd < 0) {
        DB_FREE(s);
        return NULL;
    }
    return s;
}

void db_spout_close(db_spout *s)
{
    s->open = 0;
    db_spout_forget_rest(s);
    if (s->fd >= 0) {
        CLOSE(s->fd);
        s->fd = -1;
    }
}

void db_spout_free(db_spout *s)
{
    if (s != NULL) {
        db_spout_close(s);
        DB_FREE(s);
    }
}

const char *db_spout_rest(const db_spout *s) { return (const char *)s->rest.data; }

size_t db_spout_rest_len(const db_spout *s) { return s->rest.len; }

void db_spout_forget_rest(db_spout *s)
{
    db_buffer_free(&s->rest);
    s->stuck = 0;
}

/* Puts the size line in front of the bytes and the line end behind them; 0, or -1 without memory. */
static int frame(db_buffer *run)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t head[HEAD_BYTES];
    size_t at = HEAD_BYTES, left = run->len;
    if (db_buffer_reserve(run, HEAD_BYTES + TAIL_BYTES) != 0) {
        return -1;
    }
    head[--at] = '\n';
    head[--at] = '\r';
    do {
        head[--at] = (uint8_t)digits[left & 15];
        left >>= 4;
    } while (left > 0);
    memmove(run->data + (HEAD_BYTES - at), run->data, run->len);
    memcpy(run->data, head + at, HEAD_BYTES - at);
    run->len += HEAD_BYTES - at;
    run->data[run->len++] = '\r';
    run->data[run->len++] = '\n';
    return 0;
}

int db_spout_write(db_spout *s, db_buffer *run, int64_t deltas, int64_t text_bytes, double now)
{
    ssize_t got;
    size_t sent;
    if (frame(run) != 0) {
        return -1;
    }
    /* An error is like a full socket: the caller sends the rest and hears of it. */
    got = SEND(s->fd, run->data, run->len);
    sent = got > 0 ? (size_t)got : 0;
    s->deltas += deltas;
    s->text_bytes += text_bytes;
    s->sent_bytes += (int64_t)sent;
    s->written_at = now;
    if (sent == run->len) {
        return 1;
    }
    s->open = 0;
    s->stuck = 1;
    return db_buffer_append(&s->rest, run->data + sent, run->len - sent);
}
