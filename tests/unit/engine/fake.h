/* SPDX-License-Identifier: Apache-2.0
 *
 * A scripted engine: an implementation of struct rd_engine_ops whose runs do what a script says. A
 * script is chosen by the generation's prompt; in between, the engine keeps every MUST of engine.h,
 * but for the one breach that `fake_breach` names. */
#ifndef RD_TESTS_ENGINE_FAKE_H
#define RD_TESTS_ENGINE_FAKE_H

#include "engine/engine.h"

/* What a run does, for each output; then done(RD_OK) or what FAKE_FAIL says. */
enum fake_op {
    FAKE_STOP,     /* ends the list */
    FAKE_PROGRESS, /* `value` per cent of this output */
    FAKE_PREVIEW,
    FAKE_BEGIN,
    FAKE_DATA, /* `value` bytes; the first ones of an output are those of its medium */
    FAKE_END,
    FAKE_WAIT, /* `value` ms, or until it is cancelled or its time is over */
    FAKE_HANG, /* until then */
    FAKE_FAIL, /* done(value) */
};

struct fake_step {
    enum fake_op op;
    unsigned value;
};

struct fake_script {
    const char *prompt;
    struct fake_step steps[10];
    bool final, faultless; /* of its failure */
};
/* "quick", "late", "slow"; "partial", "oversized", "malformed", "refused", "lost", which fail. */
extern const struct fake_script fake_scripts[];
extern const size_t fake_scripts_count;

enum fake_breach {
    FAKE_NONE,
    FAKE_TWICE,            /* done() comes twice */
    FAKE_NEVER,            /* or not at all */
    FAKE_AFTER,            /* data() after done() */
    FAKE_DEAF,             /* goes on after cancel() */
    FAKE_TIMELESS,         /* goes on after the deadline */
    FAKE_GOES_ON,          /* goes on after a sink's error */
    FAKE_OTHER_ERROR,      /* does not pass it on */
    FAKE_FEWER,            /* an output is missing */
    FAKE_UNENDED,          /* end() is missing */
    FAKE_OTHER_MEDIA,      /* begin() with another medium */
    FAKE_TEXT,             /* the bytes are no picture */
    FAKE_HINT,             /* more bytes than were told */
    FAKE_SAME_SEED,        /* each output is the same */
    FAKE_RANDOM,           /* the same request, another picture */
    FAKE_IN_START,         /* progress() from inside start() */
    FAKE_IN_CANCEL,        /* done() from inside cancel() */
    FAKE_BLOCKS_START,     /* start() takes its time */
    FAKE_BLOCKS_CANCEL,    /* cancel() does */
    FAKE_TWO_THREADS,      /* two threads in the sink */
    FAKE_BACKWARDS,        /* progress that falls */
    FAKE_KNOWN_ZERO,       /* a device time of zero that is said to be known */
    FAKE_UNKNOWN_TIME,     /* a device time that is said not to be known */
    FAKE_FINAL_SUCCESS,    /* a success that is final */
    FAKE_NO_REPORT,        /* done() without a report */
    FAKE_EMPTY_WHY,        /* a why without words */
    FAKE_WRONG_ERROR,      /* a cancelled run ends with another error */
    FAKE_ALWAYS_READY,     /* health() does not notice */
    FAKE_NEVER_READY,      /* health() never says yes */
    FAKE_READY_WORDS,      /* ready, and words why not */
    FAKE_UNTOLD_PREVIEWS,  /* previews that capabilities() denies */
    FAKE_CANNOT,           /* capabilities() without the task that is served */
    FAKE_FICKLE,           /* capabilities() that change */
    FAKE_STUCK_AFTER_FAIL, /* after a failure nothing works any more */
    FAKE_BREACH_COUNT_
};
extern enum fake_breach fake_breach;

extern const struct rd_engine_ops fake_ops;
/* The server behind it goes away and returns: runs fail meanwhile, health() says so. */
void fake_server(void *ctx, bool up);

#endif
