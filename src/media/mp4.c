/* SPDX-License-Identifier: Apache-2.0
 *
 * The face of MP4 encoding. FFmpeg brings about a hundred shared libraries, 50 ms of start and 12
 * MiB of memory; a gateway that makes no video should pay for none of it. So the code that calls
 * FFmpeg is a module, render-mp4.so, loaded with the first video and never unloaded. It is looked
 * for at fixed places relative to this program's own file, never by a search path. */
#include "media/codec.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_LEN = 4096 };

static const struct rd_mp4_ops *ops; /* NULL while the module could not be loaded; set once */
static char problem[256];

/* Installed: beside the programs. In a build tree: programs stand in src/X, tests in tests/unit/X.
 */
static const char *const places[] = {
    RD_MP4_MODULE,
    "../media/" RD_MP4_MODULE,
    "../../../src/media/" RD_MP4_MODULE,
    "../../src/media/" RD_MP4_MODULE,
};

static void load(void)
{
    char self[PATH_LEN];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len < 0 ? 0 : len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) {
        return;
    }
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[PATH_LEN];
        int wrote = snprintf(path, sizeof path, "%s/%s", self, places[i]);
        if (wrote < 0 || (size_t)wrote >= sizeof path || access(path, R_OK) != 0) {
            continue;
        }
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module == NULL) {
            const char *text = dlerror();
            (void)snprintf(problem, sizeof problem, "%.250s", text == NULL ? path : text);
            return;
        }
        ops = dlsym(module, RD_MP4_SYMBOL);
        return;
    }
}

rd_err rd_mp4_new_with(const char *encoder, const unsigned size_fps[3], struct rd_mp4 **ret,
                       struct rd_why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    RD_TRY(rd_media_check_size(size_fps[0], size_fps[1], why));
    (void)pthread_once(&once, load);
    if (ops == NULL) {
        return rd_why_set(why, RD_ERR_BACKEND_FAILED, "no video encoder: %s",
                          problem[0] == '\0' ? RD_MP4_MODULE " is not beside this program"
                                             : problem);
    }
    return ops->new_with(encoder, size_fps, ret, why);
}

rd_err rd_mp4_new(unsigned width, unsigned height, unsigned fps, struct rd_mp4 **ret,
                  struct rd_why *why)
{
    return rd_mp4_new_with(NULL, (const unsigned[3]){width, height, fps}, ret, why);
}

const char *rd_mp4_encoder(const struct rd_mp4 *mp4)
{
    return ops->encoder(mp4);
}

rd_err rd_mp4_frame(struct rd_mp4 *mp4, const struct rd_image *frame)
{
    return ops->frame(mp4, frame);
}

rd_err rd_mp4_finish(struct rd_mp4 *mp4, struct rd_buf *out)
{
    return ops->finish(mp4, out);
}

void rd_mp4_free(struct rd_mp4 *mp4)
{
    if (mp4 != NULL) {
        ops->free(mp4);
    }
}
