/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues that can be left from the middle: RD_LANES_LISTS first-in-first-out lists over one pool of
 * RD_LANES_NODES nodes. Every operation takes constant time, whatever the lists hold.
 *
 * Nodes and lists are numbers from 1; 0 is none. A node is in at most one list, and what it stands
 * for (a job) is the caller's, in an array beside this one. A node has a sequence number that grows
 * along its list, so the order of a list is that of its numbers, and the difference to the head's
 * says how many stand before it.
 *
 * Zeroed memory is the empty state: sizeof(struct rd_lanes) from calloc, of which the pages that
 * were never used cost nothing. Every function takes any number: one that is out of range, a node
 * that is in a list already or in none, is answered with false or 0, and nothing changes. One
 * writer at a time; the caller locks. */
#ifndef RD_CORE_LANES_H
#define RD_CORE_LANES_H

#include <stdbool.h>
#include <stdint.h>

#ifndef RD_LANES_NODES
#define RD_LANES_NODES 1048576u /* nodes are 1..RD_LANES_NODES */
#endif
#ifndef RD_LANES_LISTS
#define RD_LANES_LISTS 65536u /* lists are 1..RD_LANES_LISTS */
#endif
#define RD_LANES_PRIORITIES 3u
#define RD_LANES_SEQ_FIRST 0x8000000000000000u /* of the first node of a list that was empty */

struct rd_lanes_node {
    uint64_t seq;  /* grows from the head to the tail */
    uint32_t list; /* 0: in none */
    uint32_t next; /* towards the tail */
    uint32_t prev;
};

struct rd_lanes_list {
    uint32_t head; /* 0: empty */
    uint32_t tail;
    uint32_t len;
};

struct rd_lanes {
    struct rd_lanes_node nodes[RD_LANES_NODES + 1]; /* [0] is not used */
    struct rd_lanes_list lists[RD_LANES_LISTS + 1];
};

/* Behind the last. False: out of range, in a list already, or 2^63 nodes have passed through this
 * list without its once being empty. */
bool rd_lanes_push(struct rd_lanes *lanes, uint32_t list, uint32_t node);

/* Before the first: for a job that goes back to where it was taken from. False as above. */
bool rd_lanes_push_front(struct rd_lanes *lanes, uint32_t list, uint32_t node);

/* Takes the first out of its list and returns it; 0: the list is empty. */
uint32_t rd_lanes_pop(struct rd_lanes *lanes, uint32_t list);

/* Takes a node out of its list, wherever it stands. False: it is in none. */
bool rd_lanes_remove(struct rd_lanes *lanes, uint32_t node);

/* The first of a list, and the one behind a node; 0: none. */
uint32_t rd_lanes_head(const struct rd_lanes *lanes, uint32_t list);
uint32_t rd_lanes_next(const struct rd_lanes *lanes, uint32_t node);

uint32_t rd_lanes_len(const struct rd_lanes *lanes, uint32_t list);

/* The list that a node is in; 0: none. */
uint32_t rd_lanes_list_of(const struct rd_lanes *lanes, uint32_t node);

/* At most so many stand before a node in its list: exactly so many when nobody left from between
 * the head and it. 0 for one in no list. */
uint32_t rd_lanes_ahead(const struct rd_lanes *lanes, uint32_t node);

/* The first list of the three that is not empty, which is the one to pop from: every list before it
 * is empty. *ret_lane is its index. 0, and *ret_lane is left alone, when all are empty. */
uint32_t rd_lanes_first(const struct rd_lanes *lanes, const uint32_t lists[RD_LANES_PRIORITIES],
                        uint32_t *ret_lane);

#endif
