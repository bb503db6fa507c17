/* SPDX-License-Identifier: Apache-2.0
 *
 * CAS ingest against a bare append, in the same run, on the same disk:
 *
 *     cas_ingest DIR [size[,size...]] [total_mib] [rounds] [threads] [window]
 *
 * For each size the rounds alternate: the store (strict: an object counts when its callback says
 * that it is durable; hashing with BLAKE3 and SHA-256 included), then a bare program's work: the
 * same bytes appended to a preallocated file, one fdatasync per batch, with the mean batch that
 * the store's own syncs covered in the round before. Bytes differ from object to object. The table
 * gives medians and the ratio of the medians, and as "ratio" of each round what the noise of the
 * disk is. */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cas/cas.h"

enum { ROUNDS_MAX = 64, THREADS_MAX = 64, CHUNK = 65536 };

struct setting {
    const char *dir;
    size_t size, objects, threads, window;
    enum rd_cas_durability durability;
};

struct window {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t in_flight, failed;
};

struct worker {
    const struct setting *setting;
    struct rd_cas *cas;
    struct window window;
    size_t first, count;
    char *bytes;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "cas_ingest: %s\n", what);
    exit(1);
}

static void fill(char *bytes, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(bytes + i, &x, 8);
    }
}

/* Makes the object differ from all others for the price of 16 bytes a chunk. */
static void stamp(char *bytes, size_t len, uint64_t number)
{
    for (size_t at = 0; at + 16 <= len; at += CHUNK) {
        memcpy(bytes + at, &number, 8);
    }
}

static void on_done(void *ctx, rd_err err)
{
    struct window *window = ctx;
    pthread_mutex_lock(&window->lock);
    window->in_flight--;
    window->failed += err != RD_OK;
    pthread_cond_signal(&window->cond);
    pthread_mutex_unlock(&window->lock);
}

static void wait_below(struct window *window, size_t limit)
{
    pthread_mutex_lock(&window->lock);
    while (window->in_flight >= limit) {
        pthread_cond_wait(&window->cond, &window->lock);
    }
    window->in_flight++;
    pthread_mutex_unlock(&window->lock);
}

static rd_err ingest_one(struct worker *worker, size_t number)
{
    struct rd_cas_writer *writer;
    struct rd_hash hash;
    size_t size = worker->setting->size;
    struct rd_cas_commit commit = {.content_type = "image/png",
                                   .meta = "{}",
                                   .meta_len = 2,
                                   .done = on_done,
                                   .ctx = &worker->window};
    stamp(worker->bytes, size, number);
    RD_TRY(rd_cas_begin(worker->cas, 1, size, &writer));
    for (size_t at = 0; at < size; at += CHUNK) { /* as from a socket */
        RD_TRY(rd_cas_data(writer, worker->bytes + at, size - at < CHUNK ? size - at : CHUNK));
    }
    RD_TRY(rd_cas_seal(writer, &hash));
    return rd_cas_commit(writer, &commit);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    size_t limit = worker->setting->window / worker->setting->threads;
    for (size_t i = 0; i < worker->count; i++) {
        wait_below(&worker->window, limit == 0 ? 1 : limit);
        if (ingest_one(worker, worker->first + i) != RD_OK) {
            die("the store refused an object");
        }
    }
    wait_below(&worker->window, 1);
    return NULL;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

/* Objects a second; *ret_batch: commits to a sync. */
static double run_store(const struct setting *setting, uint64_t seed, double *ret_batch)
{
    char dir[4096];
    struct rd_why why;
    struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    struct rd_cas *cas;
    (void)snprintf(dir, sizeof dir, "%s/cas-bench", setting->dir);
    struct rd_cas_config config = {.dir = dir, .durability = setting->durability};
    if (rd_cas_open(&config, &cas, &why) != RD_OK) {
        die(why.text);
    }
    for (size_t t = 0; t < setting->threads; t++) {
        size_t share = setting->objects / setting->threads;
        workers[t] = (struct worker){
            .setting = setting,
            .cas = cas,
            .window = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER},
            .first = t * share,
            .count = share,
            .bytes = rd_mem_alloc(setting->size)};
        if (workers[t].bytes == NULL) {
            die("no memory");
        }
        fill(workers[t].bytes, setting->size, seed);
    }
    uint64_t start = rd_clock_mono_ns();
    for (size_t t = 0; t < setting->threads; t++) {
        if (pthread_create(&threads[t], NULL, work, &workers[t]) != 0) {
            die("no thread");
        }
    }
    for (size_t t = 0; t < setting->threads; t++) {
        (void)pthread_join(threads[t], NULL);
        if (workers[t].window.failed > 0) {
            die("a commit failed");
        }
    }
    double seconds = (double)(rd_clock_mono_ns() - start) / 1e9;
    struct rd_cas_stats stats;
    rd_cas_stats(cas, &stats);
    for (size_t t = 0; t < setting->threads; t++) {
        rd_mem_free(workers[t].bytes);
    }
    rd_cas_close(cas);
    (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    *ret_batch = stats.syncs == 0 ? 1 : (double)stats.commits / (double)stats.syncs;
    return (double)stats.commits / seconds;
}

static double run_bare(const struct setting *setting, uint64_t seed, size_t batch)
{
    char path[4096];
    char *bytes = rd_mem_alloc(setting->size);
    (void)snprintf(path, sizeof path, "%s/bare-bench", setting->dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || bytes == NULL ||
        posix_fallocate(fd, 0, (off_t)(setting->size * setting->objects)) != 0 ||
        fdatasync(fd) != 0) {
        die("cannot preallocate");
    }
    fill(bytes, setting->size, seed);
    uint64_t start = rd_clock_mono_ns();
    for (size_t i = 0; i < setting->objects; i++) {
        stamp(bytes, setting->size, i);
        for (size_t done = 0; done < setting->size;) {
            ssize_t put =
                pwrite(fd, bytes + done, setting->size - done, (off_t)(i * setting->size + done));
            if (put <= 0) {
                die("cannot write");
            }
            done += (size_t)put;
        }
        if (((i + 1) % batch == 0 || i + 1 == setting->objects) && fdatasync(fd) != 0) {
            die("cannot sync");
        }
    }
    double seconds = (double)(rd_clock_mono_ns() - start) / 1e9;
    (void)close(fd);
    (void)unlink(path);
    rd_mem_free(bytes);
    return (double)setting->objects / seconds;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static void compare(const struct setting *setting, size_t rounds)
{
    double store[ROUNDS_MAX] = {0}, bare[ROUNDS_MAX] = {0}, ratio[ROUNDS_MAX] = {0}, batches = 0;
    for (size_t i = 0; i < rounds; i++) {
        double batch;
        store[i] = run_store(setting, i + 1, &batch);
        batches += batch;
        size_t whole = batch < 1 ? 1 : (size_t)(batch + 0.5);
        bare[i] = run_bare(setting, i + 1, whole);
        ratio[i] = store[i] / bare[i];
    }
    double low = ratio[0], high = ratio[0];
    for (size_t i = 1; i < rounds; i++) {
        low = ratio[i] < low ? ratio[i] : low;
        high = ratio[i] > high ? ratio[i] : high;
    }
    double a = median(store, rounds), b = median(bare, rounds);
    (void)printf("%10zu B  store %9.0f/s %7.0f MB/s  bare %9.0f/s %7.0f MB/s  batch %5.1f  "
                 "ratio %.2f (rounds: median %.2f, %.2f to %.2f)\n",
                 setting->size, a, a * (double)setting->size / 1e6, b,
                 b * (double)setting->size / 1e6, batches / (double)rounds, a / b,
                 median(ratio, rounds), low, high);
    (void)fflush(stdout);
}

static size_t argument(int argc, char **argv, int i, size_t otherwise, size_t max)
{
    size_t value = i < argc ? strtoul(argv[i], NULL, 10) : otherwise;
    return value == 0 ? otherwise : value > max ? max : value;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr,
                      "usage: cas_ingest DIR [sizes [total_mib [rounds [threads [window]]]]]\n");
        return 2;
    }
    struct setting setting = {.dir = argv[1],
                              .threads = argument(argc, argv, 5, 4, THREADS_MAX),
                              .window = argument(argc, argv, 6, 64, 65536),
                              .durability = RD_CAS_STRICT};
    size_t total = argument(argc, argv, 3, 512, 65536) << 20;
    size_t rounds = argument(argc, argv, 4, 5, ROUNDS_MAX);
    if (getenv("CAS_INGEST_RELAXED") != NULL) {
        setting.durability = RD_CAS_RELAXED;
    }
    const char *sizes = argc > 2 ? argv[2] : "65536,1572864,16777216";
    while (*sizes != '\0') {
        char *end;
        setting.size = strtoul(sizes, &end, 10);
        sizes = *end == ',' ? end + 1 : "";
        if (setting.size < 16) {
            die("sizes are bytes, at least 16");
        }
        setting.objects = total / setting.size / setting.threads * setting.threads;
        if (setting.objects == 0) {
            setting.objects = setting.threads;
        }
        compare(&setting, rounds);
    }
    return 0;
}
