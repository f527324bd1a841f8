/* A slow and simple second opinion on what the pump must do with one message; shares no code with it. */
#ifndef FUZZ_MODEL_H
#define FUZZ_MODEL_H

#include "bytes.h"

typedef struct {
    const char *in_prefix, *in_suffix, *out_prefix, *out_suffix;
} model_template;

/* Well-formed UTF-8, by decoding every code point. */
int model_utf8(const uint8_t *p, size_t len);

/* Appends the rewritten delta to out and counts the bytes of its text; 0 if the full path has to do it. */
int model_splice(const model_template *t, const uint8_t *plain, size_t len, bytes *out, int64_t *text_bytes);

/* Strict base64 of text without escapes; the length, or -1. */
int64_t model_base64(const uint8_t *text, size_t len, bytes *out);

#endif
