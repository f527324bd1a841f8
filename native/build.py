"""Builds the optional extension `native._speed` with cffi in API mode; setup.py names `ffibuilder`."""

from __future__ import annotations

import os
from pathlib import Path

import cffi

SOURCE_DIR = Path("native") / "src"
SOURCES = (
    "attempts.c",
    "base64.c",
    "buffer.c",
    "crypto.c",
    "frames.c",
    "pump.c",
    "scan.c",
    "scan_chunk.c",
    "splice.c",
    "spout.c",
    "utf8.c",
)

STRICT = os.environ.get("DARKBLOOM_NATIVE_STRICT") == "1"
"""Warnings are errors; for developers and CI, so that a new compiler never breaks an installation."""

STRICT_FLAGS = ("-Wall", "-Wextra", "-Werror")
ORDINARY_FLAGS = ("-std=c11", "-O3", "-fvisibility=hidden")
# What cffi writes has parameters that it does not use and sets up its own tables.
GENERATED_CODE_FLAGS = ("-Wno-unused-parameter", "-Wno-missing-field-initializers")

CDEF = """
    typedef struct { uint32_t id_start, id_end, key_start, key_end, ct_start, ct_end, has_escapes; } db_chunk;
    typedef struct { int64_t *words; char *payload; size_t consumed; } db_view;
    typedef struct db_pump db_pump;
    typedef struct { int64_t deltas, text_bytes, sent_bytes; double written_at; int open, stuck; ...; } db_spout;

    #define DB_MAX_DEPTH ...
    #define DB_MAX_SCAN_BYTES ...
    #define DB_MAX_ID_BYTES ...
    #define DB_MAX_TEMPLATE_BYTES ...
    #define DB_MAX_PEER_KEY_BYTES ...
    #define DB_EVENT_LIMIT ...
    #define DB_MAX_WRITE_BYTES ...
    #define DB_MORE ...

    void db_crypto_init(uintptr_t open_afternm, uintptr_t seal_afternm, uintptr_t memzero);
    void db_wipe(void *data, size_t len);

    int64_t db_scan_type(const uint8_t *p, size_t len);
    int64_t db_raw_span(const uint8_t *p, size_t len, const uint8_t *key, size_t key_len);
    int db_scan_chunk(const uint8_t *p, size_t len, db_chunk *chunk);
    int64_t db_base64_decode(const uint8_t *text, size_t len, uint8_t *out);
    int64_t db_open_chunk(const uint8_t *buf, size_t start, size_t end, const uint8_t *key, uint8_t *out);
    int db_seal(const uint8_t *plaintext, size_t len, const uint8_t *key, const uint8_t *nonce, uint8_t *out);
    void db_mask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *mask, uint64_t done);

    db_pump *db_pump_new(size_t max_message, int masked);
    void db_pump_free(db_pump *p);
    db_view *db_pump_view(db_pump *p);
    size_t db_pump_memory(const db_pump *p);
    void db_pump_set_peer_key(db_pump *p, const uint8_t *text, size_t len);
    int db_pump_attach(db_pump *p, const uint8_t *id, size_t len, const uint8_t *key, int64_t ticket, int opaque);
    int64_t db_pump_detach(db_pump *p, const uint8_t *id, size_t len);
    int db_pump_set_template(db_pump *p, const uint8_t *id, size_t len, const uint8_t *parts, size_t in_prefix,
                             size_t in_suffix, size_t out_prefix, size_t out_suffix);
    int64_t db_pump_set_spout(db_pump *p, const uint8_t *id, size_t len, db_spout *spout);
    int64_t db_pump_feed(db_pump *p, const uint8_t *in, size_t len, size_t offset, double now);
    void db_pump_trim(db_pump *p);
    void db_pump_close(db_pump *p);

    db_spout *db_spout_new(int fd);
    void db_spout_free(db_spout *s);
    void db_spout_close(db_spout *s);
    const char *db_spout_rest(const db_spout *s);
    size_t db_spout_rest_len(const db_spout *s);
    void db_spout_forget_rest(db_spout *s);
"""

PREAMBLE = """
#include "base64.h"
#include "crypto.h"
#include "frames.h"
#include "pump.h"
#include "scan.h"
#include "scan_chunk.h"
#include "spout.h"
"""


def extension_builder() -> cffi.FFI:
    """The configured builder; its sources are relative to the repository's root, where setup.py runs."""
    ffi = cffi.FFI()
    ffi.cdef(CDEF)
    ffi.set_source(
        "native._speed",
        PREAMBLE,
        sources=[str(SOURCE_DIR / name) for name in SOURCES],
        depends=[str(path) for path in sorted(SOURCE_DIR.glob("*.h"))],
        include_dirs=[str(SOURCE_DIR)],
        extra_compile_args=[*ORDINARY_FLAGS, *((*STRICT_FLAGS, *GENERATED_CODE_FLAGS) if STRICT else ())],
    )
    return ffi


ffibuilder = extension_builder()
