/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory. The only place that calls malloc and free. Allocation can fail: it returns NULL and the
 * caller answers RD_ERR_NO_MEMORY. Three lifetimes exist: a local (RD_AUTO... frees at scope end),
 * a request (struct rd_arena, freed at once), and a long-lived object with exactly one owner. */
#ifndef RD_BASE_MEM_H
#define RD_BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* `size` bytes, zeroed; NULL when there is no memory. Size 0 gives a unique pointer. */
void *rd_mem_alloc(size_t size) RD_MUST;
/* `count` * `size` bytes, zeroed; NULL also when the product overflows. */
void *rd_mem_alloc_array(size_t count, size_t size) RD_MUST;
/* As realloc; new bytes are not zeroed. On NULL the old block is still valid. */
void *rd_mem_resize(void *block, size_t size) RD_MUST;
char *rd_mem_strdup(const char *text) RD_MUST;
char *rd_mem_memdupz(const void *data, size_t len) RD_MUST; /* a copy with a NUL behind it */
void rd_mem_free(void *block);                              /* NULL is fine */
/* Overwrites with zeros in a way that the compiler keeps. For secrets. */
void rd_mem_wipe(void *block, size_t len);

/* `RD_AUTO_FREE char *p = ...;` frees p at the end of the scope; RD_STEAL(p) hands it over. */
void rd_mem_free_ptr_(void *ptr_to_ptr);
#define RD_AUTO_FREE __attribute__((cleanup(rd_mem_free_ptr_)))
#define RD_STEAL(p)                                                                                \
    __extension__({                                                                                \
        __typeof__(p) got_ = (p);                                                                  \
        (p) = NULL;                                                                                \
        got_;                                                                                      \
    })

/* An arena: many small allocations with one end. Not for threads at the same time. */
struct rd_arena {
    struct rd_arena_block *blocks; /* newest first; NULL when nothing is allocated yet */
    size_t total;                  /* bytes handed out */
    size_t max;                    /* refuses to go beyond this many */
};

void rd_arena_init(struct rd_arena *arena, size_t max);
/* Zeroed, 16-byte aligned; NULL when out of memory or over `max`. Lives until rd_arena_done. */
void *rd_arena_alloc(struct rd_arena *arena, size_t size) RD_MUST;
char *rd_arena_strndup(struct rd_arena *arena, const char *text, size_t len) RD_MUST;
char *rd_arena_printf(struct rd_arena *arena, const char *fmt, ...) RD_PRINTF(2, 3) RD_MUST;
void rd_arena_done(struct rd_arena *arena);

#endif
