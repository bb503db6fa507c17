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

/*@ predicate lanes_is_node(integer x) = 1 <= x <= RD_LANES_NODES;
    predicate lanes_is_list(integer m) = 1 <= m <= RD_LANES_LISTS;
    // Node x is in list m. What a list holds is these nodes, in the order of their seq.
    predicate lanes_in{L}(struct rd_lanes *l, integer m, integer x) =
      lanes_is_list(m) && lanes_is_node(x) && l->nodes[x].list == m;

    predicate lanes_ranged{L}(struct rd_lanes *l) =
      \forall integer x; lanes_is_node(x) ==> l->nodes[x].list <= RD_LANES_LISTS;
    predicate lanes_linked{L}(struct rd_lanes *l) =
      \forall integer x, m; lanes_in(l, m, x) ==>
        (l->nodes[x].next == 0 ==> l->lists[m].tail == x) &&
        (l->nodes[x].prev == 0 ==> l->lists[m].head == x) &&
        (l->nodes[x].next != 0 ==> lanes_is_node(l->nodes[x].next) &&
          l->nodes[l->nodes[x].next].list == m && l->nodes[l->nodes[x].next].prev == x &&
          l->nodes[x].seq < l->nodes[l->nodes[x].next].seq) &&
        (l->nodes[x].prev != 0 ==> lanes_is_node(l->nodes[x].prev) &&
          l->nodes[l->nodes[x].prev].list == m && l->nodes[l->nodes[x].prev].next == x);
    // No two of a list have the same seq, and `next` is the very next.
    predicate lanes_ordered{L}(struct rd_lanes *l) =
      \forall integer x, y, m; lanes_in(l, m, x) && lanes_in(l, m, y) ==>
        (l->nodes[x].seq == l->nodes[y].seq ==> x == y) &&
        (l->nodes[x].seq < l->nodes[y].seq ==>
          l->nodes[x].next != 0 && l->nodes[l->nodes[x].next].seq <= l->nodes[y].seq);
    predicate lanes_ended{L}(struct rd_lanes *l) =
      (\forall integer m; lanes_is_list(m) ==>
        (l->lists[m].head == 0 <==> l->lists[m].tail == 0) &&
        (l->lists[m].head != 0 ==>
          lanes_in(l, m, l->lists[m].head) && l->nodes[l->lists[m].head].prev == 0 &&
          lanes_in(l, m, l->lists[m].tail) && l->nodes[l->lists[m].tail].next == 0)) &&
      (\forall integer m, x; lanes_in(l, m, x) ==> l->lists[m].head != 0 &&
        l->nodes[l->lists[m].head].seq <= l->nodes[x].seq <= l->nodes[l->lists[m].tail].seq);
    // How many of the nodes 1..n are in m.
    logic integer lanes_count{L}(struct rd_lanes *l, integer m, integer n) =
      n <= 0 ? 0 : lanes_count(l, m, n - 1) + (l->nodes[n].list == m ? 1 : 0);
    predicate lanes_counted{L}(struct rd_lanes *l) = \forall integer m;
      lanes_is_list(m) ==> l->lists[m].len == lanes_count(l, m, RD_LANES_NODES);
    predicate lanes_wired{L}(struct rd_lanes *l) =
      lanes_ranged(l) && lanes_linked(l) && lanes_ordered(l) && lanes_ended(l);
    predicate lanes_valid{L}(struct rd_lanes *l) = lanes_wired(l) && lanes_counted(l);
    predicate lanes_empty{L}(struct rd_lanes *l, integer m) = \forall integer x; !lanes_in(l, m, x);

    // Every node but x is where it was, in the same order; every list but m is as it was.
    predicate lanes_kept{A, B}(struct rd_lanes *l, integer m, integer x) =
      (\forall integer y; lanes_is_node(y) && y != x ==>
        \at(l->nodes[y].list, A) == \at(l->nodes[y].list, B) &&
        \at(l->nodes[y].seq, A) == \at(l->nodes[y].seq, B)) &&
      (\forall integer k; lanes_is_list(k) && k != m ==>
        \at(l->lists[k].head, A) == \at(l->lists[k].head, B) &&
        \at(l->lists[k].tail, A) == \at(l->lists[k].tail, B) &&
        \at(l->lists[k].len, A) == \at(l->lists[k].len, B)); */

/* Behind the last. False: out of range, in a list already, or 2^63 nodes have passed through this
 * list without its once being empty. */
/*@ requires \valid(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_ranged(lanes) && lanes_linked(lanes);
    ensures ordered: lanes_ordered(lanes);
    ensures ended: lanes_ended(lanes);
    ensures counted: lanes_counted(lanes);
    ensures result: \result <==> lanes_is_list(list) && lanes_is_node(node) &&
      \old(lanes->nodes[node].list) == 0 && (\old(lanes->lists[list].tail) == 0 ||
        \old(lanes->nodes[lanes->lists[list].tail].seq) < UINT64_MAX);
    ensures refused: !\result ==> lanes_kept{Pre, Post}(lanes, 0, 0);
    ensures kept: \result ==> lanes_kept{Pre, Post}(lanes, list, node);
    ensures one_more: \result ==> lanes->lists[list].len == \old(lanes->lists[list].len) + 1;
    ensures last: \result ==> lanes_in(lanes, list, node) && lanes->lists[list].tail == node &&
      \forall integer y; lanes_in(lanes, list, y) && y != node ==>
        lanes->nodes[y].seq < lanes->nodes[node].seq; */
bool rd_lanes_push(struct rd_lanes *lanes, uint32_t list, uint32_t node);

/* Before the first: for a job that goes back to where it was taken from. False as above. */
/*@ requires \valid(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_ranged(lanes) && lanes_linked(lanes);
    ensures ordered: lanes_ordered(lanes);
    ensures ended: lanes_ended(lanes);
    ensures counted: lanes_counted(lanes);
    ensures result: \result <==> lanes_is_list(list) && lanes_is_node(node) &&
      \old(lanes->nodes[node].list) == 0 && (\old(lanes->lists[list].head) == 0 ||
        \old(lanes->nodes[lanes->lists[list].head].seq) > 0);
    ensures refused: !\result ==> lanes_kept{Pre, Post}(lanes, 0, 0);
    ensures kept: \result ==> lanes_kept{Pre, Post}(lanes, list, node);
    ensures one_more: \result ==> lanes->lists[list].len == \old(lanes->lists[list].len) + 1;
    ensures first: \result ==> lanes_in(lanes, list, node) && lanes->lists[list].head == node &&
      \forall integer y; lanes_in(lanes, list, y) && y != node ==>
        lanes->nodes[node].seq < lanes->nodes[y].seq; */
bool rd_lanes_push_front(struct rd_lanes *lanes, uint32_t list, uint32_t node);

/* Takes the first out of its list and returns it; 0: the list is empty. */
/*@ requires \valid(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_valid(lanes);
    ensures none: \result == 0 <==> \old(lanes_empty(lanes, list));
    ensures refused: \result == 0 ==> lanes_kept{Pre, Post}(lanes, 0, 0);
    ensures kept: \result != 0 ==> lanes_kept{Pre, Post}(lanes, list, \result);
    ensures one_less: \result != 0 ==>
      lanes->lists[list].len == \old(lanes->lists[list].len) - 1;
    ensures gone: \result != 0 ==> lanes->nodes[\result].list == 0;
    ensures first: \result != 0 ==> \at(lanes_in(lanes, list, \result), Pre) &&
      \forall integer y; \at(lanes_in(lanes, list, y), Pre) ==>
        \at(lanes->nodes[\result].seq, Pre) <= \at(lanes->nodes[y].seq, Pre); */
uint32_t rd_lanes_pop(struct rd_lanes *lanes, uint32_t list);

/* Takes a node out of its list, wherever it stands. False: it is in none. */
/*@ requires \valid(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns *lanes;
    ensures valid: lanes_ranged(lanes) && lanes_linked(lanes);
    ensures ordered: lanes_ordered(lanes);
    ensures ended: lanes_ended(lanes);
    ensures counted: lanes_counted(lanes);
    ensures result: \result <==> lanes_is_node(node) && \old(lanes->nodes[node].list) != 0;
    ensures refused: !\result ==> lanes_kept{Pre, Post}(lanes, 0, 0);
    ensures kept: \result ==> lanes_kept{Pre, Post}(lanes, \old(lanes->nodes[node].list), node);
    ensures one_less: \result ==> \let m = \old(lanes->nodes[node].list);
      lanes->lists[m].len == \at(lanes->lists[m].len, Pre) - 1;
    ensures gone: \result ==> lanes->nodes[node].list == 0; */
bool rd_lanes_remove(struct rd_lanes *lanes, uint32_t node);

/* The first of a list, and the one behind a node; 0: none. */
/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns \nothing;
    ensures head: lanes_is_list(list) ==> \result == lanes->lists[list].head;
    ensures none: \result == 0 <==> lanes_empty(lanes, list);
    ensures first: \result != 0 ==> lanes_in(lanes, list, \result) &&
      \forall integer y; lanes_in(lanes, list, y) ==>
        lanes->nodes[\result].seq <= lanes->nodes[y].seq; */
uint32_t rd_lanes_head(const struct rd_lanes *lanes, uint32_t list);
/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns \nothing;
    ensures none: \result == 0 ==> \forall integer y, m;
      lanes_in(lanes, m, node) && lanes_in(lanes, m, y) ==>
        lanes->nodes[y].seq <= lanes->nodes[node].seq;
    ensures next: \result != 0 ==> lanes_is_node(node) &&
      lanes_in(lanes, lanes->nodes[node].list, \result) &&
      lanes->nodes[node].seq < lanes->nodes[\result].seq &&
      \forall integer y; lanes_in(lanes, lanes->nodes[node].list, y) &&
        lanes->nodes[node].seq < lanes->nodes[y].seq ==>
        lanes->nodes[\result].seq <= lanes->nodes[y].seq; */
uint32_t rd_lanes_next(const struct rd_lanes *lanes, uint32_t node);

/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns \nothing;
    ensures count: lanes_is_list(list) ==> \result == lanes_count(lanes, list, RD_LANES_NODES);
    ensures none: \result == 0 <==> lanes_empty(lanes, list); */
uint32_t rd_lanes_len(const struct rd_lanes *lanes, uint32_t list);

/* The list that a node is in; 0: none. */
/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns \nothing;
    ensures none: \result == 0 ==> \forall integer m; !lanes_in(lanes, m, node);
    ensures in: \result != 0 ==> lanes_in(lanes, \result, node); */
uint32_t rd_lanes_list_of(const struct rd_lanes *lanes, uint32_t node);

/* At most so many stand before a node in its list: exactly so many when nobody left from between
 * the head and it. 0 for one in no list. */
/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    terminates \true;
    assigns \nothing;
    ensures none: (\forall integer m; !lanes_in(lanes, m, node)) ==> \result == 0;
    ensures ahead: \forall integer m; lanes_in(lanes, m, node) ==> \result == \min(
      lanes->lists[m].len - 1,
      lanes->nodes[node].seq - lanes->nodes[lanes->lists[m].head].seq); */
uint32_t rd_lanes_ahead(const struct rd_lanes *lanes, uint32_t node);

/* The first list of the three that is not empty, which is the one to pop from: every list before it
 * is empty. *ret_lane is its index. 0, and *ret_lane is left alone, when all are empty. */
/*@ requires \valid_read(lanes) && lanes_valid(lanes);
    requires \valid_read(lists + (0 .. RD_LANES_PRIORITIES - 1)) && \valid(ret_lane);
    requires \separated(ret_lane, lanes, lists + (0 .. RD_LANES_PRIORITIES - 1));
    terminates \true;
    assigns *ret_lane;
    ensures none: \result == 0 ==> *ret_lane == \old(*ret_lane) &&
      \forall integer i; 0 <= i < RD_LANES_PRIORITIES ==> \old(lanes_empty(lanes, lists[i]));
    ensures first: \result != 0 ==> *ret_lane < RD_LANES_PRIORITIES &&
      \result == \old(lists[\at(*ret_lane, Post)]);
    ensures has: \result != 0 ==> !\old(lanes_empty(lanes, \result));
    ensures higher_are_empty: \result != 0 ==> \forall integer i;
      0 <= i < *ret_lane ==> \old(lanes_empty(lanes, lists[i])); */
uint32_t rd_lanes_first(const struct rd_lanes *lanes, const uint32_t lists[RD_LANES_PRIORITIES],
                        uint32_t *ret_lane);

#endif
