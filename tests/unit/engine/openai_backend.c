/* SPDX-License-Identifier: Apache-2.0
 *
 * See openai_backend.h. One small function a behaviour, and the table that names them. */
#include "openai_backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fetch/loopback.h"
#include "base/text.h"
#include "media/media.h"

struct openai_backend openai_backend = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

void openai_backend_init(void)
{
    struct rd_image image;
    struct rd_buf png;
    rd_buf_init(&png, 1 << 20);
    must(rd_image_new(512, 512, 3, &image) == RD_OK);
    for (size_t i = 0; i < (size_t)512 * 512 * 3; i++) {
        image.pixels[i] = (uint8_t)(i * 7);
    }
    must(rd_image_encode(&image, RD_MEDIA_PNG, 100, &png) == RD_OK);
    rd_image_done(&image);
    openai_backend.real = malloc(png.len);
    must(openai_backend.real != NULL);
    memcpy(openai_backend.real, png.data, png.len);
    openai_backend.real_len = png.len;
    rd_buf_done(&png);
    must(sem_init(&openai_backend.told, 0, 0) == 0);
}

void openai_backend_done(void)
{
    free(openai_backend.real);
    free(openai_backend.body);
    (void)sem_destroy(&openai_backend.told);
}

/* ---- tools ---- */

static void answer(int fd, int status, const char *type, const void *body, size_t len)
{
    loopback_printf(fd, "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", status,
                    type, len);
    loopback_send(fd, body, len);
}

static void json(int fd, int status, const char *text)
{
    answer(fd, status, "application/json", text, strlen(text));
}

/* A picture of its own for each seed: only its first bytes are a PNG's. */
static char *picture(const char *body, size_t len)
{
    const char *seed = strstr(body, "\"seed\":");
    seed = seed != NULL ? seed + 7 : strstr(body, "name=\"seed\"\r\n\r\n");
    unsigned long value = seed == NULL ? 0 : strtoul(seed + strcspn(seed, "0123456789"), NULL, 10);
    char *bytes = malloc(len);
    must(bytes != NULL);
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (char)(i * 31 + value);
    }
    memcpy(bytes, "\x89PNG\r\n\x1a\n", 8);
    return bytes;
}

static char *base64(const void *bytes, size_t len)
{
    char *text = malloc(RD_TEXT_BASE64_LEN(len) + 1);
    must(text != NULL);
    rd_text_base64(bytes, len, text);
    return text;
}

/* `fmt` with the picture's base64 in place of its %s, as a body of this type. */
static bool with_picture(int fd, const char *type, const char *fmt, const void *bytes, size_t len)
{
    char *text = base64(bytes, len);
    size_t room = strlen(fmt) + 3 * strlen(text) + 1;
    char *body = malloc(room);
    must(body != NULL);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int made = snprintf(body, room, fmt, text, text, text);
#pragma GCC diagnostic pop
    answer(fd, 200, type, body, (size_t)made);
    free(body);
    free(text);
    return true;
}

static bool own_picture(int fd, const char *type, const char *fmt, const char *request)
{
    char *bytes = picture(request, OPENAI_BACKEND_PICTURE);
    bool keep = with_picture(fd, type, fmt, bytes, OPENAI_BACKEND_PICTURE);
    free(bytes);
    return keep;
}

#define JSON "application/json"
#define EVENTS "text/event-stream; charset=utf-8"
#define DATA "{\"created\":1,\"data\":[{\"b64_json\":\"%s\",\"revised_prompt\":null}]"

/* ---- pictures, well and badly ---- */

static bool good(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, DATA ",\"usage\":{\"total_tokens\":3}}", r->body);
}

static bool told(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, DATA ",\"inference_time_s\":1.25}", r->body);
}

static bool real(int fd, const struct loopback_request *r)
{
    (void)r;
    return with_picture(fd, JSON, DATA "}", openai_backend.real, openai_backend.real_len);
}

static bool real_cut(int fd, const struct loopback_request *r)
{
    (void)r;
    return with_picture(fd, JSON, DATA "}", openai_backend.real, openai_backend.real_len / 2);
}

static bool two(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, "{\"data\":[{\"b64_json\":\"%s\"},{\"b64_json\":\"%s\"}]}",
                       r->body);
}

static bool bad_base64(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, "{\"data\":[{\"b64_json\":\"%s*\"}]}", r->body);
}

static bool cut_base64(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, "{\"data\":[{\"b64_json\":\"%.7001s\"}]}", r->body);
}

static bool cut_json(int fd, const struct loopback_request *r)
{
    return own_picture(fd, JSON, DATA, r->body);
}

static bool cut_body(int fd, const struct loopback_request *r)
{
    (void)r;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: " JSON "\r\nContent-Length: 40000\r\n\r\n"
                        "{\"data\":[{\"b64_json\":\"iVBORw0KGgoAAAANSUhEUgAA");
    return false;
}

static bool stall(int fd, const struct loopback_request *r)
{
    (void)r;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: " JSON "\r\nContent-Length: 40000\r\n\r\n"
                        "{\"data\":[{\"b64_json\":\"iVBORw0KGgoAAAANSUhEUgAA");
    loopback_wait_gone(fd);
    return false;
}

static bool oversized(int fd, const struct loopback_request *r)
{
    (void)r;
    loopback_printf(fd, "HTTP/1.1 200 OK\r\nContent-Type: " JSON "\r\n"
                        "Content-Length: 300000000\r\n\r\n{\"data\":");
    loopback_wait_gone(fd);
    return false;
}

static bool html(int fd, const struct loopback_request *r)
{
    (void)r;
    answer(fd, 200, "text/html", "<html>", 6);
    return true;
}

static bool html_as_json(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 200, "<html>");
    return true;
}

static bool gif(int fd, const struct loopback_request *r)
{
    (void)r;
    return with_picture(fd, JSON, DATA "}", "GIF89a01234567890", 17);
}

static bool video_as_picture(int fd, const struct loopback_request *r)
{
    (void)r;
    return with_picture(fd, JSON, DATA "}",
                        "\0\0\0\x18"
                        "ftypisom01234567",
                        20);
}

static bool tiny(int fd, const struct loopback_request *r)
{
    (void)r;
    return with_picture(fd, JSON, DATA "}", "\x89PNG\r\n\x1a\n", 8);
}

static bool no_picture(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 200, "{\"created\":1,\"data\":[],\"error\":{\"message\":\"the GPU is on fire\"}}");
    return true;
}

static bool foreign_url(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 200, "{\"data\":[{\"url\":\"http://169.254.169.254/latest/meta-data\"}]}");
    return true;
}

static bool own_url(int fd, const struct loopback_request *r)
{
    char host[128], text[256];
    loopback_header(r->head, "Host", host, sizeof host);
    (void)snprintf(text, sizeof text, "{\"data\":[{\"url\":\"http://%s/made/1.png?x=1\"}]}", host);
    json(fd, 200, text);
    return true;
}

/* ---- refusals ---- */

static bool policy(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 400,
         "{\"error\":{\"message\":\"Your request was rejected\\nby the safety system.\",\"type\":"
         "\"image_generation_user_error\",\"param\":null,\"code\":\"moderation_blocked\"}}");
    return true;
}

static bool policy_403(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 403, "{\"error\":{\"message\":\"no\",\"code\":\"content_policy_violation\"}}");
    return true;
}

static bool unauthorized(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 401, "{\"error\":{\"message\":\"Incorrect API key\",\"code\":\"invalid_api_key\"}}");
    return true;
}

static bool sdcpp_error(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 500, "{\"error\":\"generate_image returned no results\"}");
    return true;
}

static bool fastapi_error(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 422, "{\"detail\":[{\"loc\":[\"body\",\"size\"],\"msg\":\"size must be WxH\"}]}");
    return true;
}

static bool rate_limit(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 429, "{\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}");
    return true;
}

static bool loading(int fd, const struct loopback_request *r)
{
    (void)r;
    answer(fd, 503, "text/html", "<h1>loading</h1>", 16);
    return true;
}

/* ---- events ---- */

#define PARTIAL                                                                                    \
    "event: image_generation.partial_image\r\ndata: {\"type\":\"image_generation.partial_image\"," \
    "\"partial_image_index\":0,\"b64_json\":\"%s\"}\r\n\r\n"

static bool wants_stream(const struct loopback_request *r)
{
    return strstr(r->body, "\"stream\":true") != NULL ||
           strstr(r->body, "name=\"stream\"\r\n\r\ntrue") != NULL;
}

static bool events(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS,
                       ": hello\r\n" PARTIAL PARTIAL
                       "event: image_generation.completed\r\ndata: {\"type\":"
                       "\"image_generation.completed\",\"b64_json\":\"%s\",\"usage\":{}}\r\n\r\n",
                       r->body);
}

static bool events_by_name_only(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS,
                       "event: image_edit.partial_image\ndata: {\"b64_json\":\"%s\"}\n\n"
                       "event: image_edit.completed\ndata: {\"b64_json\":\"%s\"}\n\n"
                       "data: [DONE]\n\n",
                       r->body);
}

static bool events_of_vllm(int fd, const struct loopback_request *r)
{
    return own_picture(
        fd, EVENTS,
        "data: {\"object\":\"image.edit.chunk\",\"type\":\"ar_delta\",\"delta\":\"A\"}"
        "\n\ndata: {\"object\":\"image.edit.chunk\",\"type\":\"image\",\"data\":[{"
        "\"b64_json\":\"%s\"}]}\n\ndata: [DONE]\n\n",
        r->body);
}

static bool events_unnamed(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS, "data: {\"b64_json\":\"%s\"}\n\n", r->body);
}

static bool events_without_end(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS, PARTIAL, r->body);
}

static bool events_failed(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS,
                       PARTIAL "data: {\"object\":\"error\",\"error\":{\"message\":\"out of "
                               "memory\",\"code\":500}}\n\ndata: [DONE]\n\n",
                       r->body);
}

static bool events_refused(int fd, const struct loopback_request *r)
{
    return own_picture(fd, EVENTS,
                       PARTIAL "event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":"
                               "\"not allowed\",\"code\":\"moderation_blocked\"}}\n\n",
                       r->body);
}

static bool refuses_stream(int fd, const struct loopback_request *r)
{
    if (wants_stream(r)) {
        json(fd, 400, "{\"detail\":\"stream=true is not supported\"}");
        return true;
    }
    return good(fd, r);
}

/* ---- videos ---- */

#define MP4_LEN 5000
static void send_mp4(int fd)
{
    static char bytes[MP4_LEN] = "\0\0\0\x18"
                                 "ftypisom";
    answer(fd, 200, "video/mp4", bytes, sizeof bytes);
}

static bool submitted(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 201, "{\"id\":\"video_7\",\"object\":\"video\",\"status\":\"queued\",\"progress\":0}");
    return true;
}

static bool submitted_badly(int fd, const struct loopback_request *r)
{
    (void)r;
    json(fd, 200, "{\"id\":\"../../etc\",\"status\":\"queued\"}");
    return true;
}

static bool polled(int fd, const char *mode, unsigned number)
{
    if (strcmp(mode, "video-failed") == 0) {
        json(fd, 200,
             "{\"id\":\"video_7\",\"status\":\"failed\",\"error\":{\"message\":\"no VRAM\"}}");
    } else if (strcmp(mode, "video-policy") == 0) {
        json(fd, 200,
             "{\"id\":\"video_7\",\"status\":\"failed\",\"error\":{\"message\":\"no\","
             "\"code\":\"moderation_blocked\"}}");
    } else if (strcmp(mode, "video-lost") == 0) {
        json(fd, 404, "{\"detail\":\"Video not found\"}");
    } else if (strcmp(mode, "video-broken") == 0 ||
               (strcmp(mode, "video-shaky") == 0 && number < 3)) {
        answer(fd, 502, "text/plain", "proxy", 5);
    } else if (strcmp(mode, "video-slow") == 0 || number < 2) {
        json(fd, 200, "{\"id\":\"video_7\",\"status\":\"in_progress\",\"progress\":40}");
    } else {
        json(fd, 200,
             "{\"id\":\"video_7\",\"status\":\"completed\",\"progress\":100,"
             "\"inference_time_s\":12.5,\"error\":null}");
    }
    return true;
}

static const struct {
    const char *mode;
    bool (*answer)(int fd, const struct loopback_request *request);
} modes[] = {
    {"good", good},
    {"nohealth", good},
    {"sdcpp", good},
    {"vllm", good},
    {"sglang", good},
    {"localai", good},
    {"loading", good},
    {"told", told},
    {"real", real},
    {"real-cut", real_cut},
    {"two", two},
    {"bad-base64", bad_base64},
    {"cut-base64", cut_base64},
    {"cut-json", cut_json},
    {"cut-body", cut_body},
    {"stall", stall},
    {"oversized", oversized},
    {"html", html},
    {"html-as-json", html_as_json},
    {"gif", gif},
    {"video-as-picture", video_as_picture},
    {"tiny", tiny},
    {"no-picture", no_picture},
    {"foreign-url", foreign_url},
    {"own-url", own_url},
    {"policy", policy},
    {"policy-403", policy_403},
    {"unauthorized", unauthorized},
    {"sdcpp-error", sdcpp_error},
    {"fastapi-error", fastapi_error},
    {"rate-limit", rate_limit},
    {"busy", loading},
    {"events", events},
    {"events-by-name", events_by_name_only},
    {"events-vllm", events_of_vllm},
    {"events-unnamed", events_unnamed},
    {"events-without-end", events_without_end},
    {"events-failed", events_failed},
    {"events-refused", events_refused},
    {"refuses-stream", refuses_stream},
    {"video-bad-id", submitted_badly},
};

/* ---- probes ---- */

static bool probed(int fd, const char *mode, const char *path)
{
    bool health = strcmp(path, "/health") == 0;
    bool has_none = strcmp(mode, "nohealth") == 0 || strcmp(mode, "sdcpp") == 0 ||
                    strcmp(mode, "localai") == 0 || strcmp(mode, "unauthorized") == 0;
    (void)pthread_mutex_lock(&openai_backend.lock);
    bool down = openai_backend.down;
    openai_backend.probes++;
    (void)pthread_mutex_unlock(&openai_backend.lock);
    if (down || (health && strcmp(mode, "loading") == 0)) {
        json(fd, 503, "{}");
    } else if (health && has_none) {
        json(fd, 404, "{}");
    } else if (health) {
        answer(fd, 200, "text/plain", "", 0);
    } else if (strcmp(path, "/v1/models") == 0) {
        if (strcmp(mode, "unauthorized") == 0) {
            return unauthorized(fd, NULL);
        }
        json(fd, 200,
             strcmp(mode, "sdcpp") == 0 ? "{\"data\":[{\"id\":\"sd-cpp-local\",\"object\":"
                                          "\"model\",\"owned_by\":\"local\"}]}"
             : strcmp(mode, "vllm") == 0
                 ? "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"vllm\"}]}"
             : strcmp(mode, "sglang") == 0
                 ? "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}"
                 : "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\"}]}");
    } else if (strcmp(path, "/system") == 0 && strcmp(mode, "localai") == 0) {
        json(fd, 200, "{\"backends\":[\"x\"],\"loaded_models\":[{\"id\":\"m\"}]}");
    } else {
        json(fd, 404, "{\"detail\":\"Not Found\"}");
    }
    return true;
}

/* ---- the handler ---- */

/* True when the server is down. */
static bool remember(const struct loopback_request *request)
{
    (void)pthread_mutex_lock(&openai_backend.lock);
    bool down = openai_backend.down;
    openai_backend.posts++;
    (void)snprintf(openai_backend.head, sizeof openai_backend.head, "%s", request->head);
    free(openai_backend.body);
    openai_backend.body = malloc(request->body_len + 1);
    must(openai_backend.body != NULL);
    memcpy(openai_backend.body, request->body, request->body_len + 1);
    openai_backend.body_len = request->body_len;
    openai_backend.polls = 0;
    (void)pthread_mutex_unlock(&openai_backend.lock);
    return down;
}

static bool deleted(int fd, const char *mode, const char *path)
{
    (void)pthread_mutex_lock(&openai_backend.lock);
    openai_backend.deletes++;
    (void)snprintf(openai_backend.deleted, sizeof openai_backend.deleted, "/%s%s", mode, path);
    (void)pthread_mutex_unlock(&openai_backend.lock);
    json(fd, 200, "{\"deleted\":true}");
    (void)sem_post(&openai_backend.told);
    return true;
}

static bool got(int fd, const char *mode, const char *path)
{
    if (strcmp(mode, "made") == 0) { /* of own-url */
        char *bytes = picture("", OPENAI_BACKEND_PICTURE);
        answer(fd, 200, "image/png", bytes, OPENAI_BACKEND_PICTURE);
        free(bytes);
        return true;
    }
    if (strcmp(path, "/v1/videos/video_7/content") == 0) {
        send_mp4(fd);
        return true;
    }
    if (strcmp(path, "/v1/videos/video_7") == 0) {
        (void)pthread_mutex_lock(&openai_backend.lock);
        unsigned number = ++openai_backend.polls;
        (void)pthread_mutex_unlock(&openai_backend.lock);
        return polled(fd, mode, number);
    }
    return probed(fd, mode, path);
}

bool openai_backend_handle(void *ctx, int fd, const struct loopback_request *request)
{
    (void)ctx;
    char method[16] = "", mode[64] = "", path[256] = "";
    (void)sscanf(request->head, "%15s /%63[^/ ]%255s", method, mode, path);
    if (strcmp(method, "GET") == 0) {
        return got(fd, mode, path);
    }
    if (strcmp(method, "DELETE") == 0) {
        return deleted(fd, mode, path);
    }
    if (remember(request)) {
        json(fd, 503, "{\"error\":{\"message\":\"going down\"}}");
        return true;
    }
    const char *asked = strstr(request->body, "\"prompt\":\"!");
    if (asked != NULL) {
        (void)sscanf(asked + 11, "%63[^\"]", mode);
    }
    if (strstr(request->body, "\"slow\"") != NULL) {
        loopback_wait_gone(fd);
        return false;
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (strcmp(mode, modes[i].mode) == 0) {
            return modes[i].answer(fd, request);
        }
    }
    return submitted(fd, request); /* all other videos begin so */
}
