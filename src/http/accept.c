/* SPDX-License-Identifier: Apache-2.0
 *
 * Accept. See accept.h.
 *
 * Each element is read once and laid against every offer; an offer keeps the most specific range
 * that matched it so far. So the cost is elements x offers, and the server's limit on header
 * bytes bounds the elements. */
#include "http/accept.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum specificity { UNMATCHED, ANY_TYPE, ANY_SUBTYPE, EXACT };

/* One element: a media range and its weight. */
struct range {
    const char *type, *subtype; /* "*" is len 1 and '*' */
    size_t type_len, subtype_len;
    unsigned q; /* thousandths */
};

struct match {
    enum specificity specificity;
    unsigned q;
    size_t position; /* of the element in the header */
};

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static const char *skip_token(const char *at)
{
    while (is_token_char(*at)) {
        at++;
    }
    return at;
}

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\t') {
        at++;
    }
    return at;
}

/* Behind a quoted string that starts at `at`; the header's end when it is not closed. */
static const char *skip_quoted(const char *at)
{
    for (at++; *at != '\0'; at++) {
        if (*at == '"') {
            return at + 1;
        }
        if (*at == '\\' && at[1] != '\0') {
            at++;
        }
    }
    return at;
}

/* To the comma that ends the element, or the header's end. */
static const char *skip_element(const char *at)
{
    while (*at != '\0' && *at != ',') {
        at = *at == '"' ? skip_quoted(at) : at + 1;
    }
    return at;
}

/* A weight of 0 to 1 with up to three decimals, and nothing behind it, in thousandths. */
static bool read_weight(const char *text, size_t len, unsigned *ret)
{
    unsigned whole = 0;
    size_t at = 0;
    if (len > 0 && (text[0] == '0' || text[0] == '1')) {
        whole = (unsigned)(text[0] - '0');
        at = 1;
    }
    unsigned value = whole * 1000;
    if (at < len && text[at] == '.') {
        unsigned unit = 100;
        for (at++; at < len && text[at] >= '0' && text[at] <= '9' && unit > 0; at++, unit /= 10) {
            value += unit * (unsigned)(text[at] - '0');
        }
        if (len == 1) {
            return false; /* "." */
        }
    }
    if (len == 0 || at != len || value > 1000) {
        return false;
    }
    *ret = value;
    return true;
}

/* ";name=value" parameters up to the element's end; only q means something. */
static bool read_params(const char *at, const char *end, unsigned *ret_q)
{
    while (at < end) {
        at = skip_space(at);
        if (at == end) {
            return true;
        }
        if (*at != ';') {
            return false;
        }
        const char *name = skip_space(at + 1);
        at = skip_token(name);
        size_t name_len = (size_t)(at - name);
        if (*skip_space(at) != '=') {
            continue; /* ";" alone, or a name without a value */
        }
        const char *value = skip_space(skip_space(at) + 1);
        at = *value == '"' ? skip_quoted(value) : skip_token(value);
        if (name_len == 1 && (*name == 'q' || *name == 'Q') &&
            !read_weight(value, (size_t)(at - value), ret_q)) {
            return false;
        }
    }
    return true;
}

/* The element between `at` and `end`; false when it makes no sense. */
static bool read_range(const char *at, const char *end, struct range *ret)
{
    struct range range = {.q = 1000};
    range.type = skip_space(at);
    at = skip_token(range.type);
    range.type_len = (size_t)(at - range.type);
    if (range.type_len == 0) {
        return false;
    }
    if (*at == '/') {
        range.subtype = at + 1;
        at = skip_token(range.subtype);
        range.subtype_len = (size_t)(at - range.subtype);
    } else if (range.type_len == 1 && *range.type == '*') {
        range.subtype = range.type;
        range.subtype_len = 1;
    }
    bool any_type = range.type_len == 1 && *range.type == '*';
    bool any_subtype = range.subtype_len == 1 && *range.subtype == '*';
    if (range.subtype_len == 0 || (any_type && !any_subtype) || !read_params(at, end, &range.q)) {
        return false;
    }
    *ret = range;
    return true;
}

static enum specificity matches(const struct range *range, const char *offer)
{
    size_t type_len = strcspn(offer, "/");
    const char *subtype = offer + type_len + 1;
    if (range->type_len == 1 && *range->type == '*') {
        return ANY_TYPE;
    }
    if (range->type_len != type_len || strncasecmp(range->type, offer, type_len) != 0) {
        return UNMATCHED;
    }
    if (range->subtype_len == 1 && *range->subtype == '*') {
        return ANY_SUBTYPE;
    }
    bool same = range->subtype_len == strlen(subtype) &&
                strncasecmp(range->subtype, subtype, range->subtype_len) == 0;
    return same ? EXACT : UNMATCHED;
}

static bool is_better(const struct match *a, const struct match *b)
{
    if (a->q != b->q) {
        return a->q > b->q;
    }
    if (a->specificity != b->specificity) {
        return a->specificity > b->specificity;
    }
    return a->position < b->position;
}

int rd_accept_choose(const char *header, const char *const *offered, size_t count)
{
    assert(count >= 1 && count <= RD_ACCEPT_OFFERS_MAX);
    struct match best[RD_ACCEPT_OFFERS_MAX] = {{UNMATCHED, 0, 0}};
    size_t elements = 0;
    for (const char *at = header == NULL ? "" : header; *at != '\0';) {
        const char *end = skip_element(at);
        struct range range;
        if (read_range(at, end, &range)) {
            elements++;
            for (size_t i = 0; i < count; i++) {
                enum specificity specificity = matches(&range, offered[i]);
                if (specificity > best[i].specificity) {
                    best[i] = (struct match){specificity, range.q, elements};
                }
            }
        }
        at = *end == ',' ? end + 1 : end;
    }
    if (elements == 0) {
        return 0;
    }
    int chosen = RD_ACCEPT_NONE;
    for (size_t i = 0; i < count; i++) {
        if (best[i].q > 0 && (chosen == RD_ACCEPT_NONE || is_better(&best[i], &best[chosen]))) {
            chosen = (int)i;
        }
    }
    return chosen;
}
