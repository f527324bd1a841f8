#include "frames.h"

static const char *check(const db_frame *f, uint8_t first, uint8_t second, int masked)
{
    unsigned form = second & 0x7f;
    uint64_t least = form == 127 ? 0x10000 : form == 126 ? 126 : 0;
    if (first & 0x70) {
        return "reserved bits are set";
    }
    if ((f->opcode > DB_OP_BINARY && f->opcode < DB_OP_CLOSE) || f->opcode > DB_OP_PONG) {
        return "reserved opcode";
    }
    if (f->opcode >= DB_OP_CLOSE && !f->fin) {
        return "fragmented control frame";
    }
    if (f->opcode >= DB_OP_CLOSE && f->length > DB_MAX_CONTROL) {
        return "control frame is too long";
    }
    if ((second >> 7) != (masked != 0)) {
        return masked ? "frame is not masked" : "frame is masked";
    }
    if (f->length < least || f->length >> 63) {
        return "length is not in its only valid form";
    }
    return NULL;
}

size_t db_frame_parse(const uint8_t *p, size_t len, int masked, db_frame *frame, const char **error)
{
    size_t i, wide, size;
    *error = NULL;
    if (len < 2) {
        return 0;
    }
    wide = (p[1] & 0x7f) == 127 ? 8 : (p[1] & 0x7f) == 126 ? 2 : 0;
    size = 2 + wide + (p[1] & 0x80 ? 4 : 0);
    if (len < size) {
        return 0;
    }
    frame->fin = p[0] >> 7;
    frame->opcode = p[0] & 0x0f;
    frame->length = wide ? 0 : p[1] & 0x7f;
    for (i = 0; i < wide; i++) {
        frame->length = frame->length << 8 | p[2 + i];
    }
    memset(frame->mask, 0, sizeof frame->mask);
    if (p[1] & 0x80) {
        memcpy(frame->mask, p + 2 + wide, sizeof frame->mask);
    }
    *error = check(frame, p[0], p[1], masked);
    return size;
}

void db_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *mask, uint64_t done)
{
    uint8_t turned[8];
    uint64_t wide;
    size_t i;
    for (i = 0; i < sizeof turned; i++) {
        turned[i] = mask[(done + i) & 3];
    }
    wide = db_load64(turned);
    for (i = 0; len - i >= 8; i += 8) {
        uint64_t x = db_load64(in + i) ^ wide;
        memcpy(out + i, &x, sizeof x);
    }
    for (; i < len; i++) {
        out[i] = in[i] ^ turned[i & 7];
    }
}

const char *db_close_check(const uint8_t *payload, size_t len, int *code)
{
    int c;
    *code = 1005;
    if (len == 0) {
        return NULL;
    }
    if (len == 1) {
        return "close payload of one byte";
    }
    c = payload[0] << 8 | payload[1];
    if (!((c >= 1000 && c <= 1003) || (c >= 1007 && c <= 1014) || (c >= 3000 && c <= 4999))) {
        return "close code may not be sent";
    }
    *code = c;
    return NULL;
}
