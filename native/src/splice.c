#include "splice.h"

#include "utf8.h"

typedef struct {
    size_t escaped; /* bytes that the escapes take beyond the one that each stands for */
    int slashes;
    int wide;
} middle_facts;

static int is_low_hex(uint8_t c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/* Length of the escape at p[0] == '\\' if an encoder would write it so (or it is backslash-slash), else 0. */
static size_t escape_length(const uint8_t *p, size_t len)
{
    if (len < 2) {
        return 0;
    }
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        break;
    default:
        return 0;
    }
    if (len < 6 || p[2] != '0' || p[3] != '0' || !is_low_hex(p[5])) {
        return 0;
    }
    if (p[4] == '1') {
        return 6;
    }
    /* Below 0x10 only those that have no short form: not \b \t \n \f \r. */
    return p[4] == '0' && (p[5] <= '7' || p[5] == 'b' || p[5] >= 'e') ? 6 : 0;
}

/* 1 if the text is a string body that the full path would emit unchanged, backslash-slash excepted. */
static int check_middle(const uint8_t *p, size_t len, middle_facts *facts)
{
    size_t i = 0;
    memset(facts, 0, sizeof *facts);
    while (i < len) {
        uint8_t c = p[i];
        size_t step = 1;
        if (c < 0x20 || c == '"') {
            return 0;
        }
        if (c == '\\') {
            step = escape_length(p + i, len - i);
            if (step == 0) {
                return 0;
            }
            facts->escaped += step - 1;
            facts->slashes |= p[i + 1] == '/';
        }
        facts->wide |= c >= 0x80;
        i += step;
    }
    return !facts->wide || db_utf8_valid(p, len);
}

/* Copies the text with backslash-slash as a slash; the position behind it. Room for len bytes is there. */
static uint8_t *copy_middle(uint8_t *to, const uint8_t *p, size_t len, int slashes)
{
    size_t i;
    if (!slashes) {
        memcpy(to, p, len);
        return to + len;
    }
    for (i = 0; i < len; i++) {
        if (p[i] == '\\') {
            i++;
            if (p[i] != '/') {
                *to++ = '\\';
            }
        }
        *to++ = p[i];
    }
    return to;
}

int db_splice(const db_template *t, const uint8_t *plain, size_t len, db_buffer *out, int64_t *text_bytes)
{
    const uint8_t *in_suffix = t->bytes + t->in_prefix, *out_prefix = in_suffix + t->in_suffix;
    middle_facts facts;
    uint8_t *to;
    size_t middle;
    while (len > 0 && (plain[len - 1] == '\n' || plain[len - 1] == '\r')) {
        len--;
    }
    if (len <= t->in_prefix + t->in_suffix || memcmp(plain, t->bytes, t->in_prefix) != 0 ||
        memcmp(plain + len - t->in_suffix, in_suffix, t->in_suffix) != 0) {
        return 0;
    }
    plain += t->in_prefix;
    middle = len - t->in_prefix - t->in_suffix;
    if (!check_middle(plain, middle, &facts)) {
        return 0;
    }
    if (db_buffer_reserve(out, t->out_prefix + middle + t->out_suffix) != 0) {
        return -1;
    }
    to = out->data + out->len;
    memcpy(to, out_prefix, t->out_prefix);
    to = copy_middle(to + t->out_prefix, plain, middle, facts.slashes);
    memcpy(to, out_prefix + t->out_prefix, t->out_suffix);
    out->len = (size_t)(to + t->out_suffix - out->data);
    *text_bytes += (int64_t)(middle - facts.escaped);
    return 1;
}
