/* UTF-8 validation (RFC 3629): no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef DB_UTF8_H
#define DB_UTF8_H

#include "base.h"

int db_utf8_valid(const uint8_t *p, size_t len);

#endif
