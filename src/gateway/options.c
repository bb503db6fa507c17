/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of render-gateway. See options.h. */
#include "gateway/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { EXIT_USAGE = 2 };

static const char help[] =
    "render-gateway: a self-hosted gateway for generative media\n"
    "\n"
    "usage: render-gateway --data DIR --listen HOST:PORT [--config FILE]\n"
    "       render-gateway scrub --data DIR\n"
    "\n"
    "  --data DIR          where everything is kept; created with mode 0700 on the first start, "
    "with a\n"
    "                      signing key and an administrator's API key in DIR/admin.key\n"
    "  --listen HOST:PORT  address to serve; port 0 takes a free one; [::1]:8080 for IPv6\n"
    "  --config FILE       configuration (docs/configuration.md); without it, the built-in engine\n"
    "  --version, --help\n"
    "\n"
    "  scrub               reads every stored object and compares it with its name; the gateway "
    "must\n"
    "                      not be running on DIR. Exit status 1 when something is bad\n"
    "\n"
    "When it is ready it prints one line, \"listening on http://HOST:PORT\". SIGTERM finishes the "
    "open\n"
    "requests and ends; SIGHUP reads the configuration and the catalogue again.\n";

static int wrong(const char *what, const char *value)
{
    (void)fprintf(stderr, "render-gateway: %s%s%s\nTry 'render-gateway --help'.\n", what,
                  value == NULL ? "" : ": ", value == NULL ? "" : value);
    return EXIT_USAGE;
}

/* HOST:PORT, with [HOST] for IPv6. */
static bool parse_listen(const char *text, struct rd_gateway_options *ret)
{
    const char *colon = strrchr(text, ':');
    uint64_t port = 0;
    if (colon == NULL || !rd_text_u64(colon + 1, strlen(colon + 1), &port) || port > UINT16_MAX) {
        return false;
    }
    size_t len = (size_t)(colon - text);
    bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof ret->host || (!brackets && memchr(text, ':', len) != NULL)) {
        return false;
    }
    memcpy(ret->host, text, len);
    ret->host[len] = '\0';
    ret->port = (uint16_t)port;
    return true;
}

int rd_gateway_options_parse(int argc, char **argv, struct rd_gateway_options *ret)
{
    static const struct option table[] = {
        {"data", required_argument, NULL, 'd'},   {"listen", required_argument, NULL, 'l'},
        {"config", required_argument, NULL, 'c'}, {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    memset(ret, 0, sizeof *ret);
    bool listening = false;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (c) {
        case 'd':
            ret->data = optarg;
            break;
        case 'c':
            ret->config = optarg;
            break;
        case 'l':
            listening = parse_listen(optarg, ret);
            if (!listening) {
                return wrong("--listen takes HOST:PORT, such as 127.0.0.1:8080 or [::1]:0, not",
                             optarg);
            }
            break;
        case 'v':
            (void)printf("render-gateway %s\n", RD_VERSION);
            return EXIT_SUCCESS;
        case 'h':
            (void)fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            return wrong("not an option, or its value is missing", argv[optind - 1]);
        }
    }
    ret->scrub = optind < argc && strcmp(argv[optind], "scrub") == 0;
    int words = optind + (ret->scrub ? 1 : 0);
    if (words < argc) {
        return wrong("not a command", argv[words]);
    }
    if (ret->data == NULL) {
        return wrong("--data DIR is missing", NULL);
    }
    if (!listening && !ret->scrub) {
        return wrong("--listen HOST:PORT is missing", NULL);
    }
    return -1;
}
