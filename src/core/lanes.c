/* SPDX-License-Identifier: Apache-2.0
 *
 * The lists. See lanes.h. */
#include "core/lanes.h"

static bool is_list(uint32_t list)
{
    return 1 <= list && list <= RD_LANES_LISTS;
}

static bool is_node(uint32_t node)
{
    return 1 <= node && node <= RD_LANES_NODES;
}

static bool may_enter(const struct rd_lanes *lanes, uint32_t list, uint32_t node)
{
    return is_list(list) && is_node(node) && lanes->nodes[node].list == 0;
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
    const uint64_t seq = tail != 0 ? lanes->nodes[tail].seq + 1 : RD_LANES_SEQ_FIRST;
    if (tail != 0) {
        lanes->nodes[tail].next = node;
    } else {
        lanes->lists[list].head = node;
    }
    lanes->lists[list].tail = node;
    lanes->lists[list].len++;
    lanes->nodes[node].seq = seq;
    lanes->nodes[node].prev = tail;
    lanes->nodes[node].next = 0;
    lanes->nodes[node].list = list;
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
    const uint64_t seq = head != 0 ? lanes->nodes[head].seq - 1 : RD_LANES_SEQ_FIRST;
    if (head != 0) {
        lanes->nodes[head].prev = node;
    } else {
        lanes->lists[list].tail = node;
    }
    lanes->lists[list].head = node;
    lanes->lists[list].len++;
    lanes->nodes[node].seq = seq;
    lanes->nodes[node].prev = 0;
    lanes->nodes[node].next = head;
    lanes->nodes[node].list = list;
    return true;
}

bool rd_lanes_remove(struct rd_lanes *lanes, uint32_t node)
{
    if (!is_node(node) || lanes->nodes[node].list == 0) {
        return false;
    }
    const uint32_t list = lanes->nodes[node].list;
    const uint32_t prev = lanes->nodes[node].prev;
    const uint32_t next = lanes->nodes[node].next;
    if (prev != 0) {
        lanes->nodes[prev].next = next;
    } else {
        lanes->lists[list].head = next;
    }
    if (next != 0) {
        lanes->nodes[next].prev = prev;
    } else {
        lanes->lists[list].tail = prev;
    }
    lanes->lists[list].len--;
    lanes->nodes[node].list = 0;
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
    const uint32_t others = lanes->lists[list].len - 1;
    const uint64_t passed = lanes->nodes[node].seq - lanes->nodes[lanes->lists[list].head].seq;
    return passed < others ? (uint32_t)passed : others;
}

uint32_t rd_lanes_first(const struct rd_lanes *lanes, const uint32_t lists[RD_LANES_PRIORITIES],
                        uint32_t *ret_lane)
{
    for (uint32_t lane = 0; lane < RD_LANES_PRIORITIES; lane++) {
        if (rd_lanes_head(lanes, lists[lane]) != 0) {
            *ret_lane = lane;
            return lists[lane];
        }
    }
    return 0;
}
