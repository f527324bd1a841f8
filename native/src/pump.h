/* The frame pump of one provider socket: bytes in, events out. No sockets, no clock, no Python.

   Between two calls of db_pump_feed no run is open; a partial message may be. All memory that held a key or plaintext
   is wiped before it is given back. The pure-Python twin (native/pure/pump.py) gives the same events. */
#ifndef DB_PUMP_H
#define DB_PUMP_H

#include "spout.h"

enum {
    DB_EV_RUN = 1,
    DB_EV_OPENED,
    DB_EV_OPAQUE,
    DB_EV_VIOLATION,
    DB_EV_BAD_TEXT,
    DB_EV_MESSAGE,
    DB_EV_PING,
    DB_EV_PONG,
    DB_EV_CLOSE,
    DB_EV_FATAL,
    DB_EV_STUCK
};

enum { DB_V_SENDER_KEY = 1, DB_V_BASE64, DB_V_SHORT, DB_V_OPEN };

/* Added to the number of events when input is left: take the events, then call again at `consumed`. */
#define DB_MORE 0x10000

typedef struct {
    int64_t kind;
    int64_t ticket; /* what db_pump_attach was given, or -1 */
    int64_t start;  /* payload[start:end] */
    int64_t end;
    int64_t a;
    int64_t b;
} db_event;

/* What the caller reads after a call of db_pump_feed; valid until the next call of any function of the pump. */
typedef struct {
    int64_t *words; /* the events, six numbers each */
    char *payload;
    size_t consumed;
} db_view;

typedef struct db_pump db_pump;

db_pump *db_pump_new(size_t max_message, int masked);
void db_pump_free(db_pump *p);

/* The view of this pump; the pointer stays valid as long as the pump. */
db_view *db_pump_view(db_pump *p);

/* Bytes of heap that the pump holds now, itself included. */
size_t db_pump_memory(const db_pump *p);

void db_pump_set_peer_key(db_pump *p, const uint8_t *text, size_t len);

/* 0; 1 if the id is attached already; -1 without memory. ticket >= 0. */
int db_pump_attach(db_pump *p, const uint8_t *id, size_t len, const uint8_t *key, int64_t ticket, int opaque);

/* The ticket of the id, which is forgotten and wiped; -1 if it was not attached. */
int64_t db_pump_detach(db_pump *p, const uint8_t *id, size_t len);

/* parts = the four parts of a template behind each other, NULL for none. 0, also for an unknown id; -1 without memory. */
int db_pump_set_template(db_pump *p, const uint8_t *id, size_t len, const uint8_t *parts, size_t in_prefix,
                         size_t in_suffix, size_t out_prefix, size_t out_suffix);

/* Lets the runs of an attempt leave through the spout (NULL for none), which must outlive the attempt or be taken out
   before; the attempt's ticket, or -1 for an id that is unknown or has ended. */
int64_t db_pump_set_spout(db_pump *p, const uint8_t *id, size_t len, db_spout *spout);

/* Takes in[offset:len]; the number of events, plus DB_MORE if input is left, or -1 without memory (the pump is dead).
   An offset of 0 says that the caller has handled all earlier events; `now` is the time that a spout notes. */
int64_t db_pump_feed(db_pump *p, const uint8_t *in, size_t len, size_t offset, double now);

/* Wipes and gives back what an idle pump does not need. Call it after the events were taken. */
void db_pump_trim(db_pump *p);

/* Wipes everything; all further input is ignored. */
void db_pump_close(db_pump *p);

#endif
