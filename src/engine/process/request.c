/* SPDX-License-Identifier: Apache-2.0
 *
 * See request.h. The request is a file that becomes the command's stdin, not a pipe: nobody has to
 * feed it, a command that never reads it blocks nobody, and one that failed can be tried again by
 * hand with what is printed here. */
#include "engine/process/request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/limits.h"
#include "engine/http/reply.h"
#include "engine/process/folder.h"

enum { NAME_ROOM = 64 };

/* The request's own JSON is bounded by what the gateway reads; the rest is names and paths. */
#define TEXT_MAX (RD_LIMIT_JSON_BODY_DATA_URI + RD_KIB(64))

static const char *extension_of(const struct rd_source *source)
{
    static const enum rd_media known[] = {RD_MEDIA_PNG, RD_MEDIA_WEBP, RD_MEDIA_JPEG};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (source->bytes_len >= RD_HTTP_MAGIC_LEN && rd_http_magic_is(source->bytes, known[i])) {
            return rd_media_extension(known[i]);
        }
    }
    return "bin";
}

static rd_err source_path(const struct rd_source *source, const char *folder, const char *field,
                          char ret_path[PATH_MAX], struct rd_why *why)
{
    char name[NAME_ROOM];
    (void)snprintf(name, sizeof name, "%s.%s", field, extension_of(source));
    return rd_process_folder_path(folder, name, ret_path, why);
}

rd_err rd_process_request_sources(const struct rd_engine_job *job, const char *folder,
                                  struct rd_why *why)
{
    const struct {
        const char *field;
        const struct rd_source *source;
    } pictures[] = {{"image", &job->generation->image}, {"mask", &job->generation->mask}};
    for (size_t i = 0; i < 2; i++) {
        if (pictures[i].source->bytes != NULL) {
            char path[PATH_MAX];
            RD_TRY(source_path(pictures[i].source, folder, pictures[i].field, path, why));
            RD_TRY(rd_process_file_write(path, pictures[i].source->bytes,
                                         pictures[i].source->bytes_len, why));
        }
    }
    return RD_OK;
}

rd_err rd_process_request_output(const struct rd_engine_job *job, const char *folder,
                                 unsigned index, char ret_path[PATH_MAX], struct rd_why *why)
{
    char name[NAME_ROOM];
    (void)snprintf(name, sizeof name, "output-%u.%s", index,
                   rd_media_extension(job->generation->media));
    return rd_process_folder_path(folder, name, ret_path, why);
}

static rd_err write_paths(struct rd_buf *text, const struct rd_engine_job *job, const char *folder,
                          unsigned index, struct rd_why *why)
{
    char path[PATH_MAX];
    if (job->generation->image.bytes != NULL) {
        RD_TRY(source_path(&job->generation->image, folder, "image", path, why));
        rd_buf_str(text, ",\"image\":");
        rd_buf_json_str(text, path);
    }
    if (job->generation->mask.bytes != NULL) {
        RD_TRY(source_path(&job->generation->mask, folder, "mask", path, why));
        rd_buf_str(text, ",\"mask\":");
        rd_buf_json_str(text, path);
    }
    RD_TRY(rd_process_request_output(job, folder, index, path, why));
    rd_buf_str(text, ",\"output\":");
    rd_buf_json_str(text, path);
    return RD_OK;
}

static void write_fields(struct rd_buf *text, const struct rd_engine_job *job, unsigned index)
{
    const struct rd_generation *generation = job->generation;
    rd_buf_str(text, "{\"request\":");
    if (generation->json != NULL && generation->json_len > 0) {
        rd_buf_append(text, generation->json, generation->json_len);
    } else {
        rd_buf_str(text, "{}");
    }
    rd_buf_str(text, ",\"family\":");
    rd_buf_json_str(text, generation->family);
    rd_buf_str(text, ",\"model\":");
    rd_buf_json_str(text, generation->model);
    rd_buf_printf(text, ",\"task\":\"%s\",\"width\":%u,\"height\":%u,\"seed\":%u,\"media\":\"%s\"",
                  rd_task_name(generation->task), generation->format->width,
                  generation->format->height, rd_generation_seed(generation, index),
                  rd_media_type(generation->media));
    rd_buf_str(text, ",\"request_id\":");
    rd_buf_json_str(text, job->request_id);
    if (job->traceparent != NULL) {
        rd_buf_str(text, ",\"traceparent\":");
        rd_buf_json_str(text, job->traceparent);
    }
}

rd_err rd_process_request_open(const struct rd_engine_job *job, const char *folder, unsigned index,
                               int *ret_fd, struct rd_why *why)
{
    RD_AUTO_BUF struct rd_buf text;
    char name[NAME_ROOM];
    char path[PATH_MAX];
    rd_buf_init(&text, TEXT_MAX);
    (void)snprintf(name, sizeof name, "request-%u.json", index);
    RD_TRY(rd_process_folder_path(folder, name, path, why));
    write_fields(&text, job, index);
    RD_TRY(write_paths(&text, job, folder, index, why));
    rd_buf_str(&text, "}\n");
    RD_TRY(rd_buf_err(&text));
    RD_TRY(rd_process_file_write(path, text.data, text.len, why));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return rd_why_errno(why, errno, "open", path);
    }
    *ret_fd = fd;
    return RD_OK;
}
