/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of render-gateway. */
#ifndef RD_GATEWAY_OPTIONS_H
#define RD_GATEWAY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct rd_gateway_options {
    bool scrub; /* `render-gateway scrub`: check every object, do not serve */
    const char *data;
    const char *config; /* or NULL */
    char host[256];
    uint16_t port;
};

/* Parses. Returns an exit code when the program is to end now (help, version, a wrong word), else
 * -1. Messages go to standard error, help to standard output. */
int rd_gateway_options_parse(int argc, char **argv, struct rd_gateway_options *ret);

#endif
