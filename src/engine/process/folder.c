/* SPDX-License-Identifier: Apache-2.0
 *
 * See folder.h. The lock is taken on a file of another name that is then renamed, so that nobody
 * ever finds a "lock" that its owner has not locked yet. */
#include "engine/process/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/text.h"

enum { MODE_FOLDER = 0700, MODE_FILE = 0600, NAME_ROOM = 64, WALK_FDS = 16, LOCKED_MAX = 100 };

static const char prefix[] = "render-process-";

rd_err rd_process_folder_path(const char *folder, const char *name, char ret_path[PATH_MAX],
                              struct rd_why *why)
{
    int len = snprintf(ret_path, PATH_MAX, "%s/%s", folder, name);
    return len > 0 && len < PATH_MAX
               ? RD_OK
               : rd_why_set(why, RD_ERR_IO, "the path %.100s... is too long", folder);
}

/* Caches of some programs are folders that may not be written, and a script may make one that may
 * not even be read; of those nothing could be removed. One that was unreadable ends the walk, since
 * its content was passed over. */
static int unlock_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)walk;
    bool folder = kind == FTW_D || kind == FTW_DNR;
    if (!folder || (status->st_mode & MODE_FOLDER) == MODE_FOLDER) {
        return 0;
    }
    return chmod(path, MODE_FOLDER) == 0 && kind == FTW_DNR ? 1 : 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    (void)remove(path); /* what cannot be removed is left; the rest goes all the same */
    return 0;
}

void rd_process_folder_remove(const char *path)
{
    for (unsigned i = 0;
         i < LOCKED_MAX && nftw(path, unlock_one, WALK_FDS, FTW_PHYS | FTW_MOUNT) == 1; i++) {
    }
    (void)nftw(path, remove_one, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- what a crash has left ---- */

static void sweep_one(const char *path)
{
    struct stat status;
    char lock_path[PATH_MAX];
    if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid() ||
        rd_process_folder_path(path, "lock", lock_path, NULL) != RD_OK) {
        return;
    }
    RD_AUTO_CLOSE int lock = open(lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) {
        rd_process_folder_remove(path);
    }
}

static void sweep(const char *parent)
{
    DIR *dir = opendir(parent);
    if (dir == NULL) {
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char path[PATH_MAX];
        if (rd_text_starts(entry->d_name, prefix) &&
            rd_process_folder_path(parent, entry->d_name, path, NULL) == RD_OK) {
            sweep_one(path);
        }
    }
    (void)closedir(dir);
}

/* ---- an engine's ---- */

static rd_err take_lock(const char *folder, int *ret, struct rd_why *why)
{
    char early[PATH_MAX];
    char final[PATH_MAX];
    RD_TRY(rd_process_folder_path(folder, "lock.new", early, why));
    RD_TRY(rd_process_folder_path(folder, "lock", final, why));
    int lock = open(early, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
    if (lock < 0) {
        return rd_why_errno(why, errno, "make", early);
    }
    if (flock(lock, LOCK_EX | LOCK_NB) != 0 || rename(early, final) != 0) {
        rd_err err = rd_why_errno(why, errno, "lock", early);
        (void)close(lock);
        return err;
    }
    *ret = lock;
    return RD_OK;
}

rd_err rd_process_folder_open(char ret_path[PATH_MAX], int *ret_lock, struct rd_why *why)
{
    const char *parent = getenv("TMPDIR");
    parent = parent != NULL && parent[0] == '/' ? parent : "/tmp";
    char name[NAME_ROOM];
    char path[PATH_MAX];
    (void)snprintf(name, sizeof name, "%sXXXXXX", prefix);
    RD_TRY(rd_process_folder_path(parent, name, path, why));
    sweep(parent);
    if (mkdtemp(path) == NULL) { /* of mode 0700 */
        return rd_why_errno(why, errno, "make a folder in", parent);
    }
    rd_err err = take_lock(path, ret_lock, why);
    if (err != RD_OK) {
        rd_process_folder_remove(path);
        return err;
    }
    memcpy(ret_path, path, sizeof path);
    return RD_OK;
}

void rd_process_folder_close(const char *path, int lock)
{
    rd_process_folder_remove(path);
    (void)close(lock);
}

/* ---- a run's ---- */

rd_err rd_process_folder_make(const char *base, unsigned long number, char ret_path[PATH_MAX],
                              struct rd_why *why)
{
    char name[NAME_ROOM];
    char path[PATH_MAX];
    (void)snprintf(name, sizeof name, "%lu", number);
    RD_TRY(rd_process_folder_path(base, name, path, why));
    if (mkdir(path, MODE_FOLDER) != 0) {
        return rd_why_errno(why, errno, "make", path);
    }
    memcpy(ret_path, path, sizeof path);
    return RD_OK;
}

rd_err rd_process_file_write(const char *path, const void *bytes, size_t len, struct rd_why *why)
{
    RD_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE_FILE);
    if (fd < 0) {
        return rd_why_errno(why, errno, "make", path);
    }
    rd_err err = rd_fs_pwrite_all(fd, bytes, len, 0);
    return err == RD_OK ? RD_OK : rd_why_set(why, err, "cannot write %s", path);
}
