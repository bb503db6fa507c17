/* SPDX-License-Identifier: Apache-2.0
 *
 * Theorems about the lists over sequences of calls; see bucket_theorems.c. */
#include "core/lanes.h"

/* Zeroed memory is the empty state. */
/*@ requires \valid(lanes);
    requires \forall integer x; 0 <= x <= RD_LANES_NODES ==> lanes->nodes[x].list == 0;
    requires \forall integer m; 0 <= m <= RD_LANES_LISTS ==> lanes->lists[m].head == 0 &&
      lanes->lists[m].tail == 0 && lanes->lists[m].len == 0;
    terminates \true;
    assigns \nothing;
    ensures lanes_valid(lanes);
    ensures \forall integer m; lanes_empty(lanes, m); */
void theorem_zero_is_empty(const struct rd_lanes *lanes)
{
    (void)lanes; /* only the contract speaks of it */
    /*@ ghost
        /@ loop invariant 1 <= i <= RD_LANES_NODES + 1;
           loop invariant \forall integer m; lanes_is_list(m) ==> lanes_count(lanes, m, i - 1) == 0;
           loop assigns i;
           loop variant RD_LANES_NODES + 1 - i; @/
        for (uint32_t i = 1; i <= RD_LANES_NODES; i++) {
        } */
}

/* What is pushed at the head comes back at once, and all is as before. */
/*@ requires \valid(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_valid(lanes);
    ensures same: \result != 0 ==> \result == node && lanes->nodes[node].list == 0;
    ensures kept: lanes_kept{Pre, Post}(lanes, list, node);
    ensures length: lanes_is_list(list) ==> lanes->lists[list].len == \old(lanes->lists[list].len);
 */
uint32_t theorem_front_and_back(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    if (!rd_lanes_push_front(lanes, list, node)) {
        return 0;
    }
    return rd_lanes_pop(lanes, list);
}

/* First in, first out: of two that were pushed, the first comes out before the second, whatever
 * else the list holds. */
/*@ requires \valid(lanes) && lanes_valid(lanes) && first != second;
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_valid(lanes);
    ensures order: second != 0 ==> \result != second; */
uint32_t theorem_first_in_first_out(struct rd_lanes *lanes, uint32_t list, uint32_t first,
                                    uint32_t second, uint32_t pops)
{
    if (!rd_lanes_push(lanes, list, first) || !rd_lanes_push(lanes, list, second)) {
        return 0;
    }
    uint32_t popped = 0;
    /*@ loop invariant 0 <= i <= pops && lanes_valid(lanes) && popped != second;
        loop invariant lanes_in(lanes, list, first) && lanes_in(lanes, list, second);
        loop invariant lanes->nodes[first].seq < lanes->nodes[second].seq;
        loop assigns i, popped, *lanes;
        loop variant pops - i; */
    for (uint32_t i = 0; i < pops; i++) {
        popped = rd_lanes_pop(lanes, list);
        if (popped == first) {
            break;
        }
    }
    return popped;
}

/* Walking from the head along `next` to a node in the list ends there, goes strictly up, and takes
 * no more steps than rd_lanes_ahead says; exactly so many when the numbers have no gaps. */
/*@ requires \valid_read(lanes) && lanes_valid(lanes) && lanes_in(lanes, list, node);
    terminates \true;
    assigns \nothing;
    ensures bound: \result <= lanes->nodes[node].seq - lanes->nodes[lanes->lists[list].head].seq;
    ensures exact: (\forall integer y; lanes_in(lanes, list, y) && lanes->nodes[y].next != 0 ==>
        lanes->nodes[lanes->nodes[y].next].seq == lanes->nodes[y].seq + 1) ==>
      \result == lanes->nodes[node].seq - lanes->nodes[lanes->lists[list].head].seq; */
uint64_t theorem_walk(const struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    uint64_t steps = 0;
    uint32_t at = rd_lanes_head(lanes, list);
    /*@ loop invariant lanes_in(lanes, list, at);
        loop invariant lanes->nodes[at].seq <= lanes->nodes[node].seq;
        loop invariant lanes->nodes[at].seq - lanes->nodes[lanes->lists[list].head].seq >= steps;
        loop invariant exact: (\forall integer y; lanes_in(lanes, list, y) &&
            lanes->nodes[y].next != 0 ==>
            lanes->nodes[lanes->nodes[y].next].seq == lanes->nodes[y].seq + 1) ==>
          steps == lanes->nodes[at].seq - lanes->nodes[lanes->lists[list].head].seq;
        loop assigns at, steps;
        loop variant lanes->nodes[node].seq - lanes->nodes[at].seq; */
    while (at != node) {
        at = rd_lanes_next(lanes, at);
        steps++;
    }
    return steps;
}
