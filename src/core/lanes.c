/* SPDX-License-Identifier: Apache-2.0
 *
 * The lists. See lanes.h. */
#include "core/lanes.h"

/*@ terminates \true;
    assigns \nothing;
    ensures \result <==> lanes_is_list(list); */
static bool is_list(uint32_t list)
{
    return 1 <= list && list <= RD_LANES_LISTS;
}

/*@ terminates \true;
    assigns \nothing;
    ensures \result <==> lanes_is_node(node); */
static bool is_node(uint32_t node)
{
    return 1 <= node && node <= RD_LANES_NODES;
}

/*@ requires \valid_read(lanes);
    terminates \true;
    assigns \nothing;
    ensures \result <==>
      lanes_is_list(list) && lanes_is_node(node) && lanes->nodes[node].list == 0; */
static bool may_enter(const struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    return is_list(list) && is_node(node) && lanes->nodes[node].list == 0;
}

/*@ // How the links change when x becomes the last, or the first, of m, or leaves m.
    predicate lanes_entered{A, B}(struct rd_lanes *l, integer m, integer x) =
      lanes_is_list(m) && lanes_is_node(x) &&
      \at(l->nodes[x].list, A) == 0 && \at(lanes_in(l, m, x), B) &&
      (\forall integer y, k; \at(lanes_in(l, k, y), B) ==> y != x ==> \at(lanes_in(l, k, y), A)) &&
      (\forall integer y; lanes_is_node(y) ==>
        \at(l->nodes[y].list, B) == (y == x ? m : \at(l->nodes[y].list, A)) &&
        (y != x ==> \at(l->nodes[y].seq, B) == \at(l->nodes[y].seq, A)));
    predicate lanes_appended{A, B}(struct rd_lanes *l, integer m, integer x, integer tail) =
      \at(l->lists[m].tail, A) == tail && (tail != 0 ==> \at(lanes_in(l, m, tail), A)) &&
      \at(l->nodes[x].seq, B) ==
        (tail == 0 ? RD_LANES_SEQ_FIRST : \at(l->nodes[tail].seq, A) + 1) &&
      (\forall integer y; lanes_is_node(y) ==>
        \at(l->nodes[y].prev, B) == (y == x ? tail : \at(l->nodes[y].prev, A)) &&
        \at(l->nodes[y].next, B) == (y == x ? 0 : y == tail ? x : \at(l->nodes[y].next, A)));
    predicate lanes_end_appended{A, B}(struct rd_lanes *l, integer m, integer x, integer tail) =
      \forall integer k; lanes_is_list(k) ==>
        \at(l->lists[k].head, B) == (k == m && tail == 0 ? x : \at(l->lists[k].head, A)) &&
        \at(l->lists[k].tail, B) == (k == m ? x : \at(l->lists[k].tail, A)) &&
        \at(l->lists[k].len, B) == \at(l->lists[k].len, A) + (k == m ? 1 : 0);
    predicate lanes_prepended{A, B}(struct rd_lanes *l, integer m, integer x, integer head) =
      \at(l->lists[m].head, A) == head && (head != 0 ==> \at(lanes_in(l, m, head), A)) &&
      \at(l->nodes[x].seq, B) ==
        (head == 0 ? RD_LANES_SEQ_FIRST : \at(l->nodes[head].seq, A) - 1) &&
      (\forall integer y; lanes_is_node(y) ==>
        \at(l->nodes[y].next, B) == (y == x ? head : \at(l->nodes[y].next, A)) &&
        \at(l->nodes[y].prev, B) == (y == x ? 0 : y == head ? x : \at(l->nodes[y].prev, A)));
    predicate lanes_end_prepended{A, B}(struct rd_lanes *l, integer m, integer x, integer head) =
      \forall integer k; lanes_is_list(k) ==>
        \at(l->lists[k].tail, B) == (k == m && head == 0 ? x : \at(l->lists[k].tail, A)) &&
        \at(l->lists[k].head, B) == (k == m ? x : \at(l->lists[k].head, A)) &&
        \at(l->lists[k].len, B) == \at(l->lists[k].len, A) + (k == m ? 1 : 0);
    predicate lanes_gone{A, B}(struct rd_lanes *l, integer m, integer x) =
      \at(lanes_in(l, m, x), A) &&
      (\forall integer y, k; \at(lanes_in(l, k, y), B) ==> y != x && \at(lanes_in(l, k, y), A)) &&
      (\forall integer y; lanes_is_node(y) ==>
        \at(l->nodes[y].list, B) == (y == x ? 0 : \at(l->nodes[y].list, A)) &&
        \at(l->nodes[y].seq, B) == \at(l->nodes[y].seq, A));
    predicate lanes_left{A, B}(struct rd_lanes *l, integer m, integer x, integer p, integer n) =
      \at(l->nodes[x].prev, A) == p && (p != 0 ==> \at(lanes_in(l, m, p), A)) &&
      \at(l->nodes[x].next, A) == n && (n != 0 ==> \at(lanes_in(l, m, n), A)) &&
      (\forall integer y; lanes_is_node(y) ==>
        \at(l->nodes[y].next, B) == (y == p ? n : \at(l->nodes[y].next, A)) &&
        \at(l->nodes[y].prev, B) == (y == n ? p : \at(l->nodes[y].prev, A)));
    predicate lanes_end_left{A, B}(struct rd_lanes *l, integer m, integer p, integer n) =
      \forall integer k; lanes_is_list(k) ==>
        \at(l->lists[k].head, B) == (k == m && p == 0 ? n : \at(l->lists[k].head, A)) &&
        \at(l->lists[k].tail, B) == (k == m && n == 0 ? p : \at(l->lists[k].tail, A)) &&
        \at(l->lists[k].len, B) == \at(l->lists[k].len, A) - (k == m ? 1 : 0);

    // Each of the three keeps each part of lanes_wired.
    lemma appended_linked{A, B}: \forall struct rd_lanes *l, integer m, x, tail;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_appended{A, B}(l, m, x, tail) &&
      lanes_end_appended{A, B}(l, m, x, tail) ==> \at(lanes_linked(l), B);
    lemma appended_ordered{A, B}: \forall struct rd_lanes *l, integer m, x, tail;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_appended{A, B}(l, m, x, tail) &&
      lanes_end_appended{A, B}(l, m, x, tail) ==> \at(lanes_ordered(l), B);
    lemma appended_ended{A, B}: \forall struct rd_lanes *l, integer m, x, tail;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_appended{A, B}(l, m, x, tail) &&
      lanes_end_appended{A, B}(l, m, x, tail) ==> \at(lanes_ended(l), B);
    lemma prepended_linked{A, B}: \forall struct rd_lanes *l, integer m, x, head;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_prepended{A, B}(l, m, x, head) &&
      lanes_end_prepended{A, B}(l, m, x, head) ==> \at(lanes_linked(l), B);
    lemma prepended_ordered{A, B}: \forall struct rd_lanes *l, integer m, x, head;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_prepended{A, B}(l, m, x, head) &&
      lanes_end_prepended{A, B}(l, m, x, head) ==> \at(lanes_ordered(l), B);
    lemma prepended_ended{A, B}: \forall struct rd_lanes *l, integer m, x, head;
      \at(lanes_wired(l), A) && lanes_entered{A, B}(l, m, x) &&
      lanes_prepended{A, B}(l, m, x, head) &&
      lanes_end_prepended{A, B}(l, m, x, head) ==> \at(lanes_ended(l), B);
    lemma left_linked{A, B}: \forall struct rd_lanes *l, integer m, x, p, n;
      \at(lanes_wired(l), A) && lanes_gone{A, B}(l, m, x) && lanes_left{A, B}(l, m, x, p, n) &&
      lanes_end_left{A, B}(l, m, p, n) ==> \at(lanes_linked(l), B);
    lemma left_ordered{A, B}: \forall struct rd_lanes *l, integer m, x, p, n;
      \at(lanes_wired(l), A) && lanes_gone{A, B}(l, m, x) && lanes_left{A, B}(l, m, x, p, n) &&
      lanes_end_left{A, B}(l, m, p, n) ==> \at(lanes_ordered(l), B);
    lemma left_ended{A, B}: \forall struct rd_lanes *l, integer m, x, p, n;
      \at(lanes_wired(l), A) && lanes_gone{A, B}(l, m, x) && lanes_left{A, B}(l, m, x, p, n) &&
      lanes_end_left{A, B}(l, m, p, n) ==> \at(lanes_ended(l), B); */

/*@ ghost
    /@ requires \valid_read(l) && lanes_counted(l) && lanes_ended(l);
       terminates \true;
       assigns \nothing;
       ensures \forall integer m; lanes_is_list(m) ==> l->lists[m].len <= RD_LANES_NODES;
       ensures \forall integer m; lanes_is_list(m) ==>
         (l->lists[m].len == 0 <==> l->lists[m].head == 0); @/
    static void count_bounds(const struct rd_lanes *l)
    {
        /@ loop invariant 1 <= i <= RD_LANES_NODES + 1;
           loop invariant \forall integer m; 0 <= lanes_count(l, m, i - 1) <= i - 1;
           loop invariant \forall integer m; lanes_is_list(m) && l->lists[m].head == 0 ==>
             lanes_count(l, m, i - 1) == 0;
           loop invariant \forall integer m; lanes_is_list(m) && 0 < l->lists[m].head < i ==>
             lanes_count(l, m, i - 1) >= 1;
           loop assigns i;
           loop variant RD_LANES_NODES + 1 - i; @/
        for (uint32_t i = 1; i <= RD_LANES_NODES; i++) {
        }
    }
*/

/* The one behind `node` is `next`; with node 0 it is the first of the list. */
/*@ requires \valid(lanes) && lanes_is_list(list) && node <= RD_LANES_NODES;
    terminates \true;
    assigns *lanes;
    ensures \forall integer y; lanes_is_node(y) ==>
      lanes->nodes[y].next == (y == node ? next : \old(lanes->nodes[y].next)) &&
      lanes->nodes[y].prev == \old(lanes->nodes[y].prev) &&
      lanes->nodes[y].list == \old(lanes->nodes[y].list) &&
      lanes->nodes[y].seq == \old(lanes->nodes[y].seq);
    ensures \forall integer k; lanes_is_list(k) ==> lanes->lists[k].head ==
      (k == list && node == 0 ? next : \old(lanes->lists[k].head)) &&
      lanes->lists[k].tail == \old(lanes->lists[k].tail) &&
      lanes->lists[k].len == \old(lanes->lists[k].len); */
static void set_next(struct rd_lanes *lanes, uint32_t list, uint32_t node, uint32_t next)
{
    if (node != 0) {
        lanes->nodes[node].next = next;
    } else {
        lanes->lists[list].head = next;
    }
}

/* The one before `node` is `prev`; with node 0 it is the last of the list. */
/*@ requires \valid(lanes) && lanes_is_list(list) && node <= RD_LANES_NODES;
    terminates \true;
    assigns *lanes;
    ensures \forall integer y; lanes_is_node(y) ==>
      lanes->nodes[y].prev == (y == node ? prev : \old(lanes->nodes[y].prev)) &&
      lanes->nodes[y].next == \old(lanes->nodes[y].next) &&
      lanes->nodes[y].list == \old(lanes->nodes[y].list) &&
      lanes->nodes[y].seq == \old(lanes->nodes[y].seq);
    ensures \forall integer k; lanes_is_list(k) ==> lanes->lists[k].tail ==
      (k == list && node == 0 ? prev : \old(lanes->lists[k].tail)) &&
      lanes->lists[k].head == \old(lanes->lists[k].head) &&
      lanes->lists[k].len == \old(lanes->lists[k].len); */
static void set_prev(struct rd_lanes *lanes, uint32_t list, uint32_t node, uint32_t prev)
{
    if (node != 0) {
        lanes->nodes[node].prev = prev;
    } else {
        lanes->lists[list].tail = prev;
    }
}

/*@ requires \valid(lanes) && lanes_wired(lanes) && lanes_is_list(list) && lanes_is_node(node);
    requires lanes->nodes[node].list == 0 && lanes->lists[list].len < UINT32_MAX;
    requires lanes->lists[list].tail != 0 ==>
      lanes->nodes[lanes->lists[list].tail].seq < UINT64_MAX;
    terminates \true;
    assigns *lanes;
    ensures lanes_entered{Pre, Post}(lanes, list, node);
    ensures lanes_appended{Pre, Post}(lanes, list, node, \old(lanes->lists[list].tail));
    ensures lanes_end_appended{Pre, Post}(lanes, list, node, \old(lanes->lists[list].tail)); */
static void append(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    const uint32_t tail = lanes->lists[list].tail;
    const uint64_t seq = tail != 0 ? lanes->nodes[tail].seq + 1 : RD_LANES_SEQ_FIRST;
    set_next(lanes, list, tail, node);
    lanes->lists[list].tail = node;
    lanes->lists[list].len++;
    lanes->nodes[node].seq = seq;
    lanes->nodes[node].prev = tail;
    lanes->nodes[node].next = 0;
    lanes->nodes[node].list = list;
}

/*@ requires \valid(lanes) && lanes_wired(lanes) && lanes_is_list(list) && lanes_is_node(node);
    requires lanes->nodes[node].list == 0 && lanes->lists[list].len < UINT32_MAX;
    requires lanes->lists[list].head != 0 ==> lanes->nodes[lanes->lists[list].head].seq > 0;
    terminates \true;
    assigns *lanes;
    ensures lanes_entered{Pre, Post}(lanes, list, node);
    ensures lanes_prepended{Pre, Post}(lanes, list, node, \old(lanes->lists[list].head));
    ensures lanes_end_prepended{Pre, Post}(lanes, list, node, \old(lanes->lists[list].head)); */
static void prepend(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    const uint32_t head = lanes->lists[list].head;
    const uint64_t seq = head != 0 ? lanes->nodes[head].seq - 1 : RD_LANES_SEQ_FIRST;
    set_prev(lanes, list, head, node);
    lanes->lists[list].head = node;
    lanes->lists[list].len++;
    lanes->nodes[node].seq = seq;
    lanes->nodes[node].prev = 0;
    lanes->nodes[node].next = head;
    lanes->nodes[node].list = list;
}

/*@ requires \valid(lanes) && lanes_wired(lanes) && lanes_in(lanes, list, node);
    requires lanes->lists[list].len > 0;
    terminates \true;
    assigns *lanes;
    ensures lanes_gone{Pre, Post}(lanes, list, node);
    ensures lanes_left{Pre, Post}(lanes, list, node, \old(lanes->nodes[node].prev),
      \old(lanes->nodes[node].next));
    ensures lanes_end_left{Pre, Post}(lanes, list, \old(lanes->nodes[node].prev),
      \old(lanes->nodes[node].next)); */
static void leave(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    const uint32_t prev = lanes->nodes[node].prev;
    const uint32_t next = lanes->nodes[node].next;
    set_next(lanes, list, prev, next);
    set_prev(lanes, list, next, prev);
    lanes->lists[list].len--;
    lanes->nodes[node].list = 0;
}

bool rd_lanes_push(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    if (!may_enter(lanes, list, node)) {
        return false;
    }
    const uint32_t tail = lanes->lists[list].tail;
    if (tail != 0 && lanes->nodes[tail].seq == UINT64_MAX) {
        return false;
    }
    //@ ghost count_bounds(lanes);
    append(lanes, list, node);
    //@ assert lanes_wired(lanes);
    /*@ ghost
        /@ loop invariant 1 <= i <= RD_LANES_NODES + 1;
           loop invariant \forall integer m; lanes_is_list(m) ==> lanes_count(lanes, m, i - 1) ==
             \at(lanes_count(lanes, m, \at(i, Here) - 1), Pre) + (m == list && node < i ? 1 : 0);
           loop assigns i;
           loop variant RD_LANES_NODES + 1 - i; @/
        for (uint32_t i = 1; i <= RD_LANES_NODES; i++) {
        } */
    //@ assert lanes_counted(lanes);
    //@ assert lanes_kept{Pre, Here}(lanes, list, node);
    return true;
}

bool rd_lanes_push_front(struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    if (!may_enter(lanes, list, node)) {
        return false;
    }
    const uint32_t head = lanes->lists[list].head;
    if (head != 0 && lanes->nodes[head].seq == 0) {
        return false;
    }
    //@ ghost count_bounds(lanes);
    prepend(lanes, list, node);
    //@ assert lanes_wired(lanes);
    /*@ ghost
        /@ loop invariant 1 <= i <= RD_LANES_NODES + 1;
           loop invariant \forall integer m; lanes_is_list(m) ==> lanes_count(lanes, m, i - 1) ==
             \at(lanes_count(lanes, m, \at(i, Here) - 1), Pre) + (m == list && node < i ? 1 : 0);
           loop assigns i;
           loop variant RD_LANES_NODES + 1 - i; @/
        for (uint32_t i = 1; i <= RD_LANES_NODES; i++) {
        } */
    //@ assert lanes_counted(lanes);
    //@ assert lanes_kept{Pre, Here}(lanes, list, node);
    return true;
}

bool rd_lanes_remove(struct rd_lanes *lanes, uint32_t node)
{
    if (!is_node(node) || lanes->nodes[node].list == 0) {
        return false;
    }
    const uint32_t list = lanes->nodes[node].list;
    //@ assert lanes_in(lanes, list, node);
    //@ ghost count_bounds(lanes);
    leave(lanes, list, node);
    //@ assert lanes_wired(lanes);
    /*@ ghost
        /@ loop invariant 1 <= i <= RD_LANES_NODES + 1;
           loop invariant \forall integer m; lanes_is_list(m) ==> lanes_count(lanes, m, i - 1) ==
             \at(lanes_count(lanes, m, \at(i, Here) - 1), Pre) - (m == list && node < i ? 1 : 0);
           loop assigns i;
           loop variant RD_LANES_NODES + 1 - i; @/
        for (uint32_t i = 1; i <= RD_LANES_NODES; i++) {
        } */
    //@ assert lanes_counted(lanes);
    //@ assert lanes_kept{Pre, Here}(lanes, list, node);
    return true;
}

uint32_t rd_lanes_pop(struct rd_lanes *lanes, uint32_t list)
{
    const uint32_t node = rd_lanes_head(lanes, list);
    if (node != 0) {
        (void)rd_lanes_remove(lanes, node);
    }
    return node;
}

uint32_t rd_lanes_head(const struct rd_lanes *lanes, uint32_t list)
{
    return is_list(list) ? lanes->lists[list].head : 0;
}

uint32_t rd_lanes_next(const struct rd_lanes *lanes, uint32_t node)
{
    return is_node(node) && lanes->nodes[node].list != 0 ? lanes->nodes[node].next : 0;
}

uint32_t rd_lanes_len(const struct rd_lanes *lanes, uint32_t list)
{
    //@ ghost count_bounds(lanes);
    return is_list(list) ? lanes->lists[list].len : 0;
}

uint32_t rd_lanes_list_of(const struct rd_lanes *lanes, uint32_t node)
{
    return is_node(node) ? lanes->nodes[node].list : 0;
}

uint32_t rd_lanes_ahead(const struct rd_lanes *lanes, uint32_t node)
{
    const uint32_t list = rd_lanes_list_of(lanes, node);
    if (list == 0) {
        return 0;
    }
    //@ ghost count_bounds(lanes);
    const uint32_t others = lanes->lists[list].len - 1;
    const uint64_t passed = lanes->nodes[node].seq - lanes->nodes[lanes->lists[list].head].seq;
    return passed < others ? (uint32_t)passed : others;
}

uint32_t rd_lanes_first(const struct rd_lanes *lanes, const uint32_t lists[RD_LANES_PRIORITIES],
                        uint32_t *ret_lane)
{
    /*@ loop invariant 0 <= lane <= RD_LANES_PRIORITIES;
        loop invariant \forall integer i; 0 <= i < lane ==> lanes_empty(lanes, lists[i]);
        loop assigns lane;
        loop variant RD_LANES_PRIORITIES - lane; */
    for (uint32_t lane = 0; lane < RD_LANES_PRIORITIES; lane++) {
        const uint32_t head = rd_lanes_head(lanes, lists[lane]);
        if (head != 0) {
            //@ assert lanes_in(lanes, lists[lane], head);
            *ret_lane = lane;
            return lists[lane];
        }
    }
    return 0;
}
