/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders and files of runs. An engine has one folder under $TMPDIR (or /tmp), each run one in it;
 * all are 0700 and go with their run. A lock on the file "lock" says that the folder is in use, and
 * goes with the process however it dies; so the next engine that starts removes what a crash has
 * left. */
#ifndef RD_ENGINE_PROCESS_FOLDER_H
#define RD_ENGINE_PROCESS_FOLDER_H

#include <limits.h>
#include <stddef.h>

#include "base/err.h"

/* Makes and locks the folder of an engine, and removes those of engines that are dead. */
rd_err rd_process_folder_open(char ret_path[PATH_MAX], int *ret_lock, struct rd_why *why) RD_MUST;
void rd_process_folder_close(const char *path, int lock);
/* Makes `base`/`number`. */
rd_err rd_process_folder_make(const char *base, unsigned long number, char ret_path[PATH_MAX],
                              struct rd_why *why) RD_MUST;
/* Removes a folder and what is in it, following no link. */
void rd_process_folder_remove(const char *path);
/* `folder`/`name`. IO when that is too long. */
rd_err rd_process_folder_path(const char *folder, const char *name, char ret_path[PATH_MAX],
                              struct rd_why *why) RD_MUST;
/* Writes a file of mode 0600 that is not there yet. */
rd_err rd_process_file_write(const char *path, const void *bytes, size_t len,
                             struct rd_why *why) RD_MUST;

#endif
