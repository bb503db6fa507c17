/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory: thin wrappers over the C library's allocator, and a block arena. See mem.h. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

enum { SMALL = 1024, ARENA_BLOCK_SIZE = 4096, ARENA_ALIGN = 16 };

struct rd_arena_block {
    struct rd_arena_block *next;
    size_t used;
    size_t size;
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

/* The C library keeps small blocks at hand for each thread, and its calloc passes them by (until
 * glibc 2.41): a malloc that is zeroed here costs a quarter. A large block may come from the kernel
 * as zeros, which only calloc knows. */
void *rd_mem_alloc(size_t size)
{
    if (size > SMALL) {
        return calloc(1, size);
    }
    void *block = malloc(size == 0 ? 1 : size);
    if (block != NULL) {
        memset(block, 0, size);
    }
    return block;
}

void *rd_mem_alloc_array(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    return rd_mem_alloc(total);
}

void *rd_mem_resize(void *block, size_t size)
{
    return realloc(block, size == 0 ? 1 : size);
}

char *rd_mem_memdupz(const void *data, size_t len)
{
    if (len == SIZE_MAX) {
        return NULL;
    }
    char *copy = malloc(len + 1);
    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, data, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

char *rd_mem_strdup(const char *text)
{
    return rd_mem_memdupz(text, strlen(text));
}

void rd_mem_free(void *block)
{
    free(block);
}

void rd_mem_free_ptr_(void *ptr_to_ptr)
{
    void *block;
    memcpy(&block, ptr_to_ptr, sizeof block);
    free(block);
}

void rd_mem_wipe(void *block, size_t len)
{
    sodium_memzero(block, len);
}

void rd_arena_init(struct rd_arena *arena, size_t max)
{
    *arena = (struct rd_arena){.max = max};
}

void *rd_arena_alloc(struct rd_arena *arena, size_t size)
{
    if (size > arena->max || arena->total > arena->max - size) {
        return NULL;
    }
    size_t rounded = (size + (ARENA_ALIGN - 1)) & ~(size_t)(ARENA_ALIGN - 1);
    struct rd_arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < rounded) {
        size_t room = rounded > ARENA_BLOCK_SIZE ? rounded : ARENA_BLOCK_SIZE;
        block = rd_mem_alloc(sizeof *block + room);
        if (block == NULL) {
            return NULL;
        }
        block->size = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *got = block->bytes + block->used;
    block->used += rounded;
    arena->total += size;
    return got;
}

char *rd_arena_strndup(struct rd_arena *arena, const char *text, size_t len)
{
    char *copy = len == SIZE_MAX ? NULL : rd_arena_alloc(arena, len + 1);
    if (copy != NULL && len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

char *rd_arena_printf(struct rd_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0) {
        return NULL;
    }
    char *text = rd_arena_alloc(arena, (size_t)len + 1);
    if (text != NULL) {
        va_start(args, fmt);
        len = vsnprintf(text, (size_t)len + 1, fmt, args);
        va_end(args);
    }
    return len < 0 ? NULL : text;
}

void rd_arena_done(struct rd_arena *arena)
{
    struct rd_arena_block *block = arena->blocks;
    while (block != NULL) {
        struct rd_arena_block *next = block->next;
        rd_mem_free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->total = 0;
}
