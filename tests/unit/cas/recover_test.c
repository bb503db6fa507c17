/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery. Three kinds of evidence:
 *  - a simulated disk: every write and sync of a run with several threads is recorded; then
 *    the run is cut at many points, unsynced sectors survive or vanish by chance, and a store
 *    is opened on what is left. Acknowledged is there and whole, deleted is gone, and nothing
 *    half-written can be seen;
 *  - kill -9 in the middle of writing, again and again;
 *  - files that were cut, garbled or forged at chosen places. */
#define PLACE_IN_MEMORY
#include "support.h"

#include <signal.h>
#include <sys/wait.h>

/* --- the simulated disk
 * ---------------------------------------------------------------------------- */

enum { FILES_MAX = 64, SECTOR = 512, OBJECTS_MAX = 400 };

struct event {
    size_t file;
    bool sync;
    size_t covers; /* sync: events before this one are durable */
    uint64_t offset;
    size_t len;
    char *data; /* write: owned */
};

static struct {
    pthread_mutex_t lock;
    struct event *events;
    size_t count, cap;
    char keys[FILES_MAX][32];  /* what stays when a file is renamed: its name without suffix */
    char names[FILES_MAX][64]; /* below the store's folder, as of the last time it was seen */
    uint64_t sizes[FILES_MAX];
    size_t files;
    bool on;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Under the lock. Names change (tmp/ to large/, .new to .pack): the last one is kept. */
static size_t file_of(int fd)
{
    char link[64], path[600], key[32];
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    assert_true(len > 0);
    path[len] = '\0';
    const char *name = strstr(path, "/cas/"), *base = strrchr(path, '/');
    assert_true(name != NULL && base != NULL);
    (void)snprintf(key, sizeof key, "%.*s", (int)strcspn(base + 1, ". "), base + 1);
    size_t i = 0;
    while (i < disk.files && strcmp(disk.keys[i], key) != 0) {
        i++;
    }
    if (i == disk.files) {
        assert_true(disk.files < FILES_MAX);
        memcpy(disk.keys[disk.files++], key, sizeof key);
    }
    if (strstr(path, " (deleted)") == NULL) {
        bool pack = strncmp(name + 5, "packs/", 6) == 0;
        (void)snprintf(disk.names[i], sizeof disk.names[i], "%.*s%s", (int)strcspn(name + 5, "."),
                       name + 5, pack ? ".pack" : "");
    }
    if ((uint64_t)info.st_size > disk.sizes[i]) {
        disk.sizes[i] = (uint64_t)info.st_size;
    }
    return i;
}

static size_t record(struct event event)
{
    if (disk.count == disk.cap) {
        disk.cap = disk.cap == 0 ? 1024 : disk.cap * 2;
        disk.events = rd_mem_resize(disk.events, disk.cap * sizeof *disk.events);
        assert_non_null(disk.events);
    }
    disk.events[disk.count] = event;
    return disk.count++;
}

static ssize_t recording_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    pthread_mutex_lock(&disk.lock);
    ssize_t put = pwritev(fd, parts, count, offset);
    if (put > 0 && disk.on) {
        struct event event = {.offset = (uint64_t)offset, .len = (size_t)put};
        event.file = file_of(fd);
        event.data = rd_mem_alloc((size_t)put);
        assert_int_equal(pread(fd, event.data, (size_t)put, offset), put);
        record(event);
    }
    pthread_mutex_unlock(&disk.lock);
    return put;
}

static int recording_sync(int fd)
{
    pthread_mutex_lock(&disk.lock);
    size_t covers = disk.count;
    pthread_mutex_unlock(&disk.lock);
    int result = fdatasync(fd);
    pthread_mutex_lock(&disk.lock);
    if (disk.on) {
        record((struct event){.file = file_of(fd), .sync = true, .covers = covers});
    }
    pthread_mutex_unlock(&disk.lock);
    return result;
}

static size_t disk_now(void)
{
    pthread_mutex_lock(&disk.lock);
    size_t now = disk.count;
    pthread_mutex_unlock(&disk.lock);
    return now;
}

static uint64_t chance_state;
static uint64_t chance(uint64_t below)
{
    chance_state ^= chance_state << 13;
    chance_state ^= chance_state >> 7;
    chance_state ^= chance_state << 17;
    return (chance_state >> 11) % below;
}

/* Puts a write on the disk image; unsynced ones sector by sector, `keep` of 8 survive. */
static void replay_write(int fd, const struct event *event, bool durable, unsigned keep)
{
    for (size_t at = 0; at < event->len;) {
        uint64_t here = event->offset + at;
        size_t len = SECTOR - here % SECTOR;
        len = len < event->len - at ? len : event->len - at;
        if (durable || chance(8) < keep) {
            assert_int_equal(pwrite(fd, event->data + at, len, (off_t)here), (ssize_t)len);
        }
        at += len;
    }
}

/* What the disk may hold when the power fails after `cut` events. */
static void image(size_t cut, unsigned keep, const struct place *into)
{
    static const char *const folders[] = {"", "/packs", "/large", "/tmp"};
    size_t covers[FILES_MAX] = {0};
    bool synced[FILES_MAX] = {false};
    int fds[FILES_MAX];
    char path[600];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "%s%s", into->dir, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (size_t i = 0; i < cut; i++) {
        if (disk.events[i].sync) {
            synced[disk.events[i].file] = true;
            if (disk.events[i].covers > covers[disk.events[i].file]) {
                covers[disk.events[i].file] = disk.events[i].covers;
            }
        }
    }
    for (size_t f = 0; f < disk.files; f++) {
        fds[f] = -1;
        bool pack = strncmp(disk.names[f], "packs/", 6) == 0;
        if ((!synced[f] && pack) || disk.names[f][0] == '\0') {
            continue; /* a pack has its name only after its first sync */
        }
        (void)snprintf(path, sizeof path, "%s/%s", into->dir, disk.names[f]);
        fds[f] = open(path, O_RDWR | O_CREAT, 0600);
        assert_true(fds[f] >= 0);
        assert_int_equal(ftruncate(fds[f], (off_t)disk.sizes[f]), 0);
    }
    for (size_t i = 0; i < cut; i++) {
        const struct event *event = &disk.events[i];
        if (!event->sync && fds[event->file] >= 0) {
            replay_write(fds[event->file], event, i < covers[event->file], keep);
        }
    }
    for (size_t f = 0; f < disk.files; f++) {
        if (fds[f] >= 0) {
            close(fds[f]);
        }
    }
}

/* What was done to object n, in events of the disk; SIZE_MAX: not. */
struct history {
    size_t len;
    size_t put_start, put_acked, delete_start, delete_acked;
};
static struct history history[OBJECTS_MAX];

static size_t length_of(uint64_t n)
{
    return n % 11 == 0 ? 700000 : n % 5 == 0 ? 280000 : n % 3 == 0 ? 9000 : 100 + (size_t)n;
}

struct actor {
    struct rd_cas *cas;
    uint64_t first, count;
};

static void *act(void *arg)
{
    const struct actor *actor = arg;
    for (uint64_t n = actor->first; n < actor->first + actor->count; n++) {
        struct history *h = &history[n];
        h->len = length_of(n);
        h->put_start = disk_now();
        struct rd_hash hash = put_n(actor->cas, 1, n, h->len);
        h->put_acked = disk_now();
        if (n % 4 == 1) {
            h->delete_start = disk_now();
            assert_int_equal(rd_cas_delete(actor->cas, hash.blake3, 1), RD_OK);
            h->delete_acked = disk_now();
        }
        if (n % 16 == 7) { /* an upload that is given up in the middle */
            struct rd_cas_writer *writer;
            char *bytes = make_bytes(n, 400000);
            assert_int_equal(rd_cas_begin(actor->cas, 1, 500000, &writer), RD_OK);
            assert_int_equal(rd_cas_data(writer, bytes, 400000), RD_OK);
            rd_cas_abort(writer);
            rd_mem_free(bytes);
        }
    }
    return NULL;
}

static void check_history(struct rd_cas *cas, size_t cut, uint64_t objects)
{
    for (uint64_t n = 0; n < objects; n++) {
        const struct history *h = &history[n];
        struct rd_hash hash;
        struct rd_cas_object object;
        char *bytes = make_bytes(n, h->len);
        rd_hash_blake3(bytes, h->len, hash.blake3);
        bool there = rd_cas_open_object(cas, hash.blake3, &object) == RD_OK;
        if (there) {
            rd_cas_release_object(&object);
            assert_true(has_bytes(cas, &hash, bytes, h->len)); /* whole or not at all */
            assert_true(h->put_start <= cut);
            assert_true(h->delete_acked > cut);
        } else {
            assert_true(h->put_acked > cut || h->delete_start <= cut);
        }
        rd_mem_free(bytes);
    }
    assert_int_equal(scrub_bad(cas), 0);
}

static void drop_hints(const struct place *place)
{
    for (unsigned i = 0; i < 40; i++) {
        char path[400];
        (void)snprintf(path, sizeof path, "%s/packs/%08u.idx", place->dir, i);
        (void)unlink(path);
    }
}

static void crash_at(size_t cut, unsigned keep, uint64_t objects)
{
    struct place place;
    place_make(&place);
    image(cut, keep, &place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 2 << 20;
    config.own_file_bytes = 600000;
    struct rd_cas *cas = must_open(&config);
    check_history(cas, cut, objects);
    uint64_t count = stats_of(cas).objects;
    (void)put_n(cas, 9, 100000 + cut, 5000);
    rd_cas_close(cas);
    drop_hints(&place); /* what was cut or voided must stay so when only the packs are left */
    cas = must_open(&config);
    check_history(cas, cut, objects);
    assert_int_equal(stats_of(cas).objects, count + 1);
    assert_true(has_n(cas, 100000 + cut, 5000));
    rd_cas_close(cas);
    place_remove(&place);
}

static void test_power_cuts(void **state)
{
    (void)state;
    enum { THREADS = 3, EACH = 20, POINTS = 40 };
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 2 << 20;
    config.own_file_bytes = 600000;
    for (size_t n = 0; n < OBJECTS_MAX; n++) {
        history[n] = (struct history){0, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    }
    disk.on = true;
    rd_cas_io.pwritev = recording_write;
    rd_cas_io.fdatasync = recording_sync;
    struct rd_cas *cas = must_open(&config);
    pthread_t threads[THREADS];
    struct actor actors[THREADS];
    for (uint64_t t = 0; t < THREADS; t++) {
        actors[t] = (struct actor){.cas = cas, .first = t * EACH, .count = EACH};
        assert_int_equal(pthread_create(&threads[t], NULL, act, &actors[t]), 0);
    }
    for (size_t t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    rd_cas_close(cas);
    disk.on = false;
    chance_state = 88172645463325252u;
    for (size_t i = 0; i < POINTS; i++) {
        size_t cut = i == 0 ? disk.count : chance(disk.count + 1);
        crash_at(cut, (unsigned)(i % 4) * 2 + 1, THREADS * EACH); /* 1, 3, 5 or 7 of 8 survive */
    }
    rd_cas_io.pwritev = pwritev;
    rd_cas_io.fdatasync = fdatasync;
    for (size_t i = 0; i < disk.count; i++) {
        rd_mem_free(disk.events[i].data);
    }
    rd_mem_free(disk.events);
    place_remove(&place);
}

/* --- kill -9
 * --------------------------------------------------------------------------------------- */

static void tell(void *ctx, rd_err err)
{
    /* One write of 8 bytes: whole or not at all. ctx carries the number itself. */
    uint64_t n = (uint64_t)(uintptr_t)ctx;
    if (err != RD_OK || write(STDOUT_FILENO, &n, sizeof n) != (ssize_t)sizeof n) {
        _exit(3);
    }
}

static void child_writes(const struct rd_cas_config *config, uint64_t first)
{
    struct rd_cas *cas;
    if (rd_cas_open(config, &cas, NULL) != RD_OK) {
        _exit(4);
    }
    for (uint64_t n = first;; n++) { /* until killed */
        struct rd_cas_writer *writer;
        struct rd_hash hash;
        size_t len = length_of(n);
        char *bytes = make_bytes(n, len);
        struct rd_cas_commit commit = {
            .content_type = "a/b", .done = tell, .ctx = (void *)(uintptr_t)n};
        if (rd_cas_begin(cas, 1, n % 2 == 0 ? len : 0, &writer) != RD_OK ||
            rd_cas_data(writer, bytes, len) != RD_OK || rd_cas_seal(writer, &hash) != RD_OK ||
            rd_cas_commit(writer, &commit) != RD_OK) {
            _exit(5);
        }
        rd_mem_free(bytes);
    }
}

static void test_kill(void **state)
{
    (void)state;
    enum { ROUNDS = 30, ACKED_MAX = 100000 };
    static uint64_t acked[ACKED_MAX];
    size_t count = 0, checked = 0;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            (void)dup2(pipes[1], STDOUT_FILENO);
            close(pipes[0]);
            close(pipes[1]);
            child_writes(&config, round * 10000);
        }
        close(pipes[1]);
        uint64_t n;
        for (uint64_t i = 0; i < 1 + round * 2; i++) {
            assert_int_equal(read(pipes[0], &n, sizeof n), sizeof n);
            acked[count++] = n;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(pipes[0], &n, sizeof n) == (ssize_t)sizeof n && count < ACKED_MAX) {
            acked[count++] = n; /* what it said before it died */
        }
        close(pipes[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        struct rd_cas *cas = must_open(&config);
        for (size_t from = round % 10 == 9 ? 0 : checked; from < count; from++) {
            assert_true(has_n(cas, acked[from], length_of(acked[from])));
        }
        checked = count;
        assert_int_equal(scrub_bad(cas), 0);
        rd_cas_close(cas);
    }
    place_remove(&place);
}

/* --- chosen damage
 * --------------------------------------------------------------------------------- */

static void pack_path(const struct place *place, unsigned number, char out[400])
{
    (void)snprintf(out, 400, "%s/packs/%08u.pack", place->dir, number);
}

static void flip(const char *path, off_t offset)
{
    char byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static rd_err open_and_close(const struct rd_cas_config *config, struct rd_why *why)
{
    struct rd_cas *cas;
    rd_err err = rd_cas_open(config, &cas, why);
    if (err == RD_OK) {
        rd_cas_close(cas);
    }
    return err;
}

/* Three objects of one block each at 4096, 8192, 12288, synced one after the other. */
static void three_objects(struct place *place, struct rd_cas_config *config)
{
    place_make(place);
    *config = small_config(place);
    struct rd_cas *cas = must_open(config);
    for (uint64_t n = 1; n <= 3; n++) {
        (void)put_n(cas, 1, n, 1000);
    }
    rd_cas_close(cas);
}

static void test_rot_is_told_from_tearing(void **state)
{
    (void)state;
    struct place place;
    struct rd_cas_config config;
    struct rd_why why;
    char path[400];
    three_objects(&place, &config);
    /* The first header: a record behind it says that it was durable. */
    struct place copy;
    place_copy(&place, &copy);
    struct rd_cas_config other = config;
    other.dir = copy.dir;
    drop_hints(&copy);
    pack_path(&copy, 1, path);
    flip(path, 4096 + 100);
    assert_int_equal(open_and_close(&other, &why), RD_ERR_CORRUPT);
    assert_non_null(strstr(why.text, "00000001.pack at offset 4096"));
    flip(path, 4096 + 100);
    assert_int_equal(open_and_close(&other, &why), RD_OK);
    /* The last header: nothing proves that it was durable, so it counts as torn. */
    drop_hints(&copy);
    flip(path, 12288 + 100);
    struct rd_cas *cas = must_open(&other);
    assert_true(has_n(cas, 1, 1000) && has_n(cas, 2, 1000) && !has_n(cas, 3, 1000));
    (void)put_n(cas, 1, 3, 1000);
    rd_cas_close(cas);
    cas = must_open(&other);
    assert_true(has_n(cas, 3, 1000));
    rd_cas_close(cas);
    place_remove(&copy);
    /* With its hint, rot in a header is found when the object is read, and by the scrub. */
    pack_path(&place, 1, path);
    flip(path, 4096 + 100);
    cas = must_open(&config);
    assert_false(has_n(cas, 1, 1000));
    assert_true(has_n(cas, 2, 1000));
    assert_true(scrub_bad(cas) > 0);
    rd_cas_close(cas);
    /* The first block. */
    flip(path, 40);
    assert_int_equal(open_and_close(&config, &why), RD_ERR_CORRUPT);
    assert_non_null(strstr(why.text, "offset 0"));
    assert_int_equal(truncate(path, 100), 0);
    assert_int_equal(open_and_close(&config, &why), RD_ERR_CORRUPT);
    place_remove(&place);
}

/* The tail cut or garbled at every block: what stands before is kept, nothing half is shown. */
static void test_torn_tails(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    struct rd_cas_config config = small_config(&place);
    config.pack_bytes = 1 << 20;
    config.durability =
        RD_CAS_RELAXED; /* nothing acknowledged as durable: every tail may be torn */
    config.relaxed_ms = 60000;
    struct rd_cas *cas = must_open(&config);
    static const size_t lens[] = {1000, 9000, 270000, 5000};
    for (uint64_t n = 0; n < 4; n++) {
        (void)put_n(cas, 1, n, lens[n]);
    }
    uint64_t tail = cas->active->tail;
    for (uint64_t at = 4096; at < tail; at += 4096) {
        for (int how = 0; how < 3; how++) {
            struct place copy;
            struct rd_cas_config other = config;
            char path[400];
            place_copy(&place, &copy);
            other.dir = copy.dir;
            pack_path(&copy, 1, path);
            if (how == 0) {
                assert_int_equal(truncate(path, (off_t)at), 0);
            } else if (how == 1) {
                assert_int_equal(truncate(path, (off_t)at + 700), 0);
            } else {
                flip(path, (off_t)at + 20);
            }
            struct rd_cas *cut = must_open(&other);
            uint64_t seen = 0;
            for (uint64_t n = 0; n < 4; n++) {
                seen += has_n(cut, n, lens[n]) ? 1 : 0;
            }
            assert_int_equal(stats_of(cut).objects, seen); /* nothing else is visible */
            /* A flipped byte hits one record at most (or padding); a cut takes all behind it. */
            assert_true(how < 2 ? seen < 4 || at + 4096 >= tail : seen >= 1 || at == 4096);
            (void)put_n(cut, 1, 50, 100);
            rd_cas_close(cut);
            cut = must_open(&other);
            assert_int_equal(stats_of(cut).objects, seen + 1);
            rd_cas_close(cut);
            place_remove(&copy);
            at += how == 2 && tail > 200000 && at > 40000 && at + 40960 < tail ? 36864 : 0;
        }
    }
    rd_cas_close(cas);
    place_remove(&place);
}

/* A payload that contains true headers of this very pack, at block-aligned places. */
static void test_forged_records(void **state)
{
    (void)state;
    struct place place;
    struct rd_cas_config config;
    char path[400];
    three_objects(&place, &config);
    pack_path(&place, 1, path);
    char *forged = rd_mem_alloc(400000);
    int fd = open(path, O_RDONLY);
    for (size_t at = 0; at + 12288 <= 400000; at += 12288) { /* in every alignment that can be */
        assert_int_equal(pread(fd, forged + at + (at / 12288) % 8 * 512, 8192, 4096), 8192);
    }
    close(fd);
    config.durability = RD_CAS_RELAXED;
    config.relaxed_ms = 60000;
    struct rd_cas *cas = must_open(&config);
    struct rd_hash hash;
    struct put put = {
        .owner = 2, .data = forged, .len = 400000, .hint = 400000, .step = 100000, .type = "a/b"};
    assert_int_equal(put_object(cas, &put, &hash), RD_OK); /* in a region */
    put.len = 200000;
    assert_int_equal(put_object(cas, &put, &hash), RD_OK); /* in one write */
    struct place copy;
    place_copy(&place, &copy);
    rd_cas_close(cas);
    config.dir = copy.dir;
    pack_path(&copy, 1, path);
    drop_hints(&copy);
    /* Its own header torn away, the payload lies open to whoever searches. */
    static const char zeros[1024];
    fd = open(path, O_RDWR);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 16384), sizeof zeros);
    close(fd);
    cas = must_open(&config);
    assert_int_equal(stats_of(cas).objects, 3);
    for (uint64_t n = 1; n <= 3; n++) {
        assert_true(has_n(cas, n, 1000));
    }
    assert_int_equal(scrub_bad(cas), 0);
    rd_cas_close(cas);
    rd_mem_free(forged);
    place_remove(&copy);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kill), /* first: it forks, while there are no threads */
        cmocka_unit_test(test_power_cuts), cmocka_unit_test(test_rot_is_told_from_tearing),
        cmocka_unit_test(test_torn_tails), cmocka_unit_test(test_forged_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
