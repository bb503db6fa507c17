/* SPDX-License-Identifier: Apache-2.0
 *
 * See http_backend.h. One small function a behaviour, and the table that names them by path. */
#include "http_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fetch/loopback.h"
#include "base/limits.h"

static const char png[] = "\x89PNG\r\n\x1a\n";

struct http_backend http_backend = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void must(const void *block)
{
    if (block == NULL) {
        abort();
    }
}

void http_backend_picture(char *out, size_t len, const char *body)
{
    const char *seed = strstr(body, "\"seed\":");
    unsigned long value = seed != NULL ? strtoul(seed + 7, NULL, 10) : 0;
    for (size_t i = 0; i < len; i++) {
        out[i] = (char)(i * 31 + value);
    }
    memcpy(out, png, len < 8 ? len : 8);
}

static void send_picture(int fd, const char *more, size_t claimed, size_t sent, const char *body)
{
    char *picture = malloc(sent + 1);
    must(picture);
    http_backend_picture(picture, sent, body);
    loopback_printf(fd,
                    "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n%sContent-Length: %zu\r\n\r\n",
                    more, claimed);
    loopback_send(fd, picture, sent);
    free(picture);
}

static bool good(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", HTTP_BACKEND_PICTURE, HTTP_BACKEND_PICTURE, request->body);
    return true;
}

static bool good_then_close(int fd, const struct loopback_request *request)
{
    (void)good(fd, request);
    return false;
}

static bool told(int fd, const struct loopback_request *request)
{
    send_picture(fd, "X-Device-Seconds: 1.25\r\nx-device: cuda:3\r\n", 64, 64, request->body);
    return true;
}

static bool told_badly(int fd, const struct loopback_request *request)
{
    send_picture(fd, "X-Device-Seconds: -1\r\nX-Device: \x01\r\n", 64, 64, request->body);
    return true;
}

static bool hang(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_wait_gone(fd);
    return false;
}

static bool hang_inside(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", 1000, 100, request->body);
    loopback_wait_gone(fd);
    (void)sem_post(&http_backend.gone);
    return false;
}

static bool partial(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", 1000, 999, request->body);
    return false;
}

static bool reset_at_once(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_reset_on_close(fd);
    return false;
}

static bool reset_inside(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", 1000, 500, request->body);
    loopback_reset_on_close(fd);
    return false;
}

static bool close_at_once(int fd, const struct loopback_request *request)
{
    (void)fd;
    (void)request;
    return false;
}

static bool no_length(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n");
    loopback_send(fd, png, 8);
    loopback_printf(fd, "more than enough");
    return false;
}

static bool chunked(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(
        fd, "HTTP/1.1 103 Early Hints\r\nX-Device-Seconds: 9\r\n\r\n"
            "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 8; i++) { /* the magic one byte at a time */
        loopback_printf(fd, "1\r\n");
        loopback_send(fd, png + i, 1);
        loopback_printf(fd, "\r\n");
    }
    for (unsigned i = 0; i < 100; i++) {
        loopback_printf(fd, "7\r\npixels.\r\n");
    }
    loopback_printf(fd, "0\r\n\r\n");
    return true;
}

static bool chunked_cut(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(
        fd, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
            "20\r\n");
    loopback_send(fd, png, 8);
    return false;
}

static bool too_long(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd,
                    "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %llu\r\n\r\n",
                    (unsigned long long)RD_LIMIT_OBJECT_BYTES + 1);
    loopback_send(fd, png, 8);
    loopback_printf(fd, "more");
    loopback_wait_gone(fd);
    return false;
}

static bool text_type(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<html>"
                    "</htm>");
    return true;
}

static bool no_type(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n\x89PNG\r\n\x1a\n1234");
    return true;
}

static bool wrong_magic(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 20\r\n\r\n"
                        "an error, not a png.");
    return true;
}

static bool tiny(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", 11, 11, request->body);
    return true;
}

static bool empty(int fd, const struct loopback_request *request)
{
    send_picture(fd, "", 0, 0, request->body);
    return true;
}

static bool garbage(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n");
    return false;
}

static bool many_headers(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n");
    for (unsigned i = 0; i < 100; i++) {
        loopback_printf(fd, "X-%u: %0400u\r\n", i, i);
    }
    loopback_printf(fd, "\r\n");
    return false;
}

static bool redirect(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd, "HTTP/1.1 307 Go\r\nLocation: /good\r\nContent-Length: 0\r\n\r\n");
    return true;
}

static bool long_error(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(fd,
                    "HTTP/1.1 500 Bad\r\nContent-Type: text/plain\r\nContent-Length: 300\r\n\r\n"
                    "out of\nmemory \x1b[31m\xff %0280d",
                    0);
    return true;
}

static bool huge_error(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(
        fd, "HTTP/1.1 500 Bad\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n");
    for (unsigned i = 0; i < 1000000 / 10; i++) {
        loopback_send(fd, "0123456789", 10);
    }
    return true;
}

static bool binary_error(int fd, const struct loopback_request *request)
{
    (void)request;
    loopback_printf(
        fd, "HTTP/1.1 502 Bad\r\nContent-Type: image/png\r\nContent-Length: 6\r\n\r\nsecret");
    return true;
}

static bool status(int fd, const struct loopback_request *request)
{
    const char *path = strstr(request->head, "/status/");
    path = path != NULL ? path : strstr(request->body, "/status/");
    loopback_printf(fd, "HTTP/1.1 %.3s Odd\r\nContent-Length: 0\r\n\r\n", path + 8);
    return true;
}

static const struct {
    const char *path;
    bool (*answer)(int fd, const struct loopback_request *request);
} answers[] = {
    {"/good", good},
    {"/good-then-close", good_then_close},
    {"/told", told},
    {"/told-badly", told_badly},
    {"/hang", hang},
    {"/hang-inside", hang_inside},
    {"/partial", partial},
    {"/reset", reset_at_once},
    {"/reset-inside", reset_inside},
    {"/close", close_at_once},
    {"/no-length", no_length},
    {"/chunked", chunked},
    {"/chunked-cut", chunked_cut},
    {"/too-long", too_long},
    {"/text", text_type},
    {"/no-type", no_type},
    {"/wrong-magic", wrong_magic},
    {"/tiny", tiny},
    {"/empty", empty},
    {"/garbage", garbage},
    {"/headers", many_headers},
    {"/redirect", redirect},
    {"/long-error", long_error},
    {"/huge-error", huge_error},
    {"/binary-error", binary_error},
};

bool http_backend_handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char path[64] = "";
    (void)sscanf(request->head, "%*s %63s", path);
    if (strcmp(path, "/") == 0) { /* a prompt may be a path, too */
        path[0] = '\0';
        (void)sscanf(request->body, "{\"request\":{\"prompt\":\"%63[/a-z0-9-]", path);
        path[0] = path[0] == '/' ? '/' : '\0';
    }
    (void)pthread_mutex_lock(&http_backend.lock);
    (void)snprintf(http_backend.head, sizeof http_backend.head, "%s", request->head);
    free(http_backend.body);
    http_backend.body = malloc(request->body_len + 1);
    must(http_backend.body);
    memcpy(http_backend.body, request->body, request->body_len + 1);
    http_backend.body_len = request->body_len;
    (void)pthread_mutex_unlock(&http_backend.lock);
    if (path[0] == '\0') {
        return strstr(request->body, "\"slow\"") != NULL ? hang(fd, request) : good(fd, request);
    }
    if (strncmp(path, "/status/", 8) == 0) {
        return status(fd, request);
    }
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        if (strcmp(path, answers[i].path) == 0) {
            return answers[i].answer(fd, request);
        }
    }
    abort(); /* the test asks for what is not there */
}
